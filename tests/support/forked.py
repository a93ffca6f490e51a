"""Our commands, forked off a process that has imported them already.

    process = forked.start(["run", ...], environment, log, descriptors)
    done = forked.run(["openfit-token", "get"], environment, stdin)

To start Python and to import the daemon takes half a second of CPU time, and the tests do it hundreds of times.
Where a test is about the process, each is a program of its own.
"""

import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from select import select
from tempfile import TemporaryFile
from threading import Lock
from typing import Any, BinaryIO, Final, final

MAX_PASSED: Final = 250
"""Descriptors at once: the kernel passes 253 (SCM_MAX_FD)."""
PATIENCE: Final = 60.0
"""Seconds that a command may take."""
_PR_SET_PDEATHSIG: Final = 1
_MAX_ORDER: Final = 128 * 1024
"""Bytes: an environment, mostly."""
_ONE_BY_ONE: Final = Lock()
_OTHERS: Final = (
    "anyio._backends._asyncio",
    "cryptography.hazmat.primitives.ciphers.aead",
    "httpx",
    "msgpack",
    "psycopg",
)
_OURS: Final = (
    "openfit_tokend.app",
    "openfit_tokend.cli.check",
    "openfit_tokend.cli.run",
    "openfit_token._cli.command_line.orders",
)
COMMANDS: Final = {"openfit-token": "openfit_token._cli", "openfit-tokend": "openfit_tokend.cli"}
"""Where the `main` of each is."""
_ENVIRONMENT: Final = dict(os.environ)
"""What they start with, whatever a test makes of its own."""


def is_possible(environment: Mapping[str, str]) -> bool:
    """Return whether a Python that starts with these variables would be like the one that has started."""
    return _read_at_the_start(environment) == _read_at_the_start(_ENVIRONMENT)


def _read_at_the_start(environment: Mapping[str, str]) -> dict[str, str]:
    prefixes = ("PYTHON", "LANG", "LC_", "LD_", "TZ")
    return {name: value for name, value in environment.items() if name.startswith(prefixes)}


@final
class Forked:
    """What `subprocess.Popen` does, as far as the tests need it."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self._channel = channel
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its exit status, if it has ended."""
        if self.returncode is None:
            self.returncode = _asked(self._channel, {"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its exit status."""
        fd = os.pidfd_open(self.pid) if self.returncode is None else -1
        try:
            if fd >= 0 and not select([fd], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("the command", timeout or 0.0)
        finally:
            if fd >= 0:
                os.close(fd)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


def start(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    log: BinaryIO,
    passed: Sequence[int] = (),
    first: str = "",
) -> Forked:
    """Start the daemon with these descriptors from number 3 on, as systemd passes them.

    `first`: what it does before it imports anything of ours.
    """
    with Path(os.devnull).open("rb") as nothing:
        fds = [nothing.fileno(), log.fileno(), log.fileno(), *passed]
        return _start(["openfit-tokend", *arguments], environment, fds, first)


def run(
    command: Sequence[str], environment: Mapping[str, str], stdin: str, first: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run one of COMMANDS to its end, and return what it printed."""
    with TemporaryFile("w+") as given, TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        given.write(stdin)
        given.seek(0)
        fds = [each.fileno() for each in (given, out, err)]
        process = _start(command, environment, fds, first)
        try:
            status = process.wait(PATIENCE)
        finally:
            process.kill()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, status, out.read(), err.read())


def _start(
    command: Sequence[str], environment: Mapping[str, str], fds: Sequence[int], first: str
) -> Forked:
    """Start a command with these descriptors from number 0 on."""
    umask = os.umask(0)
    os.umask(umask)
    order = {
        "command": [*command],
        "environment": {**environment},
        "directory": str(Path.cwd()),
        "umask": umask,
    }
    channel = _imported(first)
    pid = _asked(channel, order, fds)
    assert pid is not None
    return Forked(pid, channel)


def _asked(
    channel: socket.socket, order: Mapping[str, object], fds: Sequence[int] = ()
) -> int | None:
    with _ONE_BY_ONE:
        socket.send_fds(channel, [json.dumps(order).encode()], fds)
        answer: int | None = json.loads(channel.recv(_MAX_ORDER))
    return answer


@cache
def _imported(first: str) -> socket.socket:
    """Return the channel to a process that has done this, and then imported what is ours."""
    own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        _asked(_others(), {"first": first}, [its.fileno()])
    return own


@cache
def _others() -> socket.socket:
    """Start a process that imports what isn't ours; it ends, with all that it started, when this one does."""
    own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        subprocess.Popen(
            [sys.executable, __file__, str(its.fileno())],
            pass_fds=[its.fileno()],
            env=_ENVIRONMENT,
            start_new_session=True,  # Ctrl-C is for the tests
        ).returncode = 0  # it is left alone
    return own


def _serve(channel: socket.socket) -> str:
    """Fork a child for each order; return, in the child, the command that it is."""
    while True:
        try:
            data, fds, _, _ = socket.recv_fds(channel, _MAX_ORDER, MAX_PASSED + 3)
        except ConnectionResetError:  # who asked didn't read the last answer
            sys.exit()
        if not data:
            sys.exit()
        order = json.loads(data)
        answer: int | None
        if ended := order.get("ended"):
            pid, status = os.waitpid(ended, os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
        if answer == 0 and not ended:
            channel.close()
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if "command" in order:
                _become(order, fds)
                return str(order["command"][0])
            channel = socket.socket(fileno=fds[0])
            exec(order["first"], {})  # noqa: S102 -- the test's
            _import(_OURS)
            continue
        for fd in fds:
            os.close(fd)
        channel.send(json.dumps(answer).encode())


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        with suppress(ImportError):  # an extra's
            importlib.import_module(name)
    gc.freeze()


def _become(order: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Be the process that is ordered, as after execve(2)."""
    for number, fd in enumerate(fds):  # each has a higher number than it gets
        os.dup2(fd, number)
    os.closerange(len(fds), max(fds) + 1)
    os.environ.clear()
    os.environ.update(order["environment"])
    if "LISTEN_FDS" in os.environ:
        os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
    os.chdir(order["directory"])
    os.umask(int(order["umask"]))
    sys.argv = [*order["command"]]
    # As Python makes them at its start.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 -- for the whole run
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 -- for the whole run
    sys.stderr = open(2, "w", closefd=False, errors="backslashreplace", buffering=1)  # noqa: SIM115 -- for the whole run


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))
    _import(_OTHERS)
    with socket.socket(fileno=int(sys.argv[1])) as inherited:
        wanted = _serve(inherited)
    importlib.import_module(COMMANDS[wanted]).main()
