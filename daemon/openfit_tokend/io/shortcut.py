"""The short way for the request that nearly all requests are: a token, as it is held.

Two requests whose bytes differ only in the msgid ask for the same. So the bytes behind the msgid of
each plain `get_token` that was answered with a token are remembered, with the keeper that answered;
when they come again nothing is decoded. Whatever isn't plainly answerable goes the usual way.
"""

from typing import Final, final

from openfit_tokend.io.keeper import Keeper

MAX_KNOWN: Final = 1024
"""Requests remembered. Clients of one kind send the same bytes: one or two for each profile."""
_REQUEST: Final = b"\x94\x00"
"""An array of four that begins with 0."""
_HEADS: Final = {b"\x94\x00%c" % msgid: b"\x94\x01%c\xc0" % msgid for msgid in range(128)}
"""What stands before a result, by what stands before a method: most msgids are of one byte."""
_MSGID_ENDS: Final = {0xCC: 4, 0xCD: 5, 0xCE: 7}
"""Where a msgid ends, by its first byte, if it is no number below 128."""


@final
class Shortcut:
    """What is known of requests by their bytes."""

    def __init__(self) -> None:
        self._keepers: dict[bytes, Keeper] = {}

    def answer(self, request: bytes, now: float) -> bytes | None:
        """Give the bytes of the answer at this moment; None: the usual way is to be gone."""
        head, end = _HEADS.get(request[:3]), 3
        if head is None:
            end = _end_of_msgid(request)
            head = b"\x94\x01" + request[2:end] + b"\xc0"
        keeper = self._keepers.get(request[end:])
        if keeper is None or not end:
            return None
        handout = keeper.handout
        if now >= handout.until:
            return None
        keeper.counters.served += 1
        return head + handout.at(now)

    def remember(self, request: bytes, keeper: Keeper) -> None:
        """Note whose token answers a whole request that asked for nothing but that."""
        if len(self._keepers) >= MAX_KNOWN:
            self._keepers.clear()
        end = _end_of_msgid(request)
        if end:
            self._keepers[request[end:]] = keeper

    def forget(self) -> None:
        """Forget all: a reload changes who answers what."""
        self._keepers.clear()


def _end_of_msgid(request: bytes) -> int:
    """Give where the msgid of a request ends; 0 if that can't be told by a glance."""
    if len(request) < 4 or not request.startswith(_REQUEST):  # noqa: PLR2004 -- the shortest there can be
        return 0
    first = request[2]
    return 3 if first < 0x80 else _MSGID_ENDS.get(first, 0)  # noqa: PLR2004 -- MessagePack's small numbers
