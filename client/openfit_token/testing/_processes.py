"""What the kit's two processes have in common: how they are started and ended."""

import os
import re
import subprocess
import sys
from tempfile import gettempdir
from typing import Final

PATIENCE: Final = 30.0
"""Seconds in which a process must start or end, on a very busy machine."""
PYTHON: Final = (sys.executable, "-P")  # the directory one is in offers no modules
_LONGEST_TEMPORARY: Final = 60
"""Bytes of the temporary directory's path: beyond, a socket's path might be too long."""
_LOG_LINES: Final = 10
_NOT_OURS: Final = re.compile(
    r"(?i:.*_proxy)|OPENFIT_.*|SSL_CERT_.*|CREDENTIALS_DIRECTORY|CONFIGURATION_DIRECTORY"
    r"|NOTIFY_SOCKET|WATCHDOG_.*|LISTEN_.*|XDG_RUNTIME_DIR"
)
"""Variables of the environment that would lead the processes somewhere else."""


class NotStarted(Exception):
    """A process of the kit didn't start. Says what it said."""


def environment() -> dict[str, str]:
    """Return ours, but for what would lead elsewhere."""
    return {name: value for name, value in os.environ.items() if not _NOT_OURS.fullmatch(name)}


def end(process: "subprocess.Popen[bytes]") -> int:
    """End a process in order, by force if need be, and give its exit status."""
    process.terminate()
    try:
        return process.wait(PATIENCE)
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
    words = "".join(f"\n  {line}" for line in log.splitlines()[-_LOG_LINES:])
    return NotStarted(f"the {name} doesn't start{words}")
