"""How many more logins of an account may be rejected: what keeps it from being locked.

The token server counts failed logins for each account, and locks it after five; its answer to a
wrong password and to a locked account is the same, so only we can count them. A Ledger is that
count for one account, however many profiles share it. It is asked at the moment of sending, after
the password was read, and told every outcome, including those of requests that became void.

An answer that was lost counts like a rejection, since it may have been one.
"""

from collections.abc import Iterable
from dataclasses import replace
from math import inf
from typing import Final, NewType, assert_never

from openfit_token._shared.frozen import frozen
from openfit_tokend.core.events import Kind, OverBudget

WINDOW: Final = 900.0
"""Seconds an entry counts. ASP.NET Identity locks for 5 minutes by default; many take 15."""
LIMIT: Final = 3
"""Logins in a window that were, or may have been, rejected. ASP.NET Identity locks at 5."""
LATE: Final = 60.0
"""Seconds after which a login whose outcome won't be known counts as lost: the server may still be
working on it."""
REMEMBERED: Final = 16
"""Fingerprints of rejected passwords, and of accepted ones, remembered for an account."""

Fingerprint = NewType("Fingerprint", int)
"""16 bits of a salted hash of a password: enough to recognise it, useless to a thief."""


@frozen
class Entry:
    """A login that was rejected, or may have been. `lost`: the password, if its answer was lost."""

    at: float
    clear: bool = False
    lost: Fingerprint | None = None


@frozen
class Attempt:
    """A login under way."""

    sent: float
    fingerprint: Fingerprint


@frozen
class Ledger:
    """What is known about one account. Times are seconds of CLOCK_BOOTTIME."""

    entries: tuple[Entry, ...] = ()
    """Oldest first."""
    clear: int = 0
    """Clear rejections since the account's last accepted login."""
    under_way: tuple[Attempt, ...] = ()
    rejected: tuple[Fingerprint, ...] = ()
    proven: tuple[Fingerprint, ...] = ()
    """Passwords that were accepted, and haven't been rejected since."""
    announced: float = -inf
    """When an operator last said that the secret may be another one."""
    refused_sent: float = -inf
    """When the newest login that was clearly rejected was sent."""

    @property
    def matters(self) -> bool:
        """Return whether it must outlive a restart: something was rejected, or may have been.

        `announced` alone need not last: what is rejected from now on is sent after it.
        """
        return bool(self.entries or self.clear or self.under_way or self.rejected)


@frozen
class Go:
    """Send the login; `ledger` counts it as under way."""

    ledger: Ledger
    attempt: Attempt


@frozen
class Wait:
    """Another login of the account is under way: ask again when it has ended."""


@frozen
class Unwritten:
    """Nothing was sent: the login couldn't be written down, and so might be forgotten."""


def ask(
    ledger: Ledger, fingerprint: Fingerprint, now: float, *, insisted: bool
) -> Go | Wait | OverBudget:
    """Return whether a login with this password may be sent now. The first rule that applies decides."""
    known = fingerprint in ledger.rejected
    if known and not insisted:
        return OverBudget(inf, known)
    if ledger.clear >= LIMIT:
        free_at = _newest(ledger) + WINDOW
        announced = ledger.announced > ledger.refused_sent
        if now < free_at:
            return OverBudget(free_at, known)
        if not (insisted or announced or fingerprint in ledger.proven):
            return OverBudget(now + WINDOW, known)
    young = _young(ledger, now)
    if len(young) >= LIMIT:
        return OverBudget(young[-LIMIT].at + WINDOW, known)
    # Clear ones count without limit: concurrent logins that are all rejected must not add to them.
    spent = max(len(young), ledger.clear) + len(ledger.under_way)
    if ledger.under_way and (fingerprint not in ledger.proven or spent >= LIMIT):
        return Wait()
    attempt = Attempt(now, fingerprint)
    return Go(replace(ledger, under_way=(*ledger.under_way, attempt)), attempt)


def settle(ledger: Ledger, attempt: Attempt, kind: Kind | None, now: float) -> Ledger:
    """Write down how a login ended; `kind` None: it was accepted."""
    under_way = list(ledger.under_way)
    under_way.remove(attempt)
    settled = replace(ledger, under_way=tuple(under_way), entries=_remaining(ledger, now))
    fingerprint = attempt.fingerprint
    match kind:
        case None:
            return replace(
                settled,
                clear=0,  # apart from the entries, which stay their time: the window bounds the rate
                entries=tuple(e for e in settled.entries if e.lost != fingerprint),
                rejected=_without(ledger.rejected, fingerprint),
                proven=_with(ledger.proven, fingerprint),
            )
        case Kind.GRANT_REJECTED:
            return replace(
                _with_entries(settled, Entry(now, clear=True)),
                clear=ledger.clear + 1,
                rejected=_with(ledger.rejected, fingerprint),
                proven=_without(ledger.proven, fingerprint),
                refused_sent=max(ledger.refused_sent, attempt.sent),
            )
        case Kind.UNCLEAR:
            return _with_entries(settled, Entry(now))
        case Kind.UNCERTAIN:
            return _with_entries(settled, Entry(now, lost=fingerprint))
        case Kind.TRANSIENT | Kind.UNSENT | Kind.CLIENT_REJECTED | Kind.SECRET_UNAVAILABLE:
            return settled
        case _:
            assert_never(kind)


def is_void(ledger: Ledger, attempt: Attempt, *, insisted: bool) -> bool:
    """Return whether a login that was let go mustn't be sent any more: its password was rejected since.

    Logins with a proven password go side by side, so another's rejection may come before its turn.
    """
    return attempt.fingerprint in ledger.rejected and not insisted


def lost(ledger: Ledger, fingerprint: Fingerprint | None, now: float, logins: int = 1) -> Ledger:
    """Count logins of which nobody will tell how they ended; a `fingerprint` of None isn't known.

    The server may still be working on them, so they count from LATE on.
    """
    return _with_entries(ledger, *(Entry(now + LATE, lost=fingerprint),) * min(LIMIT, logins))


def announce(ledger: Ledger, now: float) -> Ledger:
    """Write down that an operator said the secret may be another one: `login`, or a reload."""
    return replace(ledger, announced=now)


def logins_left(ledger: Ledger, now: float) -> int:
    """Return how many more logins may be rejected before none is sent for a while.

    After three clear rejections it is one at a time, and only an operator's.
    """
    if possible_at(ledger, now) > now:
        return 0
    return max(1, LIMIT - max(ledger.clear, len(_young(ledger, now))))


def possible_at(ledger: Ledger, now: float) -> float:
    """Return the moment from which the budget allows a login that an operator insists on."""
    young = _young(ledger, now)
    by_window = young[-LIMIT].at + WINDOW if len(young) >= LIMIT else now
    by_clear = _newest(ledger) + WINDOW if ledger.clear >= LIMIT else now
    return max(now, by_window, by_clear)


def _newest(ledger: Ledger) -> float:
    """Return when a login was rejected last, or may have been: its answer was lost."""
    sent = (entry.at for entry in ledger.entries if entry.clear or entry.lost is not None)
    return max(sent, default=-inf)


def _young(ledger: Ledger, now: float) -> tuple[Entry, ...]:
    # Sums, never differences: rounding would make `until` a moment that isn't free yet.
    return tuple(entry for entry in ledger.entries if now < entry.at + WINDOW)


def _remaining(ledger: Ledger, now: float) -> tuple[Entry, ...]:
    """Return the entries to keep: the young ones, and the newest clear one for its time."""
    newest = _newest_clear(ledger)
    return tuple(
        entry
        for entry in ledger.entries
        if now < entry.at + WINDOW or (entry.clear and entry.at == newest)
    )


def in_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the entries, oldest first. A lost login is counted ahead of its time."""
    return tuple(sorted(entries, key=lambda entry: entry.at))


def _with_entries(ledger: Ledger, *entries: Entry) -> Ledger:
    return replace(ledger, entries=in_order((*ledger.entries, *entries)))


def _newest_clear(ledger: Ledger) -> float:
    return max((entry.at for entry in ledger.entries if entry.clear), default=-inf)


def _with(some: tuple[Fingerprint, ...], one: Fingerprint) -> tuple[Fingerprint, ...]:
    return (*_without(some, one), one)[-REMEMBERED:]


def _without(some: tuple[Fingerprint, ...], one: Fingerprint) -> tuple[Fingerprint, ...]:
    return tuple(each for each in some if each != one)


# Trouble with the file


def may_go_unwritten(ledger: Ledger, attempt: Attempt, *, insisted: bool) -> bool:
    """Return whether a login may be sent though it couldn't be written down first.

    If its password is rejected, a restart may forget that and send it again automatically. So only
    an operator's login may be sent, or one whose password was accepted before.
    """
    return insisted or attempt.fingerprint in ledger.proven


def lacks(written: Ledger, ledger: Ledger) -> bool:
    """Return whether the written ledger of an account lacks a rejection, or what may be one."""
    return any(entry not in written.entries for entry in ledger.entries)


def unreadable(now: float) -> Ledger:
    """Return the ledger of an account of which nothing can be read: two of three count as used.

    It isn't known whether anything was rejected: so one login may be sent automatically.
    """
    return _two_of_three(Ledger(), now)


def doubted(ledger: Ledger, now: float) -> Ledger:
    """Return the ledger of an account of which a rejected password was forgotten.

    It isn't known which: so nothing is sent automatically, except a secret that is announced from
    now on. Nor is it known how many: two of three count as used.
    """
    guessed = _two_of_three(ledger, now)
    return replace(guessed, clear=max(LIMIT, ledger.clear), refused_sent=now)


def _two_of_three(ledger: Ledger, now: float) -> Ledger:
    return _with_entries(ledger, *(Entry(now),) * (LIMIT - 1 - len(_young(ledger, now))))


def merged(one: Ledger, other: Ledger) -> Ledger:
    """Return the ledger of an account that had two, because it was spelled in two ways."""
    return Ledger(
        entries=in_order(one.entries + other.entries),
        clear=one.clear + other.clear,
        rejected=one.rejected + other.rejected,
        announced=max(one.announced, other.announced),
        refused_sent=max(one.refused_sent, other.refused_sent),
    )
