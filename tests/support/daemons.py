"""The real daemon in its own process, and its wire byte by byte.

with running_daemon(profile(emulator.url)) as daemon:
    ... daemon.call("get_token"), daemon.wire(), daemon.client(), daemon.stop(), daemon.log() ...
"""

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any, NamedTuple, Self, cast

import msgpack
import pytest

import forked
import processes
from emulators import CLIENT_ID, PASSWORD, USERNAME, running_emulator
from forked import Forked
from openfit_token import TokenClient, TokenError
from openfit_token.errors import BY_CODE
from openfit_token.testing._processes import await_rest
from openfit_tokend.host import clock
from processes import Completed
from users import IS_ROOT, MAY_LOOK

PATIENCE = 20.0
"""Seconds a test waits for what must happen; only a failing test waits so long."""
NOBODY = 65534
"""The uid and gid of a stranger."""
UNPACED = """
from openfit_tokend.core import schedule
schedule.RECENT = 1.0
"""
"""For a daemon: it replaces a token that is refused a second after the last, and not ten."""
PREPARED_FOR_LONG = """
from openfit_tokend.serving import prepared
prepared.FRESH = 60.0
"""
"""For a daemon: an answer stays prepared until it must not, however slow the machine is."""
_PAUSE = 0.01
"""Seconds between two polls."""

Fields = dict[str, Any]
"""A map off the wire: what is in it is what the tests are about."""

needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root: to be another user")
needs_root_to_look = pytest.mark.skipif(
    not MAY_LOOK, reason="needs root: to look into a daemon, which nobody else may"
)


def await_that(
    holds: Callable[[], bool], told: Callable[[], object] = str, patience: float = PATIENCE
) -> None:
    """Poll until it holds; fail with the current state if it never does."""
    until = clock.boot() + patience
    while not holds():
        assert clock.boot() < until, told()
        sleep(_PAUSE)


class Answer(NamedTuple):
    """One response, as received."""

    msgid: int
    error: Fields | None
    result: Fields | None

    @property
    def code(self) -> str | None:
        """Return the code of the error, if it is one."""
        return None if self.error is None else str(self.error["code"])


def connected_to(path: Path) -> socket.socket:
    """Return a connection to a Unix socket at which nothing waits for longer than PATIENCE."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(PATIENCE), 0))
    try:
        sock.connect(os.fspath(path))  # with Python's time-out it wouldn't wait in line
        sock.settimeout(PATIENCE)
    except BaseException:
        sock.close()
        raise
    return sock


class Wire:
    """A raw connection."""

    def __init__(self, path: Path) -> None:
        self.socket = connected_to(path)
        self._unpacker = msgpack.Unpacker()
        self._msgid = 0

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def ask(self, method: str, **params: object) -> int:
        """Send a request, and return its msgid."""
        self._msgid += 1
        self.send(request(self._msgid, method, **params))
        return self._msgid

    def answer(self) -> Answer:
        """Wait for the next answer.

        Raises:
            EOFError: the daemon closed the connection instead.
        """
        while True:
            for message in self._unpacker:
                kind, msgid, error, result = cast("list[Any]", message)
                assert kind == 1
                assert (error is None) != (result is None)
                return Answer(msgid, error, result)
            data = self._receive()
            if not data:
                raise EOFError
            self._unpacker.feed(data)

    def answers(self, count: int) -> dict[int, Answer]:
        """Wait for answers, and return them by msgid."""
        return {answer.msgid: answer for answer in (self.answer() for _ in range(count))}

    def is_silent(self) -> bool:
        """Return whether no answer comes in half a second, which is enough for one that was due."""
        self.socket.settimeout(0.5)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) == b"never"
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)

    def has_ended(self) -> bool:
        """Wait for the connection's end, and return False if something else came."""
        return self._receive() == b""

    def call(self, method: str, **params: object) -> Answer:
        """Send a request and await its answer."""
        msgid = self.ask(method, **params)
        answer = self.answer()
        assert answer.msgid == msgid
        return answer

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:  # closed while something was unread
            return b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def request(msgid: int, method: str, **params: object) -> bytes:
    """Return the bytes of a request; nil parameters are sent."""
    return pack([0, msgid, method, [params] if params else []])


def pack(value: object) -> bytes:
    """Return the bytes of any value."""
    return msgpack.packb(value)


def error_of(fields: Fields) -> TokenError:
    """Return the error that a client raises for an answer's."""
    return BY_CODE[fields["code"]](fields["message"], fields["hint"], fields["retry_after"])


def call_at(path: Path, method: str, **params: object) -> Fields:
    """Call a method at a socket, on a connection of its own, and return its result.

    Raises:
        TokenError: what the daemon answered instead.
    """
    with Wire(path) as wire:
        answer = wire.call(method, **params)
    if answer.error is not None:
        raise error_of(answer.error)
    return answer.result or {}


def write_secret(path: Path, secret: str) -> Path:
    """Write a file that its owner alone may read, as the daemon demands, and return its path."""
    path.touch(mode=0o600)
    path.write_text(secret)
    return path


def profile(url: str, name: str = "main", **changes: str) -> str:
    """Return a profile's table of the configuration; a change is a TOML value, "" leaves it out."""
    fields = {
        "environment": '"custom"',
        "id_server": f'"{url}"',
        "api_url": f'"{url}/api"',
        "client_id": f'"{CLIENT_ID}"',
        "username": f'"{USERNAME}"',
        "password_file": '"password"',
    } | changes
    lines = [f"{key} = {value}" for key, value in fields.items() if value]
    return "\n".join([f"[profiles.{name}]", *lines, ""])


class RunningDaemon:
    """A daemon's process with a directory of its own: `config`, `password`, `socket`, its state."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "config.toml"
        self.password = directory / "password"
        self.socket = directory / "run" / "socket"
        self.state = directory / "state" / "ledger.json"
        self.launcher: tuple[str, ...] = ()
        """A command that executes the daemon: it is put before the interpreter."""
        self.python = Path(sys.executable)
        """The interpreter. The commands are in the same directory."""
        self.is_forked = True
        """It starts quickly; but what a process has from its start, as a command line, it hasn't."""
        self.is_paced = True
        """It replaces a token that is refused ten seconds after the last."""
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | Forked | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of the daemon, and of commands that talk to it."""
        without = ("XDG_RUNTIME_DIR", "CREDENTIALS_DIRECTORY", "OPENFIT_PROFILE", "HTTP_PROXY")
        kept = {name: value for name, value in os.environ.items() if name not in without}
        return kept | {
            "HOME": str(self.directory),
            "STATE_DIRECTORY": str(self.state.parent),
            "OPENFIT_TOKEN_SOCKET": str(self.socket),
            "PATH": f"{self.python.parent}:{os.environ.get('PATH', os.defpath)}",
        }

    @property
    def pid(self) -> int:
        """Return the process's number."""
        return self._running().pid

    def write_config(self, *tables: str) -> None:
        """Write the configuration from these tables."""
        self.config.write_text("\n".join(tables).replace('"password"', f'"{self.password}"'))

    def write_password(self, password: str) -> None:
        """Write the secret's file."""
        write_secret(self.password, password)

    def start(self, *options: str, without: tuple[str, ...] = (), first: str = "") -> None:
        """Start the daemon and wait until its socket answers.

        `without`: modules to be missing. `first`: what its process does before all else.
        """
        self.begin(*options, without=without, first=first)
        self.await_answers()

    def begin(self, *options: str, without: tuple[str, ...] = (), first: str = "") -> None:
        """Start the daemon, as `start` does, but don't wait."""
        own = ["run", "--config", str(self.config), "--socket", str(self.socket), *options]
        first = first if self.is_paced else UNPACED + first
        if self._can_be_forked and not self.launcher and not without:
            with self._log.open("ab") as log:
                self._process = forked.start(own, self.environment, log, first=first)
            return
        program = ["-m", "openfit_tokend"]
        if without:
            first = f"import sys; sys.modules.update(dict.fromkeys({without!r}))\n{first}"
        if first:
            program = ["-c", f"{first}\nfrom openfit_tokend.cli import main; main()"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.launcher, self.python, *program, *own],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
            )

    def await_answers(self, patience: float = PATIENCE) -> None:
        """Wait until its socket answers."""
        await_that(self._answers, self.log, patience)

    def wire(self) -> Wire:
        """Return a raw connection."""
        return Wire(self.socket)

    def client(self, profile: str | None = None) -> TokenClient:
        """Return the Python client."""
        return TokenClient(profile, str(self.socket))

    def call(self, method: str, **params: object) -> Fields:
        """Call a method, as `call_at` does."""
        return call_at(self.socket, method, **params)

    def profile_status(self, name: str = "main") -> Fields:
        """Return one profile's status."""
        return cast("Fields", self.call("status", profile=name)["profiles"][name])

    def await_state(self, *states: str, name: str = "main") -> Fields:
        """Wait until a profile is in one of these states, and return its status."""
        await_that(lambda: self.profile_status(name)["state"] in states, self.log)
        return self.profile_status(name)

    def await_waiting(self, count: int, name: str = "main") -> None:
        """Wait until so many calls are waiting."""
        await_that(lambda: self.profile_status(name)["counters"]["waiting"] == count)

    def await_connections(self, count: int) -> None:
        """Wait until so many clients are connected, including the one that asks."""
        await_that(lambda: bool(self.call("status")["connections"] == count))

    def await_log(self, *words: str) -> str:
        """Wait for a line of the log that has all these words, and return it."""

        def found() -> list[str]:
            lines = self._said().splitlines()
            return [line for line in lines if all(word in line for word in words)]

        await_that(lambda: bool(found()), lambda: f"no line with {words} in:\n{self.log()}")
        return found()[-1]

    def run(self, *command: str, stdin: str = "", first: str = "") -> Completed:
        """Run one of the installed commands, as a user of this daemon would.

        `first`: what a command of ours does before it imports anything.
        """
        if command[0] in forked.COMMANDS and self._can_be_forked:
            return forked.run(command, self.environment, stdin, first)
        installed = [str(self.python.with_name(command[0]))]
        if first:
            program = f"{first}\nfrom {forked.COMMANDS[command[0]]} import main; main()"
            installed = [str(self.python), "-c", program]
        return processes.run(*installed, *command[1:], stdin=stdin, inherited=self.environment)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._running().send_signal(number)

    def stop(self) -> int:
        """Stop it in order, and return its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end, and return its exit status."""
        return self._running().wait(PATIENCE)

    def kill(self) -> None:
        """Kill it if it still runs, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def log(self) -> str:
        """Return what it has logged, over all its starts, once it has nothing left to do."""
        if self._process is not None and self._process.poll() is None:
            await_rest(self.pid)
        return self._said()

    def _said(self) -> str:
        return self._log.read_text(errors="replace")

    def memory(self) -> int:
        """Return the resident bytes."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    @property
    def _can_be_forked(self) -> bool:
        is_ours = str(self.python) == sys.executable
        return self.is_forked and is_ours and forked.is_possible(self.environment)

    def _running(self) -> subprocess.Popen[bytes] | Forked:
        assert self._process is not None, "it isn't started"
        return self._process

    def _answers(self) -> bool:
        assert self._running().poll() is None, f"it ended:\n{self.log()}"
        with suppress(FileNotFoundError, ConnectionRefusedError, EOFError), self.wire() as wire:
            return wire.call("hello").error is None
        return False


@contextmanager
def prepared_daemon(*tables: str, password: str = PASSWORD) -> Generator[RunningDaemon]:
    """Prepare a daemon that can be started any number of times; it is killed at the end."""
    with TemporaryDirectory(prefix="oft-", ignore_cleanup_errors=True) as name:
        daemon = RunningDaemon(Path(name))
        daemon.write_config(*tables)
        daemon.write_password(password)
        try:
            yield daemon
        finally:
            daemon.kill()


@contextmanager
def running_daemon(
    *tables: str, password: str = PASSWORD, paced: bool = True
) -> Generator[RunningDaemon]:
    """Run a daemon with this configuration; it is killed at the end."""
    with prepared_daemon(*tables, password=password) as daemon:
        daemon.is_paced = paced
        daemon.start()
        yield daemon


def fresh_daemon() -> Generator[RunningDaemon]:
    """Run a daemon that holds an emulator's token, as a fixture of any scope does."""
    with running_emulator() as emulator, running_daemon(profile(emulator.url)) as daemon:
        daemon.await_state("fresh")
        yield daemon
