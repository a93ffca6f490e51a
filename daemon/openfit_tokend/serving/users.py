"""How much of the daemon each user takes.

A user's subordinate uids (subuid(5)) count as the user, who can become each of them.
"""

import os
from dataclasses import dataclass, field
from math import inf
from select import epoll
from typing import Final, final

from openfit_tokend.core.callers.fair_queue import UserShare
from openfit_tokend.core.callers.subordinate_ids import SubordinateIds
from openfit_tokend.core.callers.wishes import Wishes
from openfit_tokend.host import clock, log
from openfit_tokend.host.peers import Peer, named

MAX_CONNECTIONS: Final = 4096
"""Connections of one user."""
MAX_CONNECTIONS_ROOT: Final = 16384
"""Connections of root."""
RESERVE_OWN: Final = 16
"""Connections reserved for root and for the daemon's own user."""
MAX_REMEMBERED: Final = 1024
"""Users that are remembered while they have no connection."""
CONNECTS: Final = 2000
"""Connections of one user within a second from which the log names it: a crowd of scripts has fewer."""


@dataclass(slots=True)
class User:
    """What one user does here."""

    uid: int
    most: int
    """Connections it may have."""
    kept: int
    """Connections that are reserved for it."""
    connections: int = 0
    connects: int = 0
    """How often it has connected since `counted_at`."""
    counted_at: float = -inf
    requests: int = 0
    refused: int = 0
    """Calls that were refused for lack of rights."""
    entries: int = 0
    """Calls that wait, and subscriptions: together as many as it may have connections."""
    unread: int = 0
    """Bytes of answers that couldn't be sent yet."""
    share: UserShare = field(default_factory=UserShare)
    """Of the time that requests take."""
    crowd: epoll | None = None
    """What watches its connections, if they are many."""
    wishes: dict[str, Wishes] = field(default_factory=dict[str, Wishes])
    """For newer tokens, by profile."""

    @property
    def weight(self) -> int:
        """Return how many connections it has that others may need more."""
        return self.connections - self.kept


@final
class Users:
    """All users that have connected lately."""

    def __init__(self, capacity: int) -> None:
        """Let one user have half of the connections that there may be."""
        self._most = max(1, capacity // 2)
        self._own = frozenset({0, os.geteuid()})
        self.by_uid: dict[int, User] = {}
        """By uid."""
        self.subordinates = SubordinateIds()
        """Which user each subordinate uid belongs to: looked up once for each connection."""
        self._forgotten_requests = 0

    @property
    def connections(self) -> int:
        """Return the number of connections of all users."""
        return sum(user.connections for user in self.by_uid.values())

    @property
    def requests(self) -> int:
        """Return the number of requests of all users since the start."""
        return self._forgotten_requests + sum(user.requests for user in self.by_uid.values())

    def of(self, uid: int) -> User:
        """Return the user that a connection of this uid is counted to."""
        owner = uid if uid in self._own else self.subordinates.owner(uid)
        return self.by_uid.get(owner) or self._meet(owner)

    def heaviest(self, newcomer: User) -> User:
        """Return the connected user with the most connections, not counting those reserved for it."""
        connected = [user for user in self.by_uid.values() if user.connections]
        return max((*connected, newcomer), key=lambda user: user.weight)

    def _meet(self, uid: int) -> User:
        if len(self.by_uid) >= MAX_REMEMBERED:
            for user in [each for each in self.by_uid.values() if not each.connections]:
                self._forgotten_requests += user.requests
                del self.by_uid[user.uid]
        most = MAX_CONNECTIONS if uid else MAX_CONNECTIONS_ROOT
        kept = RESERVE_OWN if uid in self._own else 0
        user = self.by_uid[uid] = User(uid, min(most, self._most), kept)
        return user


def judge_pace(user: User, peer: Peer) -> None:
    """Log a user that connects so often that others have to wait, and start counting again."""
    now = clock.boot()
    if now < user.counted_at + 1.0:
        log.limited(
            "connects_too_often",
            user.uid,
            **named(peer),
            connects=user.connects,
            seconds=now - user.counted_at,
        )
    user.connects, user.counted_at = 0, now
