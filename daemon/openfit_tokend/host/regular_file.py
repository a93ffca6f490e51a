"""Reads small files that the daemon has to be able to trust.

The checks look at the opened file, so that nobody can replace it in between, and at the path to it.
"""

import os
import shlex
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from openfit_token._shared.trouble import Trouble
from openfit_token._shared.trusted_path import (
    READ_OR_WRITE,
    Untrusted,
    group_name,
    has_acl,
    is_private,
    judge_file,
    others,
    user_name,
)

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
"""Without O_NONBLOCK, opening a FIFO would wait for a writer indefinitely."""


Check = Callable[[str, os.stat_result], None]
"""Checks the path, owner and mode of an opened file before it is read; raises Unusable to refuse it."""


class Unusable(Trouble):
    """A file can't be used. Never holds the file's content.

    The message is the rest of a sentence that begins with the file's name.
    """


def read(path: str, limit: int, check: Check, *, through_link: bool = True) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        Unusable: the file is absent, can't be read, is no regular file, is too large, `check` refused
            it, or it is a link that isn't to be followed.
    """
    with explained():
        descriptor = os.open(path, _FLAGS if through_link else _FLAGS | os.O_NOFOLLOW)
        try:
            return _read(descriptor, path, limit, check)
        finally:
            os.close(descriptor)


@contextmanager
def explained() -> Generator[None]:
    """Turn the system's errors about a file that is read in this block into Unusable."""
    try:
        yield
    except FileNotFoundError:
        raise Unusable("does not exist", "create it, or correct the path") from None
    except PermissionError:
        hint = f"let the user {user_name(os.geteuid())} read it, and search its directories"
        raise Unusable("can't be read by the daemon", hint) from None
    except OSError as error:
        raise Unusable(f"can't be read: {error.strerror}", "look at the path") from None


def _read(descriptor: int, path: str, limit: int, check: Check) -> bytes:
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise Unusable("is a directory", "name a file")
    if not stat.S_ISREG(status.st_mode):
        raise Unusable("is not a regular file", "name a file, not a pipe or device")
    check(path, status)
    with open(descriptor, "rb", closefd=False) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise Unusable(f"is larger than {limit} bytes", "check that it is the right file")
    return content


def named_once(path: Path) -> Path:
    """Return the file's path with its directory resolved, so that each spelling gives the same one.

    The file itself isn't resolved: a ConfigMap's file in Kubernetes is a link whose target changes with
    each update. May block.
    """
    # Unlike Path.resolve, realpath accepts a loop of links: opening the file reports that.
    return Path(os.path.realpath(path.parent), path.name)


def refuse_writable(path: str, status: os.stat_result) -> None:
    """Refuse an opened file that anybody but root and the daemon's user can write to or replace.

    Raises:
        Unusable: somebody else can.
        OSError: its path no longer exists.
    """
    try:
        judge_file(path, status)
    except Untrusted as untrusted:
        message = untrusted.message
        if untrusted.place != path:
            message = f"is reached through {untrusted.place}, which {message}"
        raise Unusable(message, untrusted.hint) from None


def refuse_readable(path: str, status: os.stat_result) -> None:
    """Refuse an opened file that anybody but root and the daemon's user can read, write to or replace.

    Raises:
        Unusable, OSError: as for `refuse_writable`.
    """
    who = others(path, status, READ_OR_WRITE)
    if who is not None:
        reason = f"{who} may read or write it (mode {stat.S_IMODE(status.st_mode):04o})"
        raise Unusable(reason, _closing(path, status))
    refuse_writable(path, status)


def _closing(path: str, status: os.stat_result) -> str:
    """Return the command that keeps others from a secret, and leaves it to the daemon."""
    user, group, quoted = os.geteuid(), os.getegid(), shlex.quote(path)
    if status.st_uid == user:
        return f"chmod 600 {quoted}"
    if is_private(group) and not has_acl(path):
        return f"chgrp {group_name(group)} {quoted} && chmod 640 {quoted}"
    return f"chown {user_name(user)} {quoted} && chmod 600 {quoted}"
