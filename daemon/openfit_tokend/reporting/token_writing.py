"""One file with an access token in it: replaced as a whole, readable by one group, gone in time.

Nobody but root and the daemon's user may be able to exchange it: so its directory is judged each
time, and held open while its names are used.
"""

import grp
import os
import shlex
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from errno import EACCES
from pathlib import PurePosixPath
from typing import Final

from openfit_token._shared.trusted_path import Untrusted, judge_directory, user_name
from openfit_tokend.core.secret import Secret
from openfit_tokend.core.settings import TokenFile
from openfit_tokend.host.regular_file import Unusable

MODE: Final = 0o640
Inode = tuple[int, int]
"""Device and number of a file: its identity, wherever it is moved to."""

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write(file: TokenFile, token: Secret) -> Inode:
    """Let the file hold this token and nothing else, not even a newline; return which it is.

    May block.

    A reader finds the old token or the new one, whole. The file isn't synced: it doesn't matter
    after a crash.

    Raises:
        Unusable: its directory isn't safe, there is another file, or it can't be written. Then what
            was there is still there.
    """
    with _directory(file.path) as directory:
        name, beside = _names(file.path)
        _judge_present(file.path, name, directory)
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=directory)  # of a daemon that was killed
        descriptor = os.open(beside, _NEW, 0o600, dir_fd=directory)
        try:
            with os.fdopen(descriptor, "wb") as content:
                content.write(token.reveal.encode())
                _give_to_group(file.group, descriptor, directory)
                os.fchmod(descriptor, MODE)
                status = os.fstat(descriptor)
            os.rename(beside, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(beside, dir_fd=directory)
            raise
    return status.st_dev, status.st_ino


def judge_place(path: str) -> None:
    """Check whether a file with a token could be written, without writing it. May block.

    Raises:
        Unusable: as for `write`.
    """
    with _directory(path) as directory:
        _judge_present(path, PurePosixPath(path).name, directory)
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True):
            raise PermissionError(EACCES, os.strerror(EACCES))


def empty(path: str, inode: Inode) -> None:
    """Let the file hold nothing, if it is this one: for what can't even be removed. May block.

    Its directory may have become anybody's: so what is judged is the opened file alone.

    Raises:
        OSError: it can't be written either.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) == inode and status.st_uid == os.geteuid():
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def remove(path: str) -> None:
    """Let there be no such file, nor what a daemon that was killed has left beside it. May block.

    Raises:
        Unusable: as for `write`.
    """
    with _directory(path) as directory:
        name, beside = _names(path)
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=directory)
        if _judge_present(path, name, directory):
            os.unlink(name, dir_fd=directory)


def _names(path: str) -> tuple[str, str]:
    name = PurePosixPath(path).name
    return name, f".{name}.new"


@contextmanager
def _directory(path: str) -> Generator[int]:
    """Return the file's directory, judged and opened. Turn the system's errors into Unusable."""
    try:
        descriptor = _open_directory(str(PurePosixPath(path).parent))
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        remedy = "look at the directory's rights, and at the space left"
        raise Unusable(f"can't be written: {error.strerror}", remedy) from None


def _open_directory(path: str) -> int:
    try:
        judge_directory(path)
        return os.open(path, _DIRECTORY)
    except Untrusted as untrusted:
        raise Unusable(f"its directory isn't safe: {untrusted}", untrusted.remedy) from None
    except FileNotFoundError:
        owner, quoted = user_name(os.geteuid()), shlex.quote(path)
        remedy = f"make it: install -d -o {owner} -m 0750 {quoted}"
        raise Unusable(f"there is no directory {path}", remedy) from None
    except NotADirectoryError:
        raise Unusable(f"{path} is no directory", "name a file in a directory") from None


def _judge_present(path: str, name: str, directory: int) -> bool:
    """Return whether there is a file already; refuse one that was hardly made by a daemon."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    ours = status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == MODE
    if not ours or not stat.S_ISREG(status.st_mode):
        remedy = f"rm {shlex.quote(path)} if nobody needs it, or name another file"
        raise Unusable(
            f"another file is there (a token's is the daemon's own, mode {MODE:04o})", remedy
        )
    return True


def _give_to_group(group: str | None, descriptor: int, directory: int) -> None:
    if group is None or os.fstat(directory).st_mode & stat.S_ISGID:
        return
    try:
        os.fchown(descriptor, -1, grp.getgrnam(group).gr_gid)
    except KeyError:
        raise Unusable(f"there is no group {group}", "correct socket_group") from None
    except PermissionError:
        remedy = (
            f"add {user_name(os.geteuid())} to it, or: chgrp {group} and chmod g+s the directory"
        )
        raise Unusable(f"may not be given to the group {group}", remedy) from None
