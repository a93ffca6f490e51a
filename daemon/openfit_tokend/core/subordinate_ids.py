"""Whose a subordinate uid is: a user may be each uid of its ranges in /etc/subuid (subuid(5))."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Final, final

MAX_UID: Final = 2**32 - 2
"""The last number, -1, is nobody's."""


@final
class SubordinateIds:
    """Ranges of uids that somebody else's are."""

    __slots__ = ("_ends", "_owners", "_starts")

    def __init__(self, ranges: Mapping[tuple[int, int], int] | None = None) -> None:
        """Take the owner of each range: its first uid, and the one behind its last."""
        found = sorted((ranges or {}).items())
        self._starts = [start for (start, _), _ in found]
        self._ends = [end for (_, end), _ in found]
        self._owners = [owner for _, owner in found]

    def owner(self, uid: int) -> int:
        """Return the uid that a uid belongs to: mostly itself."""
        at = bisect_right(self._starts, uid) - 1
        return self._owners[at] if at >= 0 and uid < self._ends[at] else uid


def parse(subuid: str, passwd: str) -> SubordinateIds:
    """Return what the texts of /etc/subuid and /etc/passwd (passwd(5)) come to.

    An owner who isn't in /etc/passwd is known by the first uid of its ranges. Lines that aren't as
    they should be count for nothing, and uid 0 is root's whatever they say.
    """
    uids = {name: uid for name, uid in map(_user, passwd.splitlines()) if uid is not None}
    ranges: dict[tuple[int, int], int] = {}
    for line in subuid.splitlines():
        name, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        start, length = _number(first), _number(count)
        if not name or start is None or not length:
            continue
        start = max(1, start)
        owner = uids.setdefault(name, _number(name) or start)
        ranges[start, start + length] = owner
    return SubordinateIds(ranges)


def _user(line: str) -> tuple[str, int | None]:
    name, _, uid = f"{line}:::".split(":")[:3]
    return name, _number(uid)


def _number(text: str) -> int | None:
    """Return a uid, or None for what is none."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(MAX_UID)):
        return None
    return int(digits)
