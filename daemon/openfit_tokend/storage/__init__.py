"""What outlives a restart: the ledger of rejected logins, and the sessions."""
