"""What processes of the kit and of the demo have in common: how they are started and ended."""

import os
import re
import subprocess
import sys
from tempfile import gettempdir
from typing import Final

PATIENCE: Final = 30.0
"""Seconds in which a process must start or end, on a very busy machine."""
PYTHON: Final = (sys.executable, "-P")  # don't import modules from the working directory
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


def end(process: "subprocess.Popen[bytes]", patience: float = PATIENCE) -> int:
    """Terminate a process, kill it if it hasn't ended after `patience` seconds; return its exit status."""
    process.terminate()
    try:
        return process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


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
