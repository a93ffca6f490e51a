"""Users of the machine: acting as another one, and accounts."""

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pwd import getpwnam, struct_passwd
from typing import Final

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
