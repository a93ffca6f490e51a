"""Looks up users and groups. May block: they may be in the network."""

import grp
import pwd
from collections.abc import Iterable

from openfit_tokend.core.settings_names import Name


def look_up(names: Iterable[Name]) -> dict[Name, int]:
    """Give the ids of those names that somebody has."""
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
