"""Writes and removes one token file: always whole, and readable by one group at most.

Only root and the daemon's user may be able to replace it. So its directory is judged each time, and kept
open while names in it are used.
"""

import grp
import os
import re
import shlex
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import PurePosixPath
from typing import Final

from openfit_token._shared.secret import Secret
from openfit_token._shared.trusted_path import (
    READ_OR_WRITE,
    Untrusted,
    group_name,
    judge_directory,
    others,
    user_name,
)
from openfit_tokend.core.oauth import MAX_BODY
from openfit_tokend.core.settings.values import DirectorysGroup, TokenFile
from openfit_tokend.host.regular_file import Unusable
from openfit_tokend.host.replaced_file import new_file, replace

Inode = tuple[int, int]
"""Device and number of a file: its identity, wherever it is moved to."""

_ALONE: Final = 0o600
_WITH_GROUP: Final = 0o640
_TOKEN: Final = re.compile(rb"[!-~]{32,}")
"""The content of a token file. Nearly all other files have a newline or a space."""
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PRESENT: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def write(file: TokenFile, token: Secret, known: Inode | None = None) -> Inode:
    """Write this token to the file, and nothing else, not even a newline; return the file's identity.

    May block. `known`: the file written before; it may be replaced whatever it contains.

    A reader finds the old token or the new one, whole. The file isn't synced: it doesn't matter
    after a crash.

    Raises:
        Unusable: its directory isn't safe, there is another file, others could read it, or it can't be
            written. Then what was there is still there.
    """
    with _directory(file.path) as directory:
        name = PurePosixPath(file.path).name
        _judge_present(file.path, directory, known)
        content = token.reveal.encode()
        open_up = partial(_open_up, file, directory)
        beside = f".{name}.new"
        status = replace(directory, name, content, beside=beside, prepare=open_up, durable=False)
    return status.st_dev, status.st_ino


def judge_place(file: TokenFile, *, chown: bool = True) -> None:
    """Check that the file could be written, by creating an empty one beside it. May block.

    Args:
        file: what would be written.
        chown: whether the daemon may give files to other groups. Its unit forbids that.

    Raises:
        Unusable: as for `write`.
    """
    with _directory(file.path) as directory:
        name = f".{PurePosixPath(file.path).name}.check"
        _judge_present(file.path, directory, None)
        with new_file(directory, name) as descriptor:
            _open_up(file, directory, descriptor, chown=chown)
            os.unlink(name, dir_fd=directory)


def empty(path: str, inode: Inode) -> None:
    """Empty the file, if it is this one: for a file that can't even be removed. May block.

    Its directory may no longer be safe, so only the opened file is judged.

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


def remove(path: str, known: Inode | None = None) -> None:
    """Remove the file, and what a killed daemon may have left beside it. May block.

    Raises:
        Unusable: as for `write`.
    """
    with _directory(path) as directory:
        name = PurePosixPath(path).name
        with suppress(FileNotFoundError):
            os.unlink(f".{name}.new", dir_fd=directory)
        if _judge_present(path, directory, known):
            os.unlink(name, dir_fd=directory)


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
        hint = "look at the directory's rights, and at the space left"
        raise Unusable(f"can't be written: {error.strerror}", hint) from None


def _open_directory(path: str) -> int:
    try:
        judge_directory(path)
        return os.open(path, _DIRECTORY)
    except Untrusted as untrusted:
        raise Unusable(f"its directory isn't safe: {untrusted}", untrusted.hint) from None
    except FileNotFoundError:
        owner, quoted = user_name(os.geteuid()), shlex.quote(path)
        hint = f"make it: install -d -o {owner} -m 0750 {quoted}"
        raise Unusable(f"there is no directory {path}", hint) from None
    except NotADirectoryError:
        raise Unusable(f"{path} is no directory", "name a file in a directory") from None


def _open_up(file: TokenFile, directory: int, descriptor: int, *, chown: bool = True) -> None:
    """Make a new file readable by its group, if it has one, and make sure that nobody else can read it."""
    gid = _readers(file, directory)
    if gid is not None and os.fstat(descriptor).st_gid != gid:
        _give(file, descriptor, gid, chown=chown)
    os.fchmod(descriptor, _ALONE if gid is None else _WITH_GROUP)
    who = others(descriptor, os.fstat(descriptor), READ_OR_WRITE, readers=gid)
    if who is not None:
        hint = "use a directory without a default ACL (setfacl -k), where chmod has an effect"
        raise Unusable(f"{who} could read it", hint)


def _readers(file: TokenFile, directory: int) -> int | None:
    """Return the group that may read a file; None: none may."""
    match file.group:
        case None:
            return None
        case DirectorysGroup():
            status = os.fstat(directory)
            return status.st_gid if status.st_mode & stat.S_ISGID else None
        case name:
            try:
                return grp.getgrnam(name).gr_gid
            except KeyError:
                raise Unusable(
                    f"there is no group {name}", "correct socket_group or allow_groups"
                ) from None


def _give(file: TokenFile, descriptor: int, gid: int, *, chown: bool) -> None:
    """Change a new file's group, where its directory doesn't set it."""
    with suppress(PermissionError):
        if chown:
            os.fchown(descriptor, -1, gid)
            return
    group = group_name(gid)
    place = shlex.quote(f"{PurePosixPath(file.path).parent}/{group}")
    owner = user_name(os.geteuid())
    raise Unusable(
        f"may not be given to the group {group}",
        f"use a directory of that group: install -d -o {owner} -g {group} -m 2750 {place}",
    )


def _judge_present(path: str, directory: int, known: Inode | None) -> bool:
    """Return whether the file exists; refuse one that doesn't look like a daemon's token file."""
    name = PurePosixPath(path).name
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    looks_so = (
        stat.S_ISREG(status.st_mode)
        and status.st_uid == os.geteuid()
        and stat.S_IMODE(status.st_mode) in {_ALONE, _WITH_GROUP}
    )
    if not looks_so or not (
        (status.st_dev, status.st_ino) == known or _TOKEN.fullmatch(_content(name, directory))
    ):
        hint = f"rm {shlex.quote(path)} if nobody needs it, or name another file"
        raise Unusable(
            "another file is there (a token's is the daemon's own, mode 0600 or 0640, with a token in it)",
            hint,
        )
    return True


def _content(name: str, directory: int) -> bytes:
    with os.fdopen(os.open(name, _PRESENT, dir_fd=directory), "rb") as file:
        return file.read(MAX_BODY)
