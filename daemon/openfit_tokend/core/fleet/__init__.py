"""What the daemons of a fleet share of an account, and what each of them makes of it."""
