"""Another user of the machine, and their files."""

import os
from pathlib import Path

import pytest

from users import IS_ROOT

EVE = 50_002
"""A uid and gid without an account."""


def group_of_others() -> int:
    """Return a group that this user may give to a file, other than its private group."""
    if IS_ROOT:
        return EVE
    groups = [gid for gid in os.getgroups() if gid != os.getegid()]
    if not groups:
        pytest.skip("needs root: to give a file to another group")
    return groups[0]


def theirs(path: Path, mode: int = 0o755) -> Path:
    """Create a directory that belongs to another user."""
    path.mkdir()
    path.chmod(mode)
    os.chown(path, EVE, EVE)
    return path
