"""The owners of subordinate uids: a user can act as any uid in its ranges in /etc/subuid (subuid(5))."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Final, final

MAX_UID: Final = 2**32 - 2
"""The last number, -1, is nobody's."""


@final
class SubordinateIds:
    """Ranges of uids that belong to another uid."""

    __slots__ = ("_ends", "_owners", "_starts")

    def __init__(self, ranges: Mapping[tuple[int, int], int] | None = None) -> None:
        """Take the owner of each range, given as its first uid and the uid after its last."""
        found = sorted((ranges or {}).items())
        self._starts = [start for (start, _), _ in found]
        self._ends = [end for (_, end), _ in found]
        self._owners = [owner for _, owner in found]

    def owner(self, uid: int) -> int:
        """Return the uid that a uid belongs to: usually itself."""
        at = bisect_right(self._starts, uid) - 1
        return self._owners[at] if at >= 0 and uid < self._ends[at] else uid


def parse(subuid: str, passwd: str) -> SubordinateIds:
    """Return the ranges in the texts of /etc/subuid and /etc/passwd (passwd(5)).

    An owner who isn't in /etc/passwd is identified by the first uid of its ranges. Malformed lines
    are ignored, and uid 0 belongs to root whatever the files say.
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
    """Return a uid, or None if the text isn't one."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(MAX_UID)):
        return None
    return int(digits)
