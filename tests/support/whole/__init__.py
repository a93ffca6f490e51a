"""A virtual world for the real daemon: its own loop, tasks, keepers and files, in simulated time.

The daemon is the shipped one. What it stands on is simulated: time, the loop's waiting, threads,
the token server, the disk under the ledger, systemd's descriptor store, clients and operators.

What isn't simulated, and has tests of its own: how the loop serves while it waits (`driver`), who
a peer is to the kernel (`peers`), TLS and names (`endpoint`'s connections), passwords' sources
other than files, and the clients' side of the wire.
"""
