"""`openfit-token doctor`: check the chain from the caller to the token, and say where it is broken."""
