"""What must hold for a good client beside those who mean harm."""

import itertools
import os
import socket
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.bars import Bar, judge
from benchmarks.measure import Loads, Server, memory
from benchmarks.places import daemon, issuer
from benchmarks.probes import Bystander
from benchmarks.table import Effort, prepare

SLOW: Final = 1500
"""Connections that send a request byte by byte, one of them each PAUSE, and then the next."""
GREEDY: Final = 20
"""Connections that ask as much as they can and never read."""
FLOODS: Final = 4
"""Connections with 64 requests ahead, whose answers are read."""
PAUSE: Final = 0.0005
"""Seconds."""
DIALLERS: Final = 2
"""Processes that connect and close, as fast as they can."""
ASKERS: Final = 4000
"""Connections of one user that each ask again as soon as they are answered."""
USERS: Final = (65534, 65533)
"""The one who means harm, and the one who is served beside that; only root can be them."""


def measure(effort: Effort) -> None:
    """Print which of these bars hold."""
    with ExitStack() as stack:
        means = prepare(stack)
        url, _ = stack.enter_context(issuer())
        server, _ = stack.enter_context(daemon(means.bare, url))
        bystander = Bystander(means.loads, server, effort)
        bystander.p99()  # what the daemon makes once is made
        before = memory(server.pids)
        alone = median(bystander.p99() for _ in range(effort.rounds))
        with _busy():
            starved = [bystander.p99() for _ in range(effort.rounds)]
        stack.enter_context(harm(means.loads, server))
        behind = _first_answer(server)  # so all of the crowd are accepted
        beside = [bystander.p99() for _ in range(effort.rounds)]
        grown = (memory(server.pids) - before) / 1024
    by_another = [] if os.geteuid() else _by_another_user(effort)
    crowd = f"{SLOW:,} slow, {GREEDY} that never read, {FLOODS} floods"
    judge(
        [
            Bar("a client alone: p99, ms", alone, 20),
            Bar(f"{FLOODS} that only take processor time: its p99, ms", median(starved), 20),
            Bar(f"{FLOODS} that only take processor time: its worst p99, ms", max(starved), 20),
            Bar(f"{crowd}: a client's p99, ms", median(beside), 20),
            Bar(f"{crowd}: a client's worst p99, ms", max(beside), 20),
            Bar(f"{crowd}: MiB of growth", grown, 30),
            *by_another,
        ]
    )
    print(f"A client that connects right behind all of them has its answer after {behind:.0f} ms.")


def _by_another_user(effort: Effort) -> list[Bar]:
    """Return what one user does to another's requests, by more connections than anybody needs."""
    with ExitStack() as stack:
        means = prepare(stack)
        url, _ = stack.enter_context(issuer())
        settings = 'socket_mode = "0666"'
        server, _ = stack.enter_context(daemon(means.bare, url, settings=settings))
        for directory in (server.path.parent, Path(means.loads.floor).parent):
            directory.chmod(0o755)
        harmful, good = USERS

        def p99(mode: str) -> float:
            seconds = effort.seconds * 5
            loads = [
                means.loads.run(server, mode, seconds, cpu=-1, user=good)
                for _ in range(effort.rounds)
            ]
            return median(load.p99 for load in loads) / 1e3

        calm, calm_kept = p99("fresh"), p99("paced")
        with ExitStack() as dialling:
            for _ in range(DIALLERS):
                beside = means.loads.beside(server, "dials", 600, user=harmful)
                dialling.enter_context(beside)
            dialled = p99("fresh")
        with means.loads.beside(server, "many", 600, ASKERS, user=harmful):
            asked, asked_kept = p99("fresh"), p99("paced")
    dialling_words, asking = f"{DIALLERS} that connect and close", f"{ASKERS:,} that ask"
    return [
        Bar(f"{dialling_words}: another's fresh p99, ms", dialled, max(20, 4 * calm)),
        Bar(f"{asking}: another's fresh p99, ms", asked, max(5, 4 * calm)),
        Bar(f"{asking}: another's kept p99, ms", asked_kept, max(5, 4 * calm_kept)),
    ]


def _first_answer(server: Server) -> float:
    """Connect and ask; give the milliseconds until the answer begins."""
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(os.fspath(server.path))
        sock.sendall(server.request)
        sock.recv(1)
    return (time.monotonic() - began) * 1e3


@contextmanager
def harm(loads: Loads, server: Server) -> Generator[None]:
    """Let all who mean harm do it to a server."""
    with ExitStack() as stack:
        for _ in range(FLOODS):  # left last: each waits until the others' connections are closed
            stack.enter_context(loads.beside(server, "flood", 600))
        stack.enter_context(_slow(server))
        stack.enter_context(_greedy(server))
        yield


@contextmanager
def _busy() -> Generator[None]:
    """Take processor time with as many processes as there are floods, and leave the daemon alone.

    What that alone does to a client is the machine's doing, and no server could help it.
    """
    with ExitStack() as stack:
        for _ in range(FLOODS):
            process = stack.enter_context(
                subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"])
            )
            stack.callback(process.kill)
        yield


@contextmanager
def _slow(server: Server) -> Generator[None]:
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(SLOW)]
        for sock in socks:
            sock.connect(os.fspath(server.path))
            sock.settimeout(0)
        over = threading.Event()
        thread = threading.Thread(target=_drip, args=(socks, server.request, over))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _drip(socks: list[socket.socket], request: bytes, over: threading.Event) -> None:
    for at in itertools.cycle(range(len(request))):
        for sock in socks:
            if over.wait(PAUSE):
                return
            with suppress(BlockingIOError):
                sock.recv(65536)
            with suppress(BlockingIOError, BrokenPipeError):  # it may be told that it is too slow
                sock.send(request[at : at + 1])


@contextmanager
def _greedy(server: Server) -> Generator[None]:
    with ExitStack() as stack:
        for _ in range(GREEDY):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(os.fspath(server.path))
            sock.settimeout(0)
            with suppress(BlockingIOError):
                while True:
                    sock.send(server.request * 100)
        yield
