"""The clients: from a call to the daemon's answer, for programs that wait and for async ones."""
