"""A world around the core, without a clock, a thread or a socket: one seed decides all of it.

    plan       what is to happen: who is there, what the server is like, which faults, who does what
    idserver   the token server: one-time refresh tokens, families, lockout
    faults     what the network makes of a request
    daemon     a shell round the core: keepers, ledgers, slots, requests, restarts
    disk       what outlives a restart, by the daemon's own state file
    callers    clients, in storms or one by one
    operators  passwords, reloads, logins, logouts; suspends, restarts, outages
    world      the queue of events that ties them together
    witness    what is seen from outside, and so known independently of the core
    promises   what must hold after every step
    story      a run that failed, as a timeline
    shrink     the smallest plan that still fails

`python -m simulation --help` (in this directory's parent) runs many seeds.
"""
