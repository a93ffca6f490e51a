"""The command line of `openfit-token`: what its words mean."""
