"""Reads small files that the daemon has to be able to trust.

What is judged is the opened file, not the path: nobody can exchange it in between.
"""

import os
import pwd
import shlex
import stat
from collections.abc import Callable
from typing import Final

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
"""Without O_NONBLOCK the opening of a FIFO would wait for a writer, for ever."""


class Unusable(Exception):
    """A file can't be used. Never holds its content.

    Attributes:
        reason: why, as the end of a sentence that begins with the file.
        remedy: what to do.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy


def read(path: str, limit: int, judge: Callable[[os.stat_result], None]) -> bytes:
    """Give the content of a regular file of at most `limit` bytes. Symlinks are followed.

    `judge` looks at owner and mode before anything is read, and raises Unusable against them.

    Raises:
        Unusable: the file is absent, may not be read, is no regular file, is too large, or was
            judged so.
    """
    try:
        descriptor = os.open(path, _FLAGS)
        try:
            return _read(descriptor, limit, judge)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise Unusable("does not exist", "create it, or correct the path") from None
    except PermissionError:
        remedy = f"let the user {user(os.geteuid())} read it, and search its directories"
        raise Unusable("may not be read by the daemon", remedy) from None
    except OSError as error:
        raise Unusable(f"can't be read: {error.strerror}", "look at the path") from None


def _read(descriptor: int, limit: int, judge: Callable[[os.stat_result], None]) -> bytes:
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise Unusable("is a directory", "name a file")
    if not stat.S_ISREG(status.st_mode):
        raise Unusable("is not a regular file", "name a file, not a pipe or device")
    judge(status)
    with open(descriptor, "rb", closefd=False) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise Unusable(f"is larger than {limit} bytes", "look whether it is the right file")
    return content


def judge_owner(path: str, status: os.stat_result) -> None:
    """Refuse a file that neither root nor the daemon's own user owns.

    Raises:
        Unusable: its owner could change it at any time.
    """
    if status.st_uid not in {0, os.geteuid()}:
        owner, own = user(status.st_uid), user(os.geteuid())
        reason = f"belongs to {owner}, neither to root nor to the daemon's user"
        raise Unusable(reason, f"chown {own} {shlex.quote(path)}")


def user(uid: int) -> str:
    """Give the user's name, or the number of one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
