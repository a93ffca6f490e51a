"""Calls back at moments of CLOCK_BOOTTIME: the daemon's only timer.

The event loop's own clock stands still while the host is suspended. So no sleep is longer than
WATCH, and the clock is read after each.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Final, final

import anyio
from anyio.lowlevel import checkpoint

from openfit_tokend.host import clock, log

WATCH: Final = 60.0
"""Seconds of the longest sleep: a moment that passed during a suspend is noticed at most this late."""
CALL_TIME: Final = 0.002
"""Seconds after which the rest of who is due waits for a pass of the loop: clients are many."""
_LITTER: Final = 64
"""Cancelled entries that the heap may hold, in addition to as many as there are live ones."""

Callback = Callable[[], None]


@final
class Entry:
    """A callback, scheduled or cancelled."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callback | None) -> None:
        self.callback = callback


@final
class Alarm:
    """A heap of callbacks, and one task that sleeps until the next is due."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Entry]] = []
        self._order = count()
        self._cancelled = 0
        self._asleep_until = -inf
        self._sooner = anyio.Event()

    def at(self, moment: float, callback: Callback) -> Entry:
        """Schedule a callback for `moment`, never earlier; inf: never."""
        if moment == inf:
            return Entry(None)
        entry = Entry(callback)
        heappush(self._entries, (moment, next(self._order), entry))
        if moment < self._asleep_until:
            self._sooner.set()
        return entry

    def cancel(self, entry: Entry) -> bool:
        """Cancel a callback; return False if it was called already, or would never be."""
        if entry.callback is None:
            return False
        entry.callback = None
        self._cancelled += 1
        if self._cancelled > _LITTER + len(self._entries) // 2:
            self._entries = [each for each in self._entries if each[2].callback is not None]
            heapify(self._entries)
            self._cancelled = 0
        return True

    async def run(self) -> None:
        """Call back until cancelled. A callback that raises is logged, and the others go on."""
        while True:
            while not self._call_due():
                await checkpoint()
            self._sooner = anyio.Event()
            now = clock.boot()
            self._asleep_until = min(self._entries[0][0] if self._entries else inf, now + WATCH)
            with anyio.move_on_after(self._asleep_until - now):
                await self._sooner.wait()
            self._asleep_until = -inf

    def _call_due(self) -> bool:
        """Call back who is due, for CALL_TIME; return whether that is all of them."""
        now = clock.boot()
        while self._entries and self._entries[0][0] <= now:
            if clock.boot() - now > CALL_TIME:
                return False
            entry = heappop(self._entries)[2]
            callback, entry.callback = entry.callback, None
            if callback is None:
                self._cancelled -= 1
                continue
            try:
                callback()
            except Exception:  # noqa: BLE001 -- one profile's bug must not stop the others
                log.exception("internal_fault")
        return True
