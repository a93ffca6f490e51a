"""Clients that are told something later: an entry each, no task.

A parked call is answered when its keeper's session changes, or at its deadline; one that comes
Later is answered by what it began. A follower is told of each new token and each change of state;
one that doesn't read is told the newest once it does, not all. A closed connection drops its
entries.
"""

from collections.abc import Callable
from typing import Protocol, final

from openfit_token._shared.frozen import frozen
from openfit_token._shared.protocol import encode_notification
from openfit_token.errors import TokenError
from openfit_tokend.core.callers.answers import LoginEnded
from openfit_tokend.core.session import AccessToken, live, state
from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.connection import Connection, Owed, Park
from openfit_tokend.serving.server import Server

Respond = Callable[[object], None]
"""Answers a call later: with its result, or with a TokenError."""
Judge = Callable[[Connection, Keeper], TokenError | None]
"""Returns the error of a connection's peer that may not use a keeper's profile any more, if so."""


@frozen
class Later:
    """A method's answer that its own doing will bring: `begin` is given the way to answer."""

    begin: Callable[[Respond], None]


@frozen
class Follow:
    """A method's answer, after which the connection is told what becomes of a profile."""

    keeper: Keeper
    result: object


class Answering(Protocol):
    """How a dialect answers those who wait."""

    def refusal(self, connection: Connection, keeper: Keeper, /) -> TokenError | None:
        """Return the error of who may not use a keeper's profile any more, if so."""
        ...

    def token(
        self, connection: Connection, keeper: Keeper, access: AccessToken, now: float, /
    ) -> object:
        """Return the result that hands out a keeper's token."""
        ...

    def respond(self, owed: Owed, result: object, /) -> None:
        """Answer a call that is owed no more, with its result or with a TokenError."""
        ...


@final
class Waiting:
    """All answers that the connections of one dialect are owed."""

    def __init__(self, server: Server, dialect: Answering, alarm: Alarm) -> None:
        self._server = server
        self._dialect = dialect
        self._alarm = alarm
        self._parked: dict[Keeper, dict[Owed, None]] = {}
        self._later: set[Owed] = set()

    def park(self, connection: Connection, msgid: int, park: Park) -> None:
        """Let a call wait for its keeper."""
        owed = self._owe(connection, msgid, park)
        self._parked.setdefault(park.keeper, {})[owed] = None
        park.keeper.waiting += 1
        connection.user.entries += 1
        owed.entry = self._alarm.at(park.deadline, lambda: self._try(owed, clock.boot(), None))

    def begin(self, connection: Connection, msgid: int, later: Later) -> None:
        """Begin what will bring a call's answer."""
        owed = self._owe(connection, msgid, None)
        self._later.add(owed)
        later.begin(lambda result: self._deliver(owed, result))

    def changed(self, keeper: Keeper, ended: LoginEnded | None) -> None:
        """Answer whoever waits for this keeper and can be answered now, or may not use it any more."""
        now = clock.boot()
        for owed in list(self._parked.get(keeper, ())):
            try:
                self._try(owed, now, ended)
            except Exception:  # noqa: BLE001 -- an internal error: one client's, not the keeper's
                log.exception("internal_fault")
                self._server.drop(owed.connection)

    def removed(self, keeper: Keeper, error: TokenError) -> None:
        """Answer whoever waits for a keeper that is no more."""
        for owed in list(self._parked.get(keeper, ())):
            self._deliver(owed, error)

    def answer_all(self, error: TokenError) -> None:
        """Answer everybody who waits."""
        for keeper in list(self._parked):
            self.removed(keeper, error)
        for owed in list(self._later):
            self._deliver(owed, error)

    def forget(self, connection: Connection) -> None:
        """Drop what a connection is owed."""
        for owed in list(connection.owed or ()):
            self._forget(owed)

    def _owe(self, connection: Connection, msgid: int, park: Park | None) -> Owed:
        owed = Owed(connection, msgid, park)
        if connection.owed is None:
            connection.owed = set()
        connection.owed.add(owed)
        return owed

    def _try(self, owed: Owed, now: float, ended: LoginEnded | None) -> None:
        park = owed.park
        assert park is not None  # noqa: S101 -- only parked calls come here
        error = self._dialect.refusal(owed.connection, park.keeper)
        result = error or park.keeper.answer(park.call, park.deadline, now, ended)
        if isinstance(result, AccessToken):
            self._deliver(owed, self._dialect.token(owed.connection, park.keeper, result, now))
        elif result is not None:
            self._deliver(owed, result)

    def _deliver(self, owed: Owed, result: object) -> None:
        """Send an answer that was owed; to a connection that is gone, none."""
        connection = owed.connection
        if connection.owed is None or owed not in connection.owed:
            return
        self._forget(owed)
        self._dialect.respond(owed, result)

    def _forget(self, owed: Owed) -> None:
        connection, park = owed.connection, owed.park
        if connection.owed is not None:
            connection.owed.discard(owed)
            if not connection.owed:
                connection.owed = None
        if park is None:
            self._later.discard(owed)
            return
        waiting = self._parked[park.keeper]
        del waiting[owed]
        if not waiting:
            del self._parked[park.keeper]
        park.keeper.waiting -= 1
        connection.user.entries -= 1
        if owed.entry is not None:
            self._alarm.cancel(owed.entry)


@final
class Following:
    """Who follows which profile."""

    def __init__(self, server: Server, judge: Judge) -> None:
        self._server = server
        self._judge = judge
        self._followers: dict[Keeper, set[Connection]] = {}
        self._told: dict[Keeper, tuple[str, int]] = {}
        self._news: dict[Connection, dict[Keeper, bool]] = {}  # True: it wasn't told yet

    def add(self, connection: Connection, keeper: Keeper) -> None:
        """Tell a connection of a profile's changes from now on."""
        connection.follows = True
        news = self._news.setdefault(connection, {})
        if keeper in news:
            return
        news[keeper] = False
        connection.user.entries += 1
        self._followers.setdefault(keeper, set()).add(connection)
        self._told.setdefault(keeper, _standing(keeper))

    def changed(self, keeper: Keeper) -> None:
        """Tell whoever follows a profile, if what it is told of changed.

        Close who may not use it any more.
        """
        followers = list(self._followers.get(keeper, ()))
        if not followers:
            return
        standing = _standing(keeper)
        news = None if self._told[keeper] == standing else _notification(keeper)
        self._told[keeper] = standing
        for connection in followers:
            try:
                self._tell(connection, keeper, news)
            except Exception:  # noqa: BLE001 -- an internal error: one client's, not the keeper's
                log.exception("internal_fault")
                self._server.drop(connection)

    def news(self, connection: Connection) -> bytes:
        """Return what a connection couldn't be told while it didn't read.

        Of what it may not use any more it is told nothing; it is closed when that changes.
        """
        connection.has_more = False
        news = self._news[connection]
        untold = [keeper for keeper, waits in news.items() if waits]
        self._news[connection] = dict.fromkeys(news, False)
        return b"".join(
            _notification(keeper) for keeper in untold if self._judge(connection, keeper) is None
        )

    def _tell(self, connection: Connection, keeper: Keeper, news: bytes | None) -> None:
        """Tell a follower the news, if there are any, or close it if it may not use the profile."""
        if self._judge(connection, keeper) is not None:
            self._server.drop(connection)
        elif news is None:
            return
        elif connection.outgoing:
            self._news[connection][keeper] = connection.has_more = True
        else:
            self._server.put(connection, news)

    def removed(self, keeper: Keeper) -> None:
        """Close who follows a profile that is no more: asking again tells them why."""
        for connection in list(self._followers.get(keeper, ())):
            self._server.drop(connection)

    def end(self) -> None:
        """Tell nobody anything more."""
        for connection in list(self._news):
            self.forget(connection)

    def forget(self, connection: Connection) -> None:
        """Tell a connection nothing more."""
        for keeper in self._news.pop(connection, ()):
            connection.user.entries -= 1
            followers = self._followers[keeper]
            followers.discard(connection)
            if not followers:
                del self._followers[keeper], self._told[keeper]
        connection.follows = connection.has_more = False


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
