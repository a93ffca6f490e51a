"""Who comes next where time is short: whoever has taken least of it (start-time fair queueing).

That is decided twice: which user is next, and which of its clients. So it helps nobody to have many.

Each user and each client has a share: the seconds of service up to which it has had its part. One
that has been away comes in at what those who waited have had by now, so that nobody saves up time.
A client that was never served pays ENTRY for that, so that any number of a user's newcomers lets
its others have their turn.
"""

from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Final, Generic, TypeVar, final

NO_SHARE: Final = 0.0
"""The share of a user, or a client, that was never served."""
ENTRY: Final = 0.001
"""Seconds of service that a newcomer is taken to have had: about what a costly request takes."""

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class UserShare:
    """What a user has had, all its clients together."""

    taken: float = NO_SHARE
    """Its share: its turns alone, not what was done for it before they came."""
    served: float = NO_SHARE
    """What those of its clients that waited have had by now."""


@final
class FairQueue(Generic[T]):
    """Clients that wait. Each waits at most once."""

    __slots__ = ("_order", "_served", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[UserShare, list[tuple[float, float, int, T]]] = {}
        """By user, a heap of its clients. Empty when nobody waits; what is in it is this class's."""
        self._served = NO_SHARE  # what all users that waited have had by now
        self._order = count()

    def add(self, client: T, user: UserShare, share: float) -> float:
        """Let a client wait, and return its share from now on."""
        if user not in self.waiting:
            user.taken = max(self._served, user.taken)
            self.waiting[user] = []
        start = max(user.served, share) + (ENTRY if share == NO_SHARE else 0.0)
        heappush(self.waiting[user], (start, share, next(self._order), client))
        return start

    def pop(self) -> T:
        """Return whoever has had least, and the first of those who came. Somebody waits."""
        user = min(self.waiting, key=lambda each: each.taken)
        start, _, _, client = heappop(self.waiting[user])
        if not self.waiting[user]:
            del self.waiting[user]
        self._served = max(self._served, user.taken)
        user.served = max(user.served, start)
        return client

    def end_turn(self, user: UserShare, cost: float) -> None:
        """Note how many seconds the turn took that `pop` gave to a client of this user."""
        user.taken += cost

    def charge(self, user: UserShare, share: float, cost: float) -> float:
        """Return the share of a client that was served for so many seconds, in its turn or before it.

        Those who wait aren't overtaken by it: what all have had by now is what the queue says.
        """
        if user not in self.waiting:
            user.served = max(user.served, share)
        return share + cost
