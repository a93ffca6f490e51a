"""An IdentityServer look-alike on loopback, with scripted faults (extra `demo`)."""
