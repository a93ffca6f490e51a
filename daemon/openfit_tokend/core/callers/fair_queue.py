"""Who comes next where time is short: whoever has taken least of it (start-time fair queueing).

Each client has a share: the seconds of service up to which it has had its part. One that has been
away comes in at what all have had by now, so that nobody saves up time, and nobody starves.
"""

from heapq import heappop, heappush
from itertools import count
from typing import Final, Generic, TypeVar, final

NO_SHARE: Final = 0.0
"""The share of a client that was never served."""

T = TypeVar("T")


@final
class FairQueue(Generic[T]):
    """Clients that wait. Each waits at most once."""

    __slots__ = ("_order", "_served", "waiting")

    def __init__(self) -> None:
        self.waiting: list[tuple[float, float, int, T]] = []
        """A heap, empty when nobody waits. Its items are this class's."""
        self._served = NO_SHARE  # what all have had by now
        self._order = count()

    def add(self, client: T, share: float) -> None:
        """Let a client wait."""
        heappush(self.waiting, (max(self._served, share), share, next(self._order), client))

    def pop(self) -> T:
        """Return whoever has had least, and the first of those who came. Somebody waits."""
        return heappop(self.waiting)[3]

    def charge(self, share: float, cost: float) -> float:
        """Return the share of a client that was served for so many seconds."""
        self._served = max(self._served, share)
        return self._served + cost
