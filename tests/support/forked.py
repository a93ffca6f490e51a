"""The daemon, forked off a process that has imported it already.

    process = forked.start(["run", ...], environment, log, descriptors)

To start Python and to import the daemon takes half a second of CPU time, and the tests do it hundreds of times.
With $OPENFIT_LONG_FORMS each daemon is a program of its own. So it is always where the test is about the process.
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
from threading import Lock
from typing import Any, BinaryIO, Final, final

MAX_PASSED: Final = 250
"""Descriptors at once: the kernel passes 253 (SCM_MAX_FD)."""
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
_ALL: Final = (*_OTHERS, "openfit_tokend.app", "openfit_tokend.cli.run")


def is_wanted() -> bool:
    """Return whether a daemon about which a test wants nothing special is to be forked."""
    return not os.environ.get("OPENFIT_LONG_FORMS")


@final
class Forked:
    """What `subprocess.Popen` does, as far as the tests need it."""

    def __init__(self, pid: int, imported: Sequence[str]) -> None:
        self.pid = pid
        self._imported = imported
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its exit status, if it has ended."""
        if self.returncode is None:
            self.returncode = _asked(self._imported, {"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its exit status."""
        fd = os.pidfd_open(self.pid) if self.returncode is None else -1
        try:
            if fd >= 0 and not select([fd], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("the daemon", timeout or 0.0)
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
    umask = os.umask(0)
    os.umask(umask)
    order = {
        "arguments": [*arguments],
        "first": first,
        "environment": {**environment},
        "directory": str(Path.cwd()),
        "umask": umask,
    }
    with Path(os.devnull).open("rb") as nothing:
        fds = [nothing.fileno(), log.fileno(), log.fileno(), *passed]
        imported = _OTHERS if first else _ALL
        pid = _asked(imported, order, fds)
    assert pid is not None
    return Forked(pid, imported)


def _asked(
    imported: Sequence[str], order: Mapping[str, object], fds: Sequence[int] = ()
) -> int | None:
    with _ONE_BY_ONE:
        channel = _channel(*imported)
        socket.send_fds(channel, [json.dumps(order).encode()], fds)
        answer: int | None = json.loads(channel.recv(_MAX_ORDER))
    return answer


@cache
def _channel(*imported: str) -> socket.socket:
    """Start a process that imports these; it ends, with all that it started, when this one does."""
    own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        subprocess.Popen(
            [sys.executable, __file__, str(its.fileno()), *imported],
            pass_fds=[its.fileno()],
            start_new_session=True,  # Ctrl-C is for the tests
        ).returncode = 0  # it is left alone
    return own


def _serve(channel: socket.socket) -> list[str]:
    """Fork a child for each order; return, in the child, its arguments."""
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
            if answer == 0:
                channel.close()
                _become(order, fds)
                exec(order["first"], {})  # noqa: S102 -- the test's
                return [*order["arguments"]]
        for fd in fds:
            os.close(fd)
        channel.send(json.dumps(answer).encode())


def _become(order: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Be the process that is ordered, as after execve(2), but end when the one that forked it does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number, fd in enumerate(fds):  # each has a higher number than it gets
        os.dup2(fd, number)
    os.closerange(len(fds), max(fds) + 1)
    os.environ.clear()
    os.environ.update(order["environment"])
    if "LISTEN_FDS" in os.environ:
        os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
    os.chdir(order["directory"])
    os.umask(int(order["umask"]))
    sys.argv = ["openfit-tokend"]


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))
    for name in sys.argv[2:]:
        with suppress(ImportError):  # an extra's
            importlib.import_module(name)
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as inherited:
        given = _serve(inherited)
    importlib.import_module("openfit_tokend.cli").main(given)
