"""A virtual world for real daemons: one that is alone, or several hosts whose daemons are one fleet.

Each daemon is the shipped one, in an event loop of its own, and each host has clocks of its own. What
they stand on is simulated: time, the loops' waiting, threads, the token server and the way to it, the disk
under the ledger, systemd's descriptor store, clients, operators, and a fleet's store. Its rows and tags
are real, and what is between it and a host loses, delays and repeats.

What isn't simulated, and has tests of its own: how the loop serves while it waits (`driver`), who a
peer is to the kernel (`peers`), TLS and names (`endpoint`'s connections), passwords' sources other than
files, the clients' side of the wire, and PostgreSQL and etcd themselves and how they are spoken to.

    plan, plans     what is to happen, and the kinds of runs that a seed decides
    world           the hosts' turns, callers, and the end, at which all must be well
    host            one daemon's host: starts, stops, stand-stills, kills
    deeds           what a plan's acts do
    servers, store  the token server and the fleet's store, as daemons meet them
    witness         what must hold of a daemon that is alone; fleet_witness: of a fleet
    faults          what is wrong on purpose: each must be found
    seeds           runs plans, makes failing ones smaller, and tells their stories
"""
