"""`openfit-token status`: how the daemon and its profiles are, for people, programs and probes."""
