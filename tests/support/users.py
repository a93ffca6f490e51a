"""Users of the machine: acting as another one, and accounts."""

import os
import struct
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from pwd import getpwnam, struct_passwd
from typing import Final

import pytest

_NUMBERS: Final = count()


@contextmanager
def being(uid: int, *groups: int, gid: int | None = None) -> Generator[None]:
    """Act as another user, whose group is `gid` or of the same number, and with these. Only root can."""
    before = os.getgroups()
    os.setgroups(groups)
    os.setegid(uid if gid is None else gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


def give_acl(path: Path, uid: int, *, default: bool = False) -> None:
    """Let a user read a file by an ACL, or (`default`) each file that is made in a directory."""
    nobody, read = 0xFFFFFFFF, 4  # linux/posix_acl_xattr.h
    entries = [(0x01, 7, nobody), (0x02, read, uid), (0x04, read, nobody), (0x10, read, nobody)]
    acl = struct.pack("<I", 2)
    acl += b"".join(struct.pack("<HHI", *entry) for entry in [*entries, (0x20, 0, nobody)])
    try:
        os.setxattr(path, f"system.posix_acl_{'default' if default else 'access'}", acl)
    except OSError as error:
        pytest.skip(f"no ACLs on this file system: {error.strerror}")


@contextmanager
def account(*options: str) -> Generator[struct_passwd]:
    """Make an account with these options of useradd(8), for the block. Only root can."""
    name = f"oft-{os.getpid()}-{next(_NUMBERS)}"
    _run("useradd", "--no-create-home", *options, name)
    try:
        yield getpwnam(name)
    finally:
        _run("userdel", "--force", name)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
