"""A virtual world of several hosts, whose real daemons are one fleet.

Each daemon is the shipped one, in an event loop of its own, and each host has clocks of its own. What
they stand on is simulated as in `whole`, and so is the store: its rows and its tags are real, and what
is between it and a host loses, delays and repeats.

What isn't simulated, and has tests of its own: PostgreSQL and etcd themselves, and how they are spoken
to.
"""
