"""Who is connected, according to the kernel, and how much of the daemon each user takes.

A user's subordinate uids (subuid(5)) count as the user, who can become each of them.
"""

import os
import struct
from _socket import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from math import inf
from pathlib import Path
from select import epoll
from socket import SO_PEERCRED, SOL_SOCKET
from typing import Final, NamedTuple, final

from openfit_token._shared.identity import ambiguous_ids
from openfit_tokend.core.callers.fair_queue import UserShare
from openfit_tokend.core.callers.rights import Ambiguous, Who, identify
from openfit_tokend.core.callers.subordinate_ids import SubordinateIds
from openfit_tokend.core.callers.wishes import Wishes

_CRED: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid (unix(7))
_SO_PEERGROUPS: Final = 59
_GROUPS_BYTES: Final = 1024
"""Python's getsockopt takes no more, which are 256 groups. The kernel then gives none of them, so
only the main group counts. /proc/PID/status would list all, but the pid may be another process's by
now, so nothing is decided by it."""
MAX_CGROUP: Final = 4096
"""Bytes read of a cgroup's path: as long as paths can be."""
_UNITS: Final = (".service", ".scope")
MAX_CONNECTIONS: Final = 4096
"""Connections of one user."""
MAX_CONNECTIONS_ROOT: Final = 16384
"""Connections of root."""
RESERVE_OWN: Final = 16
"""Connections reserved for root and for the daemon's own user."""
MAX_REMEMBERED: Final = 1024
"""Users that are remembered while they have no connection."""


class Peer(NamedTuple):
    """The process that connected, as it was then."""

    pid: int
    uid: int
    gid: int


def peer_of(sock: socket) -> Peer:
    """Return the process that connected."""
    return Peer(*_CRED.unpack(sock.getsockopt(SOL_SOCKET, SO_PEERCRED, _CRED.size)))


def who(sock: socket, peer: Peer) -> Who:
    """Return the identity that rights are checked against, with the groups it had when it connected."""
    return _identified(peer.uid, groups_of(sock, peer), os.geteuid())


@lru_cache(MAX_REMEMBERED)
def _identified(uid: int, groups: frozenset[int], own: int) -> Who:
    """Return one shared value for all connections of the same identity."""
    return identify(uid, groups, own, ambiguous())


@cache
def ambiguous() -> Ambiguous:
    """Return the ids that may be any user's here. The daemon never leaves its user namespace."""
    return Ambiguous(ambiguous_ids("uid"), ambiguous_ids("gid"))


def groups_of(sock: socket, peer: Peer) -> frozenset[int]:
    """Return the peer's groups, supplementary ones included: see _GROUPS_BYTES."""
    try:
        raw = sock.getsockopt(SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:  # more groups than fit, or an older kernel: the main one is known
        return frozenset({peer.gid})
    return frozenset({peer.gid, *struct.unpack(f"{len(raw) // 4}I", raw)})


def program_of(peer: Peer) -> str:
    """Return the name of the caller's program, for the log alone: it can choose it itself."""
    try:
        return Path(f"/proc/{peer.pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "?"


def unit_of(peer: Peer) -> str | None:
    """Return the systemd unit the caller runs in, for the log alone; None: it can't be told."""
    try:
        with Path(f"/proc/{peer.pid}/cgroup").open("rb") as file:
            lines = file.read(MAX_CGROUP).decode(errors="replace").splitlines()
    except OSError:
        return None
    return unit_in(lines)


def unit_in(lines: Iterable[str]) -> str | None:
    """Return the innermost unit in the lines of /proc/PID/cgroup (cgroups(7)), of version 2 or 1."""
    for line in lines:
        _number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers in {"", "name=systemd"}:
            units = [part for part in path.split("/") if part.endswith(_UNITS)]
            return units[-1] if units else None
    return None


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
