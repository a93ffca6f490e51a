"""Who comes next where time is short: whoever has taken least of it (start-time fair queueing).

Each client has a share: the seconds of service up to which it has had its part. One that has been
away comes in at what those who waited have had by now, so that nobody saves up time. One that was
never served pays ENTRY for that, so that any number of newcomers lets the others have their turn.
"""

from heapq import heappop, heappush
from itertools import count
from typing import Final, Generic, TypeVar, final

NO_SHARE: Final = 0.0
"""The share of a client that was never served."""
ENTRY: Final = 0.001
"""Seconds of service that a newcomer is taken to have had: about what a costly request takes."""

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

    def add(self, client: T, share: float) -> float:
        """Let a client wait, and return its share from now on."""
        start = max(self._served, share) + (ENTRY if share == NO_SHARE else 0.0)
        heappush(self.waiting, (start, share, next(self._order), client))
        return start

    def pop(self) -> T:
        """Return whoever has had least, and the first of those who came. Somebody waits."""
        start, _, _, client = heappop(self.waiting)
        self._served = max(self._served, start)
        return client

    def charge(self, share: float, cost: float) -> float:
        """Return the share of a client that was served for so many seconds, in its turn or before it.

        Those who wait aren't overtaken by it: what all have had by now is what the queue says.
        """
        if not self.waiting:
            self._served = max(self._served, share)
        return share + cost
