"""Looks up users, groups and subordinate uids. May block: they may come from the network."""

import grp
import pwd
from collections.abc import Iterable
from typing import Final

from openfit_tokend.core.callers.subordinate_ids import SubordinateIds, parse
from openfit_tokend.core.settings.names import Name

MAX_FILE: Final = 256 * 1024
"""Bytes read of /etc/subuid and of /etc/passwd: a few thousand users."""


def look_up(names: Iterable[Name]) -> dict[Name, int]:
    """Return the ids of the names that exist."""
    ids: dict[Name, int] = {}
    for name in set(names):
        try:
            if name.kind == "user":
                ids[name] = pwd.getpwnam(name.name).pw_uid
            else:
                ids[name] = grp.getgrnam(name.name).gr_gid
        except KeyError:
            pass
    return ids


def read_subordinates() -> SubordinateIds:
    """Return the subordinate uids of the system's files. May block on the disk."""
    return parse(_start_of("/etc/subuid"), _start_of("/etc/passwd"))


def _start_of(path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- pathlib reads no part
            return file.read(MAX_FILE).decode(errors="replace")
    except OSError:
        return ""  # nobody has any
