"""What the daemon reports unasked: to systemd, in token files, by notices."""
