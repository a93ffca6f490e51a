"""Users of the machine: acting as another one, and accounts."""

import os
import struct
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from grp import getgrgid
from importlib import import_module
from itertools import count
from pathlib import Path
from pkgutil import walk_packages
from pwd import getpwnam, getpwuid, struct_passwd
from typing import Final

import pytest

import openfit_token

_NUMBERS: Final = count()
_OF_ANYBODY: Final = (0, 1, 3, 5, 6, 7)
"""Capabilities to give files away, write and own everybody's, signal and be anybody (linux/capability.h)."""


def _may(*capabilities: int) -> bool:
    """Return whether this process has these capabilities: in a container, root may have none."""
    status = Path("/proc/self/status").read_text()
    held = int(status.partition("CapEff:")[2].split()[0], 16)
    return all(held >> each & 1 for each in capabilities)


IS_ROOT: Final = os.geteuid() == 0 and _may(*_OF_ANYBODY)
"""It can be another user."""
MAY_LOOK: Final = IS_ROOT and _may(19)
"""It can look into others' processes."""
MAY_MOUNT: Final = IS_ROOT and _may(21)
"""It can mount, and make namespaces."""


def _has_account() -> bool:
    with suppress(KeyError):
        getpwuid(os.geteuid())
        getgrgid(os.getegid())
        return True
    return False


needs_account = pytest.mark.skipif(
    not _has_account(), reason="needs an account: this user or its group has no name"
)


def as_user(uid: int) -> tuple[str, ...]:
    """Return the prefix of a command that is to run as a user who may read all files.

    The interpreter may lie in /root.
    """
    may_read = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    return ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *may_read)


@contextmanager
def being(uid: int, *groups: int, gid: int | None = None) -> Generator[None]:
    """Act as another user, whose group is `gid` or of the same number, and with these. Only root can."""
    _load_client()
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


@cache
def _load_client() -> None:
    """Import all of the client: another user may be unable to read the files of this tree."""
    for module in walk_packages(openfit_token.__path__, "openfit_token."):
        if not module.name.endswith(".__main__"):
            import_module(module.name)


def give_acl(path: Path, uid: int, may: int, *, default: bool = False) -> None:
    """Let a user do what `may` says (0 to 7) with a file, or (`default`) with each one made in a directory.

    By an ACL, whose mask then shows as the rights of the file's group.
    """
    nobody = 0xFFFFFFFF  # linux/posix_acl_xattr.h
    entries = [
        (0x01, path.stat().st_mode >> 6 & 7, nobody),
        (0x02, may, uid),
        (0x04, 0, nobody),
        (0x10, may, nobody),
        (0x20, 0, nobody),
    ]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
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
