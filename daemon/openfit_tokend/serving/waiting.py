"""Answers that come later, and notifications: an entry for each, no task.

A parked call is answered when its keeper's session changes, or at its deadline; a `Later` one by what it
began. A subscriber is notified of each new token and each change of state; one that doesn't read gets
only the newest notification once it does. A closed connection drops its entries.
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
"""Returns the error for a caller that may no longer use a keeper's profile; None: it still may."""


@frozen
class Later:
    """A method's answer that comes once something is done. `begin` is given the function to answer with."""

    begin: Callable[[Respond], None]


@frozen
class Follow:
    """A method's answer, after which the connection is notified of a profile's changes."""

    keeper: Keeper
    result: object


class Answering(Protocol):
    """How a dialect answers waiting calls."""

    def refusal(self, connection: Connection, keeper: Keeper, /) -> TokenError | None:
        """Return the error for a caller that may no longer use a keeper's profile; None: it still may."""
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
        """Let a call wait for a change of its keeper."""
        owed = self._owe(connection, msgid, park)
        self._parked.setdefault(park.keeper, {})[owed] = None
        park.keeper.waiting += 1
        connection.user.entries += 1
        owed.entry = self._alarm.at(park.deadline, lambda: self._try(owed, clock.boot(), None))

    def begin(self, connection: Connection, msgid: int, later: Later) -> None:
        """Begin what the answer waits for."""
        owed = self._owe(connection, msgid, None)
        self._later.add(owed)
        later.begin(lambda result: self._deliver(owed, result))

    def changed(self, keeper: Keeper, ended: LoginEnded | None) -> None:
        """Answer the calls for this keeper that can be answered now, or whose callers may no longer use it."""
        now = clock.boot()
        for owed in list(self._parked.get(keeper, ())):
            try:
                self._try(owed, now, ended)
            except Exception:  # noqa: BLE001 -- an internal error: one client's, not the keeper's
                log.exception("internal_fault")
                self._server.drop(owed.connection)

    def removed(self, keeper: Keeper, error: TokenError) -> None:
        """Answer all calls that wait for a removed keeper."""
        for owed in list(self._parked.get(keeper, ())):
            self._deliver(owed, error)

    def answer_all(self, error: TokenError) -> None:
        """Answer all waiting calls."""
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
        """Send an answer that was owed, unless the connection has been closed."""
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
    """All subscriptions."""

    def __init__(self, server: Server, judge: Judge) -> None:
        self._server = server
        self._judge = judge
        self._followers: dict[Keeper, set[Connection]] = {}
        self._told: dict[Keeper, tuple[str, int]] = {}
        self._news: dict[Connection, dict[Keeper, bool]] = {}  # True: it wasn't told yet

    def add(self, connection: Connection, keeper: Keeper) -> None:
        """Notify a connection of a profile's changes from now on."""
        connection.follows = True
        news = self._news.setdefault(connection, {})
        if keeper in news:
            return
        news[keeper] = False
        connection.user.entries += 1
        self._followers.setdefault(keeper, set()).add(connection)
        self._told.setdefault(keeper, _standing(keeper))

    def changed(self, keeper: Keeper) -> None:
        """Notify a profile's subscribers if its token or its state changed.

        Close the connections of those that may no longer use it.
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
        """Return the notifications that were held back while the connection didn't read.

        Those of profiles that it may no longer use are left out; it is closed when they change.
        """
        connection.has_more = False
        news = self._news[connection]
        untold = [keeper for keeper, waits in news.items() if waits]
        self._news[connection] = dict.fromkeys(news, False)
        return b"".join(
            _notification(keeper) for keeper in untold if self._judge(connection, keeper) is None
        )

    def _tell(self, connection: Connection, keeper: Keeper, news: bytes | None) -> None:
        """Send a subscriber the news, if there are any; close it if it may no longer use the profile."""
        if self._judge(connection, keeper) is not None:
            self._server.drop(connection)
        elif news is None:
            return
        elif connection.outgoing:
            self._news[connection][keeper] = connection.has_more = True
        else:
            self._server.put(connection, news)

    def removed(self, keeper: Keeper) -> None:
        """Close the subscribers' connections of a removed profile: when they ask again they learn why."""
        for connection in list(self._followers.get(keeper, ())):
            self._server.drop(connection)

    def end(self) -> None:
        """End all subscriptions."""
        for connection in list(self._news):
            self.forget(connection)

    def forget(self, connection: Connection) -> None:
        """End a connection's subscriptions."""
        for keeper in self._news.pop(connection, ()):
            connection.user.entries -= 1
            followers = self._followers[keeper]
            followers.discard(connection)
            if not followers:
                del self._followers[keeper], self._told[keeper]
        connection.follows = connection.has_more = False


def _standing(keeper: Keeper) -> tuple[str, int]:
    """Return what subscribers are notified of: state and token."""
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
