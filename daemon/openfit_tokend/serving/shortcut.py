"""The short way for the request that nearly all requests are: a token, as it is held.

Two requests whose bytes differ only in the msgid ask for the same. So the bytes behind the msgid of
each plain `get_token` that was answered with a token are remembered, with the keeper that answered;
when they come again nothing is decoded. Whatever isn't plainly answerable goes the usual way.
"""

from typing import Final, final

from openfit_tokend.host import clock
from openfit_tokend.keeping.keeper import Keeper

_Known = tuple[bytes, Keeper]
"""What stands before the result, and whose token is the result."""
MAX_KNOWN: Final = 1024
"""Requests remembered. Clients of one kind send the same bytes: one or two for each profile."""
_REQUEST: Final = b"\x94\x00"
"""An array of four that begins with 0."""
_SHORT: Final = 3
"""Where a msgid below 128 ends."""
_MSGID_ENDS: Final = {0xCC: 4, 0xCD: 5, 0xCE: 7}
"""Where a msgid ends, by its first byte, if it is no number below 128."""


@final
class Shortcut:
    """What is known of requests by their bytes."""

    def __init__(self) -> None:
        self._keepers: dict[bytes, Keeper] = {}  # by the bytes behind the msgid
        self._known: dict[bytes, _Known] = {}  # by all bytes: one look is enough

    def answer(self, request: bytes) -> bytes | None:
        """Return the bytes of the answer; None: the usual way is to be gone."""
        known = self._known.get(request) or self._recognise(request)
        if known is None:
            return None
        head, keeper = known
        now, handout = clock.boot(), keeper.handout
        if now >= handout.until:
            return None
        keeper.counters.served += 1
        return head + handout.at(now)

    def remember(self, request: bytes, keeper: Keeper) -> None:
        """Note whose token answers a whole request that asked for nothing but that."""
        if len(self._keepers) >= MAX_KNOWN:
            self.forget()
        end = _end_of_msgid(request)
        if end:
            self._keepers[request[end:]] = keeper

    def forget(self) -> None:
        """Forget all: a reload changes who answers what."""
        self._keepers.clear()
        self._known.clear()

    def _recognise(self, request: bytes) -> _Known | None:
        end = _end_of_msgid(request)
        keeper = self._keepers.get(request[end:]) if end else None
        if keeper is None:
            return None
        known = b"\x94\x01" + request[2:end] + b"\xc0", keeper
        if end == _SHORT:  # longer ones are those of clients that count on: they don't come again
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[request] = known
        return known


def _end_of_msgid(request: bytes) -> int:
    """Return where the msgid of a request ends; 0 if that can't be told by a glance."""
    if len(request) < 4 or not request.startswith(_REQUEST):  # noqa: PLR2004 -- the shortest there can be
        return 0
    first = request[2]
    return _SHORT if first < 0x80 else _MSGID_ENDS.get(first, 0)  # noqa: PLR2004 -- MessagePack's small numbers
