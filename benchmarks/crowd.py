"""What must hold in a crowd, and when there is none."""

import socket
import time
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Final

from benchmarks import many_profiles
from benchmarks.bars import Bar, judge
from benchmarks.measure import CROWD, Server, cpu_time, memory, pin, wake_ups
from benchmarks.peers import Means
from benchmarks.places import daemon, issuer
from benchmarks.probes import Bystander
from benchmarks.table import Effort, prepare

IDLE_SECONDS: Final = 130.0
"""How long the idle daemon is watched: its longest sleep takes 60 s."""
QUICK_IDLE: Final = 20.0


def measure(effort: Effort) -> None:
    """Print which of these bars hold."""
    with ExitStack() as stack:
        means = prepare(stack)
        url, _ = stack.enter_context(issuer())
        idle, _ = stack.enter_context(daemon(means.bare, url))
        time.sleep(2)  # the start's own timers
        woken, since = wake_ups(idle.pids), time.monotonic()
        bars = [
            *_first_token(means),
            *_idle_crowd(means, url, effort),
            *_never_reads(means, url),
            *_flood(means, url, effort),
            *many_profiles.measure(means, effort),
        ]
        patience = IDLE_SECONDS if effort.seconds > 0.1 else QUICK_IDLE
        time.sleep(max(0.0, since + patience - time.monotonic()))
        minutes = (time.monotonic() - since) / 60
        intervals = max(0, wake_ups(idle.pids) - woken - 1)  # the first one only begins the count
        bars.append(Bar("idle daemon: wake-ups a minute", intervals / minutes, 1))
    judge(bars)


def _first_token(means: Means) -> Generator[Bar]:
    """Let a crowd wait for the first token, and let the token server answer then."""
    size = means.answer.stat().st_size
    with (
        issuer("held") as (url, server),
        daemon(means.bare, url, logged_in=False) as (served, _),
        means.loads.beside(replace(served, size=size), "wait", 60, CROWD) as crowd,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        assert crowd.stdout is not None
        time.sleep(1)  # all of them are parked
        server.stdin.write("\n")
        server.stdin.flush()
        answered = float(server.stdout.readline())
        load = means.loads.parse(crowd.stdout.readline())
        server.stdin.close()
        requests = int(server.stdout.readline())
    yield Bar(f"{CROWD:,} wait for the first token: token requests", requests, 1)
    yield Bar(f"{CROWD:,} wait for the first token: not answered", CROWD - load.count, 0)
    yield Bar(f"{CROWD:,} wait for the first token: s to the last answer", load.ended - answered, 1)


def _idle_crowd(means: Means, url: str, effort: Effort) -> Generator[Bar]:
    """Hold idle connections; one client beside them goes on."""

    def p99(server: Server) -> float:
        runs = [means.loads.run(server, "kept", effort.seconds) for _ in range(effort.rounds)]
        return median(run.p99 for run in runs)

    with daemon(means.bare, url) as (server, _):
        pin(server.pids)
        before, alone = memory(server.pids), p99(server)
        with means.loads.beside(server, "hold", 0, CROWD):
            each = (memory(server.pids) - before) / CROWD
            beside = p99(server)
            spent, woken = cpu_time(server.pids), wake_ups(server.pids)
            time.sleep(5)
            spent, woken = cpu_time(server.pids) - spent, wake_ups(server.pids) - woken
        alone = (alone + p99(server)) / 2
    yield Bar(f"{CROWD:,} idle: KiB each", each, 2)
    yield Bar(f"{CROWD:,} idle: ms of CPU in 5 s", spent * 1e3, 1)
    yield Bar(f"{CROWD:,} idle: wake-ups in 5 s", woken, 1)
    yield Bar(f"{CROWD:,} idle: a client's p99 beside them, times alone", beside / alone, 1.5)


def _never_reads(means: Means, url: str) -> Generator[Bar]:
    """Ask for 2 s and read nothing."""
    with daemon(means.bare, url) as (server, _), socket.socket(socket.AF_UNIX) as sock:
        means.loads.run(server, "kept", 0.2)
        before = memory(server.pids)
        sock.connect(str(server.path))
        sock.settimeout(0)
        until = time.monotonic() + 2
        while time.monotonic() < until:
            try:
                sock.send(server.request * 100)
            except BlockingIOError:
                time.sleep(0.001)
        yield Bar("asks and never reads: KiB of growth", memory(server.pids) - before, 1024)


def _flood(means: Means, url: str, effort: Effort) -> Generator[Bar]:
    """Let one client flood, and another ask each millisecond."""
    with daemon(means.bare, url) as (server, _):
        pin(server.pids)
        bystander = Bystander(means.loads, server, effort)

        def flooded() -> float:
            with means.loads.beside(server, "flood", 60):
                return bystander.p99()

        yield Bar("a flood: ms added to another client's p99", bystander.added(flooded), 5)
