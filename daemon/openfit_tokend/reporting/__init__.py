"""What the daemon tells others unasked: systemd, token files, notices."""
