"""Who holds a lock file: the process that has it writes its number into it."""

import os
from pathlib import Path
from typing import Final

MAX_NUMBER: Final = 20
"""Bytes of a process's number, and more."""


def sign(lock: int) -> None:
    """Write down that this process holds the file, which it has just locked."""
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    except OSError:  # a full disk: who asks is told less
        return


def holder(path: Path) -> int | None:
    """Return the process that holds a file which can't be locked now; None: it can't be known."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        written = os.pread(lock, MAX_NUMBER, 0).strip()
    except OSError:
        return None
    finally:
        os.close(lock)
    return int(written) if written.isdigit() else None
