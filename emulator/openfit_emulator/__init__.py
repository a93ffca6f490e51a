"""For trying and testing: an imitation of IdentityServer on loopback, with scripted faults; the demo."""
