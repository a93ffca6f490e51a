"""The machine: clock, timers, log, processes, threads, signals, the service manager."""
