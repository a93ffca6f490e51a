"""Other users of the machine: being one, and files of theirs."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

EVE = 50_002
"""A uid and gid without an account."""


@contextmanager
def being(uid: int) -> Generator[None]:
    """Be another user for the kernel, until the end of the block. Only root can."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def group_of_others() -> int:
    """Return a group that one may give to a file, and that isn't one's private group."""
    if os.geteuid() == 0:
        return EVE
    groups = [gid for gid in os.getgroups() if gid != os.getegid()]
    if not groups:
        pytest.skip("needs root: to give a file to another group")
    return groups[0]


def theirs(path: Path, mode: int = 0o755) -> Path:
    """Make a directory of another user's."""
    path.mkdir()
    path.chmod(mode)
    os.chown(path, EVE, EVE)
    return path
