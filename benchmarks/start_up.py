"""Command lines, start to end, beside `python -I -c pass` of the same virtual environment."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.peers import Peer
from benchmarks.places import Bare

PYTHON: Final = "python -I -c pass"
WARM_UP: Final = 2
"""Runs that don't count: they read files from the disk and write bytecode."""


def measure(bare: Bare, peers: Sequence[Peer], runs: int) -> dict[str, list[float]]:
    """Return the best time of each, in milliseconds. Interleaved."""
    python = Peer(peers[0].server, lambda: 0.0, [bare.python, "-I", "-c", "pass"], {})
    commands = {PYTHON: python} | {peer.server.name: peer for peer in peers if peer.client}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs + WARM_UP):
        for name, peer in commands.items():
            times[name].append(_run(peer.client, {**os.environ, **peer.environment}, peer.stdin))
    return {name: [min(each[WARM_UP:]) * 1e3] for name, each in times.items()}


def _run(words: list[str], environment: Mapping[str, str], text: str) -> float:
    """Run a command and give its seconds. posix_spawn: subprocess itself would take a millisecond."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    silent = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, reading, 0), (os.POSIX_SPAWN_DUP2, silent, 1)]
    try:
        began = time.monotonic()
        pid = os.posix_spawnp(words[0], words, environment, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        took = time.monotonic() - began
    finally:
        os.close(reading)
        os.close(silent)
    if status:
        raise SystemExit(f"{words[0]} failed")
    return took
