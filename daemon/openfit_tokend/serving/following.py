"""Clients that are told of each new token and each change of state.

Whoever doesn't read is told the newest once it does, not all: a connection remembers only which
profiles have news for it.
"""

from dataclasses import dataclass
from typing import final

from openfit_token._shared.protocol import encode_notification
from openfit_tokend.core.session import live, state
from openfit_tokend.host import clock
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.connection import Connection, Door, Judge


@dataclass(frozen=True, slots=True)
class Follow:
    """A method's answer, after which the connection is told what becomes of a profile."""

    keeper: Keeper
    result: object


@final
class Following:
    """Who follows which profile."""

    def __init__(self, door: Door, judge: Judge) -> None:
        self._door = door
        self._judge = judge
        self._followers: dict[Keeper, set[Connection]] = {}
        self._told: dict[Keeper, tuple[str, int]] = {}

    def add(self, connection: Connection, keeper: Keeper) -> None:
        """Tell a connection of a profile's changes from now on."""
        if connection.news is None:
            connection.news = {}
        connection.news.setdefault(keeper, False)
        self._followers.setdefault(keeper, set()).add(connection)
        self._told.setdefault(keeper, _standing(keeper))

    def changed(self, keeper: Keeper) -> None:
        """Tell whoever follows a profile, if what it is told of changed.

        Close who may not use it any more.
        """
        for connection in list(self._followers.get(keeper, ())):
            if self._judge(connection, keeper) is not None:
                self._door.drop(connection)
        followers = self._followers.get(keeper)
        if not followers:
            return
        standing = _standing(keeper)
        if self._told[keeper] == standing:
            return
        self._told[keeper] = standing
        notification = _notification(keeper)
        for connection in list(followers):
            if connection.outgoing:
                assert connection.news is not None  # noqa: S101 -- it follows
                connection.news[keeper] = True
            else:
                self._door.tell(connection, notification)

    def news(self, connection: Connection) -> bytes:
        """Return what a connection couldn't be told while it didn't read.

        Of what it may not use any more it is told nothing; it is closed when that changes.
        """
        if connection.news is None:
            return b""
        untold = [keeper for keeper, waits in connection.news.items() if waits]
        connection.news = dict.fromkeys(connection.news, False)
        return b"".join(
            _notification(keeper) for keeper in untold if self._judge(connection, keeper) is None
        )

    def removed(self, keeper: Keeper) -> None:
        """Close who follows a profile that is no more: asking again tells them why."""
        for connection in list(self._followers.get(keeper, ())):
            self._door.drop(connection)

    def forget(self, connection: Connection) -> None:
        """Tell a connection nothing more."""
        for keeper in connection.news or ():
            followers = self._followers[keeper]
            followers.discard(connection)
            if not followers:
                del self._followers[keeper], self._told[keeper]
        connection.news = None


def _standing(keeper: Keeper) -> tuple[str, int]:
    """Return what a follower is told of: a change of either is news."""
    session = keeper.session
    number = -1 if session.access is None else session.access.number
    return state(session, clock.boot()), number


def _notification(keeper: Keeper) -> bytes:
    now = clock.boot()
    access = live(keeper.session, now)
    return encode_notification(
        "changed",
        {
            "profile": keeper.profile.name,
            "state": state(keeper.session, now),
            "id": None if access is None else access.id,
            "expires_at": None if access is None else access.expires + clock.wall() - now,
        },
    )
