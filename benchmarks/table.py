"""The table: a row for each server, all measured in turn, in every round."""

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import start_up
from benchmarks.bars import Bar, judge
from benchmarks.measure import CROWD, Loads, Server, memory, pin, prefer, ratio
from benchmarks.peers import FLOOR, OIDC, OURS, STREAMS, Means, Peer, start_all
from benchmarks.places import daemon, first_answer, install, issuer

Figures = dict[str, dict[str, list[float]]]
"""Column, row: a figure from each round."""

KEPT: Final = "kept: round trip µs"
KEPT_CPU: Final = "kept: CPU µs"
FRESH: Final = "new: round trip µs"
FRESH_CPU: Final = "new: CPU µs"
RATE: Final = "64: requests/s"
RATE_CPU: Final = "64: CPU µs"
MEMORY: Final = "memory MB"
IDLE: Final = f"KiB each, {CROWD:,} idle"
START: Final = "start ms"
CLIENT: Final = "command ms"

LEGEND: Final = """\
A cell: how many times the floor's, **the median of the rounds' ratios** (and the median figure).
Server and load share one CPU. "kept": one connection, one request after the other: median round
trip, and server CPU a request. "new": connect, ask, close. "64": as many connections, each asks
again once answered; the ratio is the time's. "memory": resident, all its processes. "start": to
the first answer, best. "command": the command line, start to end, best, and how many times
`python -I -c pass`.
"""


@dataclass(frozen=True)
class Effort:
    """How long is measured."""

    rounds: int
    seconds: float
    """Of each load."""
    starts: int
    """Of each command; a fifth as many of each server."""


SETTLE: Final = 0.5
"""Seconds for the kernel between one server and the next."""


def measure(effort: Effort) -> None:
    """Print the table, and which bars hold."""
    with ExitStack() as stack:
        means = prepare(stack)
        peers, missing = start_all(means, stack)
        figures: Figures = {}
        for peer in peers:
            pin(peer.server.pids)
            _note(figures, MEMORY, peer, memory(peer.server.pids) / 1024)
        for _ in range(effort.rounds):
            for peer in peers:
                _one_round(figures, means.loads, peer, effort.seconds)
        for peer in peers:
            if peer.server.keeps:
                before = figures[MEMORY][peer.server.name][0] * 1024
                _note(figures, IDLE, peer, _idle_share(means.loads, peer.server, before))
        commands = start_up.measure(means.bare, peers, effort.starts)
        for _ in range(max(3, effort.starts // 5)):
            for peer in peers:
                _note(figures, START, peer, peer.start() * 1e3)
    figures[START] = {name: [min(each)] for name, each in figures[START].items()}
    figures[CLIENT] = commands
    print(_markdown(figures, [peer.server.name for peer in peers]))
    print(LEGEND)
    for each in missing:
        print(f"Left out: {each}.")
    judge(_bars(figures))


def prepare(stack: ExitStack) -> Means:
    """Compile, install, and get an answer of the daemon's to give away."""
    prefer([os.getpid()])  # and so all that is started
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="openfit-")))
    loads = Loads(directory)
    bare = install(directory / "bare")
    with issuer() as (url, _), daemon(bare, url) as (server, _):
        answer = directory / "answer"
        answer.write_bytes(first_answer(server.path, server.request))
    return Means(loads, bare, answer)


def _note(figures: Figures, column: str, peer: Peer, figure: float) -> None:
    figures.setdefault(column, {}).setdefault(peer.server.name, []).append(figure)


def _one_round(figures: Figures, loads: Loads, peer: Peer, seconds: float) -> None:
    server = peer.server
    if server.keeps:
        kept = loads.run(server, "kept", seconds)
        _note(figures, KEPT, peer, kept.p50)
        _note(figures, KEPT_CPU, peer, kept.cpu)
        crowd = loads.run(server, "many", seconds, 64)
        _note(figures, RATE, peer, crowd.seconds / crowd.count * 1e6)  # shown as their inverse
        _note(figures, RATE_CPU, peer, crowd.cpu)
    # Last: for a second or so what many closed connections leave in the kernel slows what follows.
    fresh = loads.run(server, "fresh", seconds)
    _note(figures, FRESH, peer, fresh.p50)
    _note(figures, FRESH_CPU, peer, fresh.cpu)
    time.sleep(SETTLE)


def _idle_share(loads: Loads, server: Server, before: float) -> float:
    """Return the KiB that each of many idle connections takes."""
    with loads.beside(server, "hold", 0, server.most):
        return (memory(server.pids) - before) / server.most


COLUMNS: Final = (KEPT, KEPT_CPU, FRESH, FRESH_CPU, RATE, RATE_CPU, MEMORY, IDLE, START, CLIENT)


def _markdown(figures: Figures, rows: Sequence[str]) -> str:
    python = figures[CLIENT][start_up.PYTHON]
    lines = ["| |" + "|".join(f" {column} " for column in COLUMNS) + "|", "|---" * 11 + "|"]
    for row in [*rows, start_up.PYTHON]:
        cells: list[str] = []
        for column in COLUMNS:
            theirs = figures[column]
            if row not in theirs:
                cells.append("")
                continue
            middle = median(theirs[row])
            absolute = f"{1e6 / middle:,.0f}" if column == RATE else f"{middle:.2f}"
            if column == IDLE:
                cells.append(absolute)
                continue
            least = python if column == CLIENT else theirs[FLOOR]
            cells.append(f"**{ratio(theirs[row], least):.2f}** ({absolute})")
        lines.append("| " + " | ".join([row, *cells]) + " |")
    return "\n".join(lines) + "\n"


def _bars(figures: Figures) -> list[Bar]:
    def times(column: str, row: str, other: str) -> float:
        return ratio(figures[column][row], figures[column][other])

    bars = [
        Bar("kept connection, round trip: times the floor", times(KEPT, OURS, FLOOR), 1.9, 1.5),
        Bar("CPU a request, 1 connection: times the floor", times(KEPT_CPU, OURS, FLOOR), 2.7, 2.0),
        Bar(
            "CPU a request, 64 connections: times the floor", times(RATE_CPU, OURS, FLOOR), 2.4, 2.2
        ),
        Bar("connect-ask-close, CPU: times the floor", times(FRESH_CPU, OURS, FLOOR), 2.5, 2.1),
        Bar(
            "`openfit-token get`: times `python -I -c pass`",
            times(CLIENT, OURS, start_up.PYTHON),
            1.65,
        ),
        Bar("resident memory: times asyncio streams", times(MEMORY, OURS, STREAMS), 1.6),
        Bar("an idle connection: KiB", figures[IDLE][OURS][0], 2.0),
    ]
    if OIDC in figures[FRESH]:
        bars.append(
            Bar("connect-ask-close, round trip: times oidc-agent", times(FRESH, OURS, OIDC), 1.0)
        )
    return bars
