"""What processes of the kit and of the demo have in common: how they are started and ended."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir
from time import sleep
from typing import Final, Self

PATIENCE: Final = 30.0
"""Seconds in which a process must start or end, on a very busy machine."""
PYTHON: Final = (sys.executable, "-P")  # don't import modules from the working directory
_LOOK: Final = 0.001
"""Seconds between two looks whether a process has something left to do."""
_LOOKS: Final = 1000
"""How often it is looked at most, since some always have: for about a second."""
_LONGEST_TEMPORARY: Final = 60
"""Bytes of the temporary directory's path: beyond, a socket's path might be too long."""
_LOG_LINES: Final = 10
_NOT_OURS: Final = re.compile(
    r"(?i:.*_proxy)|OPENFIT_.*|SSL_CERT_.*|CREDENTIALS_DIRECTORY|CONFIGURATION_DIRECTORY"
    r"|NOTIFY_SOCKET|WATCHDOG_.*|LISTEN_.*|XDG_RUNTIME_DIR"
)
"""Variables of the environment that would lead the processes somewhere else."""


class NotStarted(Exception):
    """A process didn't start. Gives the reason: the system's, or the end of the process's log."""


def environment() -> dict[str, str]:
    """Return this process's environment without what would lead elsewhere."""
    return {name: value for name, value in os.environ.items() if not _NOT_OURS.fullmatch(name)}


def started(
    command: Sequence[str], out: int, err: int, group: int | None, env: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start a process. Raises: NotStarted."""
    try:
        return subprocess.Popen(  # noqa: S603 -- our own programs, and the store of a demo
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=env,
            process_group=group,
        )
    except OSError as error:
        raise NotStarted(f"can't start {command[0]}: {error.strerror}") from error


class Program:
    """A context manager: one of our programs, as a process that may be started again."""

    def __init__(self, process_group: int | None) -> None:
        self._process_group = process_group
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and wait until it can be used.

        Raises:
            NotStarted: it ended instead.
            RuntimeError: it runs already.
        """
        if self.is_running:
            raise RuntimeError("it runs already: stop it first")

    def stop(self) -> None:
        """Stop it in an orderly way, as systemd does; kill it if it doesn't end."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def kill(self) -> None:
        """Kill it, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self.stop()

    def log(self) -> str:
        """Return what it has logged."""
        raise NotImplementedError

    def _begin(
        self, command: Sequence[str], out: int, err: int, **more: str
    ) -> "subprocess.Popen[bytes]":
        variables = environment() | more
        self._process = started(command, out, err, self._process_group, variables)
        return self._process

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def await_rest(pid: int) -> None:
    """Wait until a process has done all that was to do: what it logs in a thread of its own is written."""
    for _ in range(_LOOKS):
        if not _is_busy(pid):
            return
        sleep(_LOOK)


def _is_busy(pid: int) -> bool:
    """Return whether a thread of it runs, wants to, or waits for a disk (proc_pid_stat(5)).

    The main one is the first: once it sleeps, the one that writes has been woken.
    """
    with suppress(OSError):  # it just ended
        for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
            if thread.read_text().rpartition(")")[2].split()[0] in "RD":
                return True
    return False


def temporary_parent() -> str:
    """Return a directory for temporary ones in which a socket's path is short enough."""
    usual = gettempdir()
    if len(os.fsencode(usual)) <= _LONGEST_TEMPORARY:
        return usual
    return "/tmp"  # noqa: S108 -- mkdtemp makes a directory of our own in it


def not_started(name: str, log: str) -> NotStarted:
    """Return the error for a process that ended, or didn't answer."""
    return NotStarted(f"the {name} doesn't start{last_lines(log)}")


def last_lines(log: str) -> str:
    """Return the end of a log, each line indented below a message."""
    return "".join(f"\n  {line}" for line in log.splitlines()[-_LOG_LINES:])
