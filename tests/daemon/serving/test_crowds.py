"""A user who connects and closes in a loop, as quickly as it can: others are served, and the log names it."""

import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import AF_UNIX, socket

import pytest

from daemons import NOBODY, RunningDaemon, needs_root, profile
from emulators import running_emulator
from http_wire import http_daemon, http_request, place
from openfit_token import get_token
from openfit_tokend.host import clock

pytestmark = [pytest.mark.system, needs_root]

CROWD = f"""
import os, socket, sys
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
while True:
    with socket.socket(socket.AF_UNIX) as each:
        each.connect(sys.argv[1])
"""
BUSY = "while True: pass"
PROCESSES = 2
CALLS = 150
REQUESTS = 150
PATIENCE = 5.0
"""Seconds in which a client that doesn't wait in line tries again."""


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    with running_emulator() as emulator, http_daemon(profile(emulator.url), mode="0666") as daemon:
        daemon.directory.chmod(0o711)
        daemon.await_state("fresh")
        yield daemon


@contextmanager
def running(program: str, *arguments: str) -> Generator[None]:
    """Let some processes run a program beside us."""
    with ExitStack() as stack:
        for _ in range(PROCESSES):
            process = subprocess.Popen([sys.executable, "-c", program, *arguments])
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def p99s(call: Callable[[], object]) -> list[float]:
    """Return the seconds that 99 of 100 calls take at most, in each of three rounds.

    What else this machine does delays whole rounds.
    """
    rounds = list[float]()
    for _ in range(3):
        took = list[float]()
        for _ in range(CALLS):
            began = clock.boot()
            call()
            took.append(clock.boot() - began)
        rounds.append(sorted(took)[CALLS * 99 // 100])
    return rounds


def test_a_script_gets_its_token_quickly_beside_them_and_the_log_says_who_they_are(
    daemon: RunningDaemon,
) -> None:
    def get() -> None:
        get_token(socket=str(daemon.socket))

    with running(BUSY):
        beside_busy = max(p99s(get))
    with running(CROWD, str(daemon.socket)):
        daemon.await_log("connects_too_often", f"uid={NOBODY}", "program=python")

        assert min(p99s(get)) <= max(0.02, 4 * beside_busy)


def test_who_connects_without_waiting_and_tries_again_is_served_each_time(
    daemon: RunningDaemon,
) -> None:
    with running(CROWD, str(place(daemon))):
        daemon.await_log("connects_too_often")
        for _ in range(REQUESTS):
            assert answered(place(daemon)).startswith(b"HTTP/1.1 200 ")


def answered(path: Path) -> bytes:
    """Ask by HTTP, as clients do that never wait for a connection, and try again in a moment."""
    until = clock.boot() + PATIENCE
    while True:
        with socket(AF_UNIX) as sock:
            sock.settimeout(PATIENCE)  # with one, Python doesn't wait for a connection either
            try:
                sock.connect(str(path))
            except BlockingIOError:
                assert clock.boot() < until
                time.sleep(0.01)
                continue
            sock.sendall(http_request("GET", "/v1/auth"))
            return sock.recv(65536)
