"""Lock files: held until their process ends, which writes its number into them."""

import fcntl
import os
from pathlib import Path
from typing import Final

MAX_NUMBER: Final = 20
"""Bytes of a process's number, and more."""


def acquire(path: Path) -> int | None:
    """Lock a file for this process, and return its descriptor; None: another process has it.

    The file is created if it is absent.

    Raises:
        OSError: it can't be opened or locked.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            return None
        raise
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    except OSError:  # a full disk: `holder` knows less
        pass
    return lock


def holder(path: Path) -> int | None:
    """Return the process that holds a lock file which can't be acquired now; None: unknown."""
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


def is_held(path: Path) -> bool:
    """Return whether a process holds a lock file at this moment."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
