"""An imitation of IdentityServer on loopback, with scripted faults (extra `demo`)."""
