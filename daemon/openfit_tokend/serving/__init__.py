"""Clients: the loop that answers them, their connections, and what each method does."""
