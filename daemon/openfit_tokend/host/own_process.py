"""Closes the process: what it holds in memory is for nobody else, not even programs of its user.

The unit does the same and more; but the daemon also runs in terminals, containers and supervisors.
"""

import os
from resource import RLIMIT_CORE, setrlimit
from typing import Final

from openfit_tokend.host import log

UMASK: Final = 0o077
"""What is made is the daemon's user's alone, unless its mode is set afterwards."""
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4


def close_process() -> None:
    """Allow no core dumps, no ptrace and no look into /proc by others; and take a close umask.

    Call it before any secret is read. Only root can look in from then on. What can't be had is said.
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
            hint="programs of the daemon's user may read its memory, or a core dump have it",
        )


def _undumpable() -> bool:
    """Take the right to dump and to trace this process away (prctl(2)); True: that was done."""
    try:
        from ctypes import CDLL  # noqa: PLC0415 -- no daemon that isn't one needs it

        prctl = CDLL(None).prctl
    except (ImportError, OSError, AttributeError):  # a Python without libffi, another libc
        return False
    prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return bool(prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 0)
