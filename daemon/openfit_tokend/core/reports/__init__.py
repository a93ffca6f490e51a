"""What people are told unasked: notices, a line of status, what a watchdog must know."""
