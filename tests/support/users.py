"""Acting as another user of the machine."""

import os
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def being(uid: int, *groups: int) -> Generator[None]:
    """Act as another user, who has a group of the same number, and these. Only root can."""
    before = os.getgroups()
    os.setgroups(groups)
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)
