"""Calls back at moments of CLOCK_BOOTTIME: the one timer of the daemon.

The event loop's own clock stands still while the host is suspended. So the sleep is cut into
pieces, after each of which the clocks are compared.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Final, final

import anyio

from openfit_tokend.host import clock, log

WATCH: Final = 60.0
"""Seconds of the longest sleep: how late a moment can be noticed that passed in a suspend."""
_LITTER: Final = 64
"""Cancelled entries that may lie about, beside as many as there are live ones."""

Callback = Callable[[], None]


@final
class Entry:
    """One callback that is to come, or was cancelled."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callback | None) -> None:
        self.callback = callback


@final
class Alarm:
    """A heap of callbacks, and one task that sleeps until the next."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Entry]] = []
        self._order = count()
        self._cancelled = 0
        self._asleep_until = -inf
        self._sooner = anyio.Event()

    def at(self, moment: float, callback: Callback) -> Entry:
        """Call back once `moment` has come; never before. inf: never."""
        if moment == inf:
            return Entry(None)
        entry = Entry(callback)
        heappush(self._entries, (moment, next(self._order), entry))
        if moment < self._asleep_until:
            self._sooner.set()
        return entry

    def cancel(self, entry: Entry) -> bool:
        """Don't call back; False: it was called already, or is never to be."""
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
        """Call back for ever. A callback that raises is logged, and the others go on."""
        while True:
            self._call_due()
            self._sooner = anyio.Event()
            now = clock.boot()
            self._asleep_until = min(self._entries[0][0] if self._entries else inf, now + WATCH)
            with anyio.move_on_after(self._asleep_until - now):
                await self._sooner.wait()
            self._asleep_until = -inf

    def _call_due(self) -> None:
        now = clock.boot()
        while self._entries and self._entries[0][0] <= now:
            entry = heappop(self._entries)[2]
            callback, entry.callback = entry.callback, None
            if callback is None:
                self._cancelled -= 1
                continue
            try:
                callback()
            except Exception:  # noqa: BLE001 -- one profile's fault must not stop the others
                log.exception("internal_fault")
