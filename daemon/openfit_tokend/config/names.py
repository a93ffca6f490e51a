"""Looks up users, groups and subordinate uids. May block: they may come from the network."""

import grp
import pwd
from typing import Final

from openfit_tokend.core.callers.subordinate_ids import SubordinateIds, parse
from openfit_tokend.core.settings.names import Name

MAX_FILE: Final = 256 * 1024
"""Bytes read of /etc/subuid and of /etc/passwd: a few thousand users."""


def look_up(name: Name) -> int | None:
    """Return the id of a user or a group; None: there is none."""
    try:
        if name.kind == "user":
            return pwd.getpwnam(name.name).pw_uid
        return grp.getgrnam(name.name).gr_gid
    except KeyError:
        return None


def read_subordinates() -> SubordinateIds:
    """Return the subordinate uids of the system's files. May block on the disk."""
    return parse(_start_of("/etc/subuid"), _start_of("/etc/passwd"))


def _start_of(path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- pathlib reads no part
            return file.read(MAX_FILE).decode(errors="replace")
    except OSError:
        return ""  # nobody has any
