"""What this host knows of the store's clock, and moments moved from one clock to the other.

All moments of a row are the store's. Everything here is arithmetic: nothing reads a clock.

Somebody may set the store's clock, and a hypervisor may hold this host's. So no decision rests on the
two running together: a claim ends by what its observer saw, a token's end is always taken on the safe
side, and what is known of a rejection stays known (`Stamps`).
"""

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from math import inf
from typing import Final

from openfit_token._shared.frozen import frozen
from openfit_tokend.core.budget import LATE, Ledger, in_order
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import AccessToken, Bar, Idle, Session

DRIFT: Final = 1e-3
"""Seconds by which two clocks may run apart in a second. Quartz is 20 times better."""
JUMP: Final = 1.0
"""Seconds by which the bounds must miss each other before a clock is said to have jumped."""
MISFIT: Final = 10.0
"""Seconds by which a stamp must be off before it is written anew."""
KEPT: Final = 64
"""Stamps whose moments are remembered besides those of the row."""


@frozen
class Offset:
    """How far the store's clock is ahead of this host's CLOCK_BOOTTIME: between `low` and `high`."""

    low: float = -inf
    high: float = inf
    at: float = -inf
    """When the bounds were true, by CLOCK_BOOTTIME; they widen with time."""

    @property
    def middle(self) -> float:
        """Return the best guess. There is one after the first exchange."""
        return (self.low + self.high) / 2

    def learned(self, before: float, clock: float, after: float) -> tuple["Offset", bool]:
        """Return what is known after an exchange, and whether one of the clocks has jumped.

        The store's clock showed `clock` between `before` and `after`.
        """
        low, high = clock - after, clock - before
        apart = DRIFT * max(0.0, after - self.at)
        old_low, old_high = self.low - apart, self.high + apart
        if low <= old_high and old_low <= high:
            low, high = max(low, old_low), min(high, old_high)
        jumped = low > old_high + JUMP or high < old_low - JUMP
        return Offset(low, high, after), jumped


# Sessions


def moved(session: Session, seconds: float) -> Session:
    """Return a session with its moments in another clock, which is so far ahead."""
    doing, access, refresh = session.doing, session.access, session.refresh
    return replace(
        session,
        doing=Idle(doing.due + seconds) if isinstance(doing, Idle) else doing,
        access=None if access is None else moved_access(access, seconds),
        refresh=None if refresh is None else replace(refresh, since=refresh.since + seconds),
        error=None if session.error is None else _moved_problem(session.error, seconds),
        bar=None if session.bar is None else _moved_bar(session.bar, seconds),
        ended=session.ended + seconds,
    )


def moved_access(access: AccessToken, seconds: float) -> AccessToken:
    """Return an access token with its moments in another clock, which is so far ahead."""
    return replace(
        access,
        sent=access.sent + seconds,
        obtained=access.obtained + seconds,
        due=access.due + seconds,
    )


def _moved_bar(bar: Bar, seconds: float) -> Bar:
    return replace(bar, until=bar.until + seconds, error=_moved_problem(bar.error, seconds))


def _moved_problem(problem: Problem, seconds: float) -> Problem:
    until = None if problem.until is None else problem.until + seconds
    return replace(problem, at=problem.at + seconds, until=until)


# Ledgers


@frozen
class Stamps:
    """Which moment of this host each stamp of a row's ledger is.

    A stamp that was read or written once keeps its moment. So however the store's clock is set, no
    rejection that this host knows of is forgotten before its time.
    """

    moments: Mapping[float, float] = field(default_factory=dict[float, float])

    def knowing(self, ledger: Ledger, offset: float, now: float) -> "Stamps":
        """Return these with those of a row's ledger; `offset`: how far the store is ahead."""
        read = {
            stamp: self.moments.get(stamp, min(stamp - offset, now + LATE))
            for stamp in _stamps(ledger)
        }
        return Stamps(dict(list(self.moments.items())[-KEPT:]) | read)

    def to_host(self, ledger: Ledger) -> Ledger:
        """Return a row's ledger, whose stamps are known, in moments of this host."""
        return _changed(ledger, lambda stamp: self.moments[stamp])

    def to_store(self, ledger: Ledger, offset: float) -> tuple["Stamps", Ledger]:
        """Return a ledger as the row is to have it, and these with its stamps.

        A stamp that still fits stays as it was.
        """
        stamps = {moment: stamp for stamp, moment in self.moments.items()}
        moments = dict(self.moments)

        def stamp(moment: float) -> float:
            found = stamps.get(moment, inf)
            if abs(found - moment - offset) >= MISFIT:
                found = moment + offset
            moments[found] = moment  # before it is read again, the clock may be set
            return found

        stored = _changed(ledger, stamp)
        return Stamps(moments), stored

    def misfit(self, ledger: Ledger, offset: float) -> bool:
        """Return whether a host that never saw the row's entries before would misread one by now."""
        return any(
            abs(entry.at - self.moments.get(entry.at, entry.at - offset) - offset) >= MISFIT
            for entry in ledger.entries
        )


def _stamps(ledger: Ledger) -> tuple[float, ...]:
    return (*(entry.at for entry in ledger.entries), ledger.announced, ledger.refused_sent)


def _changed(ledger: Ledger, change: Callable[[float], float]) -> Ledger:
    """Return a ledger with its moments changed; its entries stay in order."""

    def changed(moment: float) -> float:
        return moment if moment == -inf else change(moment)

    return replace(
        ledger,
        entries=in_order(replace(entry, at=changed(entry.at)) for entry in ledger.entries),
        announced=changed(ledger.announced),
        refused_sent=changed(ledger.refused_sent),
    )
