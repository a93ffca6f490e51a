"""What the daemons of a fleet share of an account, and what may be written of it.

The moments in a row are the store's. Everywhere else they are those of the host, as in the whole
core.
"""

from collections.abc import Mapping
from dataclasses import field, replace
from math import inf
from typing import Final

from openfit_token._shared.frozen import frozen
from openfit_tokend.core import budget, problems
from openfit_tokend.core.budget import Attempt, Entry, Ledger
from openfit_tokend.core.events import Kind
from openfit_tokend.core.restart import restored
from openfit_tokend.core.schedule import PAUSE, REQUEST_TIMEOUT
from openfit_tokend.core.session import AccessToken, Idle, Login, Requesting, Session

SEND_BY: Final = 10.0
"""Seconds after the writing of a claim began, until which its request may be sent."""
GRACE: Final = 5.0
"""Seconds that a claim outlasts its request: clocks that run apart, and a slow store."""
TERM: Final = SEND_BY + REQUEST_TIMEOUT + GRACE
"""Seconds that a claim stands without a word of its answer. Less would let two daemons use one
refresh token: the server may still be working on the first use of it."""
AS_OLD: Final = 10.0
"""Seconds by which an entry may seem older when it was written anew: clocks are inexact."""
REMEMBERED: Final = 16
"""Claims of settled logins that a row names."""


@frozen
class Claim:
    """A request that may be under way. `attempt`: that of a login, as the ledger counts it."""

    id: bytes
    """16 random bytes."""
    by: str
    """The member that wrote it, for people."""
    term: float = TERM
    """Seconds after which whoever saw it unchanged all the while takes it as given up."""
    attempt: Attempt | None = None


@frozen
class Shared:
    """A session as the whole fleet holds it. It is Requesting exactly if there is a claim."""

    session: Session
    claim: Claim | None
    by: str
    """The member that wrote it, for people."""
    stamp: bytes
    """The tag of the write that brought it."""


@frozen
class Row:
    """Everything the fleet knows of one account.

    `ledger.under_way` is empty: the claims say it. No password is in it.
    """

    tag: bytes
    """16 random bytes of this write alone: what compare-and-set compares."""
    salt: bytes
    """16 random bytes of this row: the fingerprints of passwords are salted with it."""
    ledger: Ledger = field(default_factory=Ledger)
    sessions: Mapping[bytes, Shared] = field(default_factory=dict[bytes, Shared])
    """By the digest of their identity."""
    done: tuple[bytes, ...] = ()
    """The claims of the last logins that were settled, so that none is settled twice."""


# What is written of a session


def published(session: Session, now: float) -> Session:
    """Return a session as others may see it while no claim covers what it is about to send."""
    doing = session.doing
    if isinstance(doing, Requesting):
        doing = Idle(max(now, session.ended + PAUSE))
    return replace(session, doing=doing, wanted=False)


def claiming(session: Session) -> Session:
    """Return a session as others may see it while a claim covers what it is about to send.

    A refresh token that an operator gave is for the token server alone.
    """
    assert isinstance(session.doing, Requesting)  # else there would be nothing to claim
    request = session.doing.request
    if isinstance(request, Login):
        request = replace(request, given=None)
    return replace(session, doing=Requesting(request), wanted=False)


def without_unsent(session: Session, base: Session | None) -> Session:
    """Return a session without what this host couldn't send since it began with `base`."""
    if session.unsent_until == -inf:
        return session
    failures, error = (0, None) if base is None else (base.failures, base.error)
    return replace(session, failures=failures, error=error, unsent_until=-inf)


def taken_back(session: Session, now: float) -> Session:
    """Return the session of a claim under which nothing was sent: others may go on at once."""
    return replace(session, doing=Idle(max(now, session.ended + PAUSE)))


def shared_token(
    own: AccessToken | None, base: AccessToken | None, claimed: int, claimed_at: float
) -> AccessToken | None:
    """Return the token that the row is to have. All moments are the store's.

    `base`: the row's token when this host's session began with it; `claimed`: the number of the last
    request that was claimed here.
    """
    if own is None:
        return None
    if base is not None and base.id == own.id:
        return base  # as it was written first: no error adds up
    if own.number != claimed:
        return None  # nobody else's any more: whoever stood still may take it for live
    # By the store's own clock it was asked for after its claim: no clock of a host that stood still
    # meanwhile makes it live longer.
    return replace(own, sent=min(own.sent, claimed_at))


def given_up(session: Session, by: str, now: float) -> Session:
    """Return the session of a claim that ended without an answer. `by`: whose claim it was."""
    return replace(restored(session, now), error=problems.given_up(by, now))


def is_abandoned(shared: Shared, now: float, lifetime: float) -> bool:
    """Return whether no host has used a session for as long as its refresh token lives.

    One that waits for an operator is kept: without it, a host would log in again.
    """
    session, claim = shared.session, shared.claim
    if claim is not None or not isinstance(session.doing, Idle):
        return False
    began = -inf if session.refresh is None else session.refresh.since
    return now >= max(session.doing.due, session.ended, began) + lifetime


# What is written of the ledger


def settled(ledger: Ledger, attempt: Attempt, kind: Kind | None, now: float) -> Ledger:
    """Write down how a login ended; `kind` None: it was accepted."""
    if attempt not in ledger.under_way:  # its claim gave way, and it was counted as lost
        ledger = replace(_without(ledger, attempt), under_way=(*ledger.under_way, attempt))
    return budget.settle(ledger, attempt, kind, now)


def recalled(ledger: Ledger, known: Ledger, now: float) -> Ledger:
    """Return a row's ledger with what a host knows of the last window, if the row forgot some of it.

    `known`: the row's, as this host had it last. A backup was restored, or a standby took over that
    lacked the last writes. Only a lost login is ever taken off a row before its time, so whatever else
    is missing shows that.
    """
    missing = _missing(ledger, known, now)
    if all(entry.lost is not None for entry in missing):
        return ledger
    return replace(
        ledger,
        entries=budget.in_order((*ledger.entries, *missing)),
        clear=max(ledger.clear, known.clear),
        rejected=tuple(dict.fromkeys((*ledger.rejected, *known.rejected))),
        proven=tuple(each for each in ledger.proven if each not in known.rejected),
        refused_sent=max(ledger.refused_sent, known.refused_sent),
    )


def _missing(ledger: Ledger, known: Ledger, now: float) -> list[Entry]:
    """Return the entries that count and aren't in the other ledger, where they may be later."""
    left, missing = list(ledger.entries), list[Entry]()
    for entry in reversed(known.entries):
        alike = (
            each
            for each in reversed(left)
            if (each.clear, each.lost) == (entry.clear, entry.lost) and each.at > entry.at - AS_OLD
        )
        found = next(alike, None)
        if found is not None:
            left.remove(found)
        elif now < entry.at + budget.WINDOW:
            missing.append(entry)
    return missing


def _without(ledger: Ledger, attempt: Attempt) -> Ledger:
    """Return the ledger without one entry of a lost login with this password."""
    entries = list(ledger.entries)
    counted = next((entry for entry in entries if entry.lost == attempt.fingerprint), None)
    if counted is not None:
        entries.remove(counted)
    return replace(ledger, entries=tuple(entries))
