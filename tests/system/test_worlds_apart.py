"""Worlds apart: whatever goes wrong for other profiles, one gets its tokens as if it were alone.

All goes wrong at once, each for three profiles. What only root can bring about, a disk or a name
server that hangs, is left out for others.
"""

import json
import os
import socket
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from threading import Event
from time import sleep
from typing import NamedTuple

import pytest

from daemons import RunningDaemon, await_that, prepared_daemon, profile, write_secret
from disks import broken, slow
from emulators import PASSWORD, running_emulator
from name_server import silent_name_server
from openfit_emulator.identity import Rules
from openfit_tokend.host import clock
from raw_server import Behaviour, endlessly, raw_server, server_that_hangs_up
from users import MAY_MOUNT

pytestmark = [pytest.mark.system, pytest.mark.slow]

SHORT = Rules(token_lifetime=8)
ALONE, BESIDE = 3.0, 13.0
"""Seconds for which a client asks."""
PAUSE = 0.005
"""Seconds between an answer and the next question."""
A_MOMENT = 5.0
"""Seconds that a first token may come later than alone: a busy machine's, not the daemon's."""
MOST = 0.02
"""Seconds in which 99 of 100 answers come, or else in a few times what they take alone."""
A_FEW = 5
"""Times."""
QUICK_END = "import openfit_tokend.app; openfit_tokend.app.STOP_TIME = 3.0"
"""How long the daemon waits at its end for token servers that never answer; else a minute."""
NOWHERE = "https://127.0.0.1:9"


@dataclass
class Trouble:
    """What is wrong for some profiles, and whether it has happened to all of them."""

    tables: list[str]
    has_happened: Callable[[RunningDaemon], bool]


Troubles = Generator[Trouble]


def names(kind: str) -> list[str]:
    return [f"{kind}-{number}" for number in range(3)]


def three(kind: str, url: str, **changes: str) -> list[str]:
    """Return the tables of three profiles, each of a user of its own."""
    return [profile(url, name, **{"username": f'"{name}"'} | changes) for name in names(kind)]


def logged(kind: str, *words: str) -> Callable[[RunningDaemon], bool]:
    """Return whether each of the three has a line with these words."""

    def found(daemon: RunningDaemon) -> bool:
        lines = [line for line in daemon.log().splitlines() if all(word in line for word in words)]
        return all(any(f"profile={name} " in line for line in lines) for name in names(kind))

    return found


def shell(name: str, marks: Path, code: str) -> str:
    """Return the setting of a command that notes its process, and then does this."""
    return json.dumps(["/bin/sh", "-c", f"touch {marks}/{name}.$$; {code}"])


def are(daemon: RunningDaemon, kind: str, *states: str) -> bool:
    return all(daemon.profile_status(name)["state"] in states for name in names(kind))


# What a token server may do


def one_byte_at_a_time(connection: socket.socket, _: bytes) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b" " * 60_000:
        connection.sendall(bytes([byte]))
        Event().wait(0.02)


def never(connection: socket.socket, _: bytes) -> None:
    connection.settimeout(None)
    connection.recv(1)  # until the client leaves


EARLY = endlessly(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)


@contextmanager
def server_that(kind: str, behaviour: Behaviour) -> Troubles:
    with raw_server(behaviour) as server:
        yield Trouble(three(kind, server.url), lambda _: len(server.requests) >= len(names(kind)))


@contextmanager
def handshake_that_ends() -> Troubles:
    with server_that_hangs_up() as url:
        yield Trouble(three("leaves", url), logged("leaves", "login_failed", "TLS failed"))


# What the machine may do


@contextmanager
def ca_file_that_hangs(directory: Path) -> Troubles:
    os.mkfifo(directory / "fifo")
    tables = three("fifo", NOWHERE, ca_file=f'"{directory}/fifo"')
    yield Trouble(tables, logged("fifo", "login_failed", "gives no answer within"))


@contextmanager
def names_that_hang() -> Troubles:
    tables = [profile(f"https://{name}.example", name) for name in names("name")]
    yield Trouble(tables, logged("name", "login_failed", "no connection within"))


@contextmanager
def disk_that_hangs(directory: Path) -> Troubles:
    """Have passwords and token files on it."""
    disk = directory / "dead"
    disk.mkdir(mode=0o755)
    write_secret(disk / "password", PASSWORD)
    users = dict.fromkeys(names("file"), PASSWORD)
    with running_emulator(users=users) as emulator, slow(disk / "any"):
        secret = three("secret", emulator.url, password_file=f'"{disk}/password"')
        files = [
            profile(emulator.url, name, username=f'"{name}"', token_file=f'"{disk}/{name}"')
            for name in names("file")
        ]
        not_written = logged("file", "token_file_not_written", "no answer within")
        yield Trouble(
            secret + files,
            lambda daemon: not_written(daemon) and are(daemon, "secret", "logging_in", "down"),
        )


@contextmanager
def disk_that_is_full(directory: Path) -> Troubles:
    disk = directory / "full"
    users = dict.fromkeys(names("full"), PASSWORD)
    with running_emulator(users=users) as emulator, broken("a full disk", disk / "any"):
        tables = [
            profile(emulator.url, name, username=f'"{name}"', token_file=f'"{disk}/{name}"')
            for name in names("full")
        ]
        yield Trouble(tables, logged("full", "token_file_not_written", "No space left"))


@contextmanager
def commands_that_hang(directory: Path) -> Troubles:
    """Let one flood its output and mind no SIGTERM; let one that is told of a lockout never end."""
    flood, told = names("flood"), names("told")
    with running_emulator() as emulator:
        tables = [
            profile(
                emulator.url,
                name,
                username=f'"{name}"',
                password_file="",
                password_command=shell(name, directory, "trap '' TERM; exec yes"),
            )
            for name in flood
        ] + [
            profile(
                emulator.url,
                name,
                username=f'"{name}"',
                notify_command=shell(name, directory, "exec sleep 1000000"),
            )
            for name in told
        ]
        yield Trouble(
            tables, lambda _: all(list(directory.glob(f"{name}.*")) for name in flood + told)
        )


class Use(NamedTuple):
    """What a client of the healthy profile met. In seconds; `first` counts from the daemon's start."""

    first: float
    p99: float


def used(daemon: RunningDaemon, seconds: float) -> Use:
    """Start a daemon and ask it for a token again and again; each must be there at once, and alive."""
    began = clock.boot()
    daemon.start(first=QUICK_END)
    with daemon.wire() as wire:
        assert wire.call("get_token", profile="well", wait=20).error is None
        first, times = clock.boot() - began, list[float]()
        while clock.boot() - began < first + seconds:
            asked = clock.boot()
            answer = wire.call("get_token", profile="well", wait=0)
            times.append(clock.boot() - asked)
            assert answer.result is not None, f"{answer.error}\n{daemon.log()}"
            assert answer.result["expires_at"] > clock.wall()
            sleep(PAUSE)
    return Use(first, quantiles(times, n=100)[-1])


@contextmanager
def troubles(directory: Path) -> Generator[list[Trouble]]:
    kinds = [
        server_that("byte", one_byte_at_a_time),
        server_that("early", EARLY),
        server_that("never", never),
        handshake_that_ends(),
        ca_file_that_hangs(directory),
        commands_that_hang(directory),
    ]
    if MAY_MOUNT:
        kinds += [names_that_hang(), disk_that_hangs(directory), disk_that_is_full(directory)]
    with ExitStack() as stack:
        yield [stack.enter_context(each) for each in kinds]


def test_whatever_goes_wrong_for_others_a_profile_gets_its_tokens_as_if_it_were_alone(
    tmp_path: Path,
) -> None:
    with running_emulator(rules=SHORT) as emulator, troubles(tmp_path) as others:
        well = profile(emulator.url, "well")
        with prepared_daemon(well) as daemon:
            alone = used(daemon, ALONE)
        tables = [table for trouble in others for table in trouble.tables]
        with prepared_daemon(*tables, well) as daemon, ExitStack() as stack:
            if MAY_MOUNT:
                daemon.launcher = stack.enter_context(silent_name_server(tmp_path))

            beside = used(daemon, BESIDE)

            assert beside.first < alone.first + A_MOMENT
            assert beside.p99 < max(MOST, A_FEW * alone.p99)
            assert emulator.state().refresh_requests > BESIDE // SHORT.token_lifetime
            await_that(lambda: all(each.has_happened(daemon) for each in others), daemon.log)
            assert daemon.stop() == 0
            assert "internal_fault" not in daemon.log()
        await_that(lambda: not any(map(runs, tmp_path.glob("*.[0-9]*"))))


def runs(mark: Path) -> bool:
    """Return whether the command that left this mark still runs."""
    return Path(f"/proc/{mark.suffix[1:]}").exists()
