"""Calls that wait: an entry each, no task.

A parked call is answered when its keeper's session changes, or at its deadline; one that comes
Later is answered by what it began. A closed connection drops its entries.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from openfit_token.errors import TokenError
from openfit_tokend.core.answers import LoginEnded
from openfit_tokend.core.session import AccessToken
from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.connection import Connection, Door, Judge, Owed, Park

Respond = Callable[[object], None]
"""Answers a call later: with its result, or with a TokenError."""
HandOut = Callable[[Connection, Keeper, AccessToken, float], object]
"""Gives the result that hands out a keeper's token now."""


@dataclass(frozen=True, slots=True)
class Later:
    """A method's answer that its own doing will bring: `begin` is given the way to answer."""

    begin: Callable[[Respond], None]


@final
class Waiting:
    """All answers that are owed."""

    def __init__(self, door: Door, judge: Judge, token: HandOut, alarm: Alarm) -> None:
        self._door = door
        self._judge = judge
        self._token = token
        self._alarm = alarm
        self._parked: dict[Keeper, dict[Owed, None]] = {}
        self._later: set[Owed] = set()

    def park(self, connection: Connection, msgid: int, park: Park) -> None:
        """Let a call wait for its keeper."""
        owed = self._owe(connection, msgid, park)
        self._parked.setdefault(park.keeper, {})[owed] = None
        park.keeper.waiting += 1
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
            except Exception:  # noqa: BLE001 -- a fault of ours: one client's, not the keeper's
                log.exception("internal_fault")
                self._door.drop(owed.connection)

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
        error = self._judge(owed.connection, park.keeper)
        result = error or park.keeper.answer(park.call, park.deadline, now, ended)
        if isinstance(result, AccessToken):
            self._deliver(owed, self._token(owed.connection, park.keeper, result, now))
        elif result is not None:
            self._deliver(owed, result)

    def _deliver(self, owed: Owed, result: object) -> None:
        """Send an answer that was owed; to a connection that is gone, none."""
        connection = owed.connection
        if connection.owed is None or owed not in connection.owed:
            return
        self._forget(owed)
        self._door.respond(connection, owed.msgid, result, waited=owed.park is not None)

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
        if owed.entry is not None:
            self._alarm.cancel(owed.entry)
