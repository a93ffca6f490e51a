"""Hardens this process: nobody else may open its memory, not even other programs of its user.

The systemd unit does this and more, but the daemon also runs in terminals, containers and under
other supervisors.
"""

import os
from resource import RLIMIT_CORE, setrlimit
from typing import Final

from openfit_tokend.host import log

UMASK: Final = 0o077
"""New files are for the daemon's user only, unless their mode is set afterwards."""
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4


def harden_process() -> None:
    """Forbid core dumps, ptrace and access through /proc, and set a restrictive umask.

    Call it as early as can be: from then on only root can open what shows the memory, but a descriptor
    that a program of the same user opened before shows it as long as the process lives, with all that
    it reads later. /proc/PID/environ shows the environment of the start. What can't be done is logged.
    """
    os.umask(UMASK)
    lacking: list[str] = []
    try:
        setrlimit(RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        lacking.append("RLIMIT_CORE")
    if not _undumpable():
        lacking.append("PR_SET_DUMPABLE")
    if lacking:
        log.warning(
            "process_open",
            lacking=", ".join(lacking),
            hint="other programs of the daemon's user may read its memory, or a core dump contain it",
        )


def _undumpable() -> bool:
    """Forbid dumping and tracing this process (prctl(2)), and return whether that worked."""
    try:
        from ctypes import CDLL  # noqa: PLC0415 -- only `run` needs it

        prctl = CDLL(None).prctl
    except (ImportError, OSError, AttributeError):  # a Python without libffi, another libc
        return False
    prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return bool(prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 0)
