"""Who is connected, and how much of the daemon each takes: whom the limits are for.

A user's subordinate uids (subuid(5)) count to the user, who can be each of them.
"""

import os
from _socket import socket
from dataclasses import dataclass
from typing import Final, Protocol, final

from openfit_tokend.core.subordinate_ids import SubordinateIds
from openfit_tokend.serving.peers import Peer

MAX_CONNECTIONS: Final = 4096
"""Connections of one user."""
MAX_CONNECTIONS_ROOT: Final = 16384
"""Connections of root."""
RESERVE_OWN: Final = 16
"""Connections kept for root and the daemon's own user, whatever other users do."""
MAX_KNOWN: Final = 1024
"""Users who are remembered while they have no connection."""


@dataclass(slots=True)
class User:
    """What one user does here."""

    uid: int
    most: int
    """Connections it may have."""
    kept: int
    """Connections that it can have whatever others do."""
    connections: int = 0
    requests: int = 0
    refused: int = 0
    """Calls that it might not make."""
    unread: int = 0
    """Bytes of answers that couldn't be sent yet."""

    @property
    def weight(self) -> int:
        """Return how many connections it has that others may need more."""
        return self.connections - self.kept


class Caller(Protocol):
    """Who made a request, over which connection."""

    @property
    def peer(self) -> Peer:
        """Return the process that connected."""
        ...

    @property
    def sock(self) -> socket:
        """Return the connection's socket, to ask the kernel about its other end."""
        ...

    @property
    def user(self) -> User:
        """Return whom the connection is counted to."""
        ...


@final
class Users:
    """All who have been connected lately."""

    def __init__(self, capacity: int) -> None:
        """Let one user have half of the connections that there may be."""
        self._most = max(1, capacity // 2)
        self._own = frozenset({0, os.geteuid()})
        self.known: dict[int, User] = {}
        """By uid."""
        self.subordinates = SubordinateIds()
        """Whose uid another uid is: decided once for each connection."""
        self._forgotten_requests = 0

    @property
    def requests(self) -> int:
        """Return the number of requests since the start, of whomever."""
        return self._forgotten_requests + sum(user.requests for user in self.known.values())

    def of(self, uid: int) -> User:
        """Return whom a connection of this uid is counted to."""
        owner = uid if uid in self._own else self.subordinates.owner(uid)
        return self.known.get(owner) or self._meet(owner)

    def heaviest(self) -> User:
        """Return who has the most connections, those that are kept for it left aside."""
        return max(self.known.values(), key=lambda user: user.weight)

    def _meet(self, uid: int) -> User:
        if len(self.known) >= MAX_KNOWN:
            for user in [each for each in self.known.values() if not each.connections]:
                self._forgotten_requests += user.requests
                del self.known[user.uid]
        most = MAX_CONNECTIONS if uid else MAX_CONNECTIONS_ROOT
        kept = RESERVE_OWN if uid in self._own else 0
        user = self.known[uid] = User(uid, min(most, self._most), kept)
        return user
