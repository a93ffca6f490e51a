"""What is to be written into a row: ended claims off, outcomes in, claims of one's own on.

What may be sent, what a login counts as, and which token others get is for the core to say. A request
that may not be sent is answered while the draft is made. Whether the draft is taken is the store's to
say, and `Copy` goes on from there.
"""

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import assert_never, final

from anyio import Event

from openfit_token._shared.frozen import frozen
from openfit_tokend.core import budget, problems
from openfit_tokend.core.budget import Attempt, Go, Ledger, Wait, lost
from openfit_tokend.core.events import Failed, Kind, OverBudget
from openfit_tokend.core.fleet.row import (
    REMEMBERED,
    Claim,
    Row,
    Shared,
    claiming,
    given_up,
    is_abandoned,
    published,
    recalled,
    settled,
    shared_token,
    taken_back,
    without_unsent,
)
from openfit_tokend.core.session import Login, Session
from openfit_tokend.fleet.clocks import Offset, Stamps, moved, moved_access
from openfit_tokend.fleet.part import Flight, Part, Want
from openfit_tokend.fleet.row_form import ID_SIZE
from openfit_tokend.fleet.store import TAG_SIZE

Ended = tuple[Flight, Kind | None]
"""A login that has ended, and how."""


@frozen
class Known:
    """What a draft is made from. `has_ended`: whether a claim is over, as this host sees it."""

    row: Row
    member: str
    now: float
    offset: Offset
    stamps: Stamps
    attempts: Mapping[bytes, Attempt]
    """Those of this host's logins under way, by their claims, in moments of this host."""
    mine: Mapping[bytes, Part | None]
    """The claims of this host, and whose they are; None: of a part that has left. A login whose claim
    is there, but not above, was never sent."""
    announced: float
    reseal: bool
    """Another key than the first has sealed the row."""
    counted: Ledger
    """The row's ledger as this host had it last: the row may have been put back since."""
    has_ended: Callable[[Claim], bool]
    changed: Event
    """Is set when the row has changed, or a claim in it has ended."""


def under_way(known: Known) -> dict[bytes, Attempt]:
    """Return the logins under way, by their claims, in moments of this host."""
    found: dict[bytes, Attempt] = {}
    for claim, attempt in _logins(known.row):
        if claim.id in known.attempts:
            found[claim.id] = known.attempts[claim.id]
        elif claim.id not in known.mine and not known.has_ended(claim):
            found[claim.id] = replace(attempt, sent=attempt.sent - known.offset.middle)
    return found


def ledger(known: Known) -> Ledger:
    """Return the row's ledger in moments of this host, without what is under way."""
    found = recalled(_read(known), known.counted, known.now)
    for claim, attempt in _logins(known.row):
        if known.has_ended(claim):
            found = lost(found, attempt.fingerprint, known.now)
    return found


def _read(known: Known) -> Ledger:
    return known.stamps.to_host(known.row.ledger, known.offset.middle, known.now)


def _logins(row: Row) -> Iterator[tuple[Claim, Attempt]]:
    """Return the claims of logins that weren't settled."""
    for shared in row.sessions.values():
        claim = shared.claim
        if claim is not None and claim.attempt is not None and claim.id not in row.done:
            yield claim, claim.attempt


@frozen
class Claimed:
    """A request that the draft claims."""

    part: Part
    want: Want
    flight: Flight


@final
@dataclass(slots=True)
class Draft:
    """A row to be written, and what it says."""

    row: Row
    begun: float
    """CLOCK_BOOTTIME before it is written."""
    settled: list[Ended]
    claimed: list[Claimed] = field(default_factory=list[Claimed])
    told: list[tuple[Part, int]] = field(default_factory=list[tuple[Part, int]])
    """The parts that it is word of, and how many of their changes."""
    taken_back: list[Part] = field(default_factory=list[Part])
    """The parts whose claims it takes back."""
    took_over: bool = False
    """Claims of others had ended."""


def draft(known: Known, parts: Collection[Part], ended: list[Ended]) -> Draft | None:
    """Return what is to be written; None: nothing is."""
    row, now = known.row, known.now
    tag = secrets.token_bytes(TAG_SIZE)
    sessions = _without_ended(known, tag)
    going = under_way(known)
    counted, done = ledger(known), row.done
    for flight, kind in ended:
        if flight.claim.id in done:
            continue  # the answer to the write that settled it was lost
        done = (*done, flight.claim.id)[-REMEMBERED:]
        late = going.pop(flight.claim.id, None) is None
        assert flight.attempt is not None  # noqa: S101 -- only logins are settled
        counted = settled(counted, flight.attempt, kind, now, late=late)
    made = Draft(row, now, ended, took_over=sessions != dict(row.sessions))
    _forget_abandoned(sessions, known, parts)
    for part in parts:
        session, claim = part.keeper.session, None
        want = part.wanted(now)
        if want is not None:
            found = _claim(known, part, want, counted, going)
            if isinstance(found, Flight):
                claim = found.claim
                made.claimed.append(Claimed(part, want, found))
                if found.attempt is not None:
                    counted = replace(counted, announced=max(counted.announced, known.announced))
                    going[claim.id] = found.attempt
        if claim is not None or part.dirty:
            counted = _replaced(sessions.get(part.key), going, counted, now)
            session = published(session, now) if claim is None else claiming(session)
            sessions[part.key] = _shared(known, part, session, claim, tag)
            made.told.append((part, part.changes))
        elif is_idle(part, shared := sessions.get(part.key), known.mine):
            assert shared is not None  # noqa: S101 -- it has the claim
            session = taken_back(shared.session, now + known.offset.middle)
            sessions[part.key] = Shared(session, None, known.member, tag)
            made.taken_back.append(part)
    if not (made.told or made.taken_back or ended or _is_to_be_written_anew(known)):
        return None
    stored = known.stamps.to_store(counted, known.offset.middle)
    made.row = Row(tag, row.salt, stored, sessions, done)
    return made


def _is_to_be_written_anew(known: Known) -> bool:
    """Return whether a row is to be written though nothing came to pass."""
    read = _read(known)
    return (
        known.reseal
        or known.stamps.misfit(known.row.ledger, known.offset.middle)
        or recalled(read, known.counted, known.now) != read
    )


def is_of(part: Part, claim: Claim, mine: Mapping[bytes, Part | None]) -> bool:
    """Return whether a part is to end a claim: not if one that leaves with the same key does."""
    return claim.id in mine and mine[claim.id] in {None, part}


def is_idle(part: Part, shared: Shared | None, mine: Mapping[bytes, Part | None]) -> bool:
    """Return whether the row has a claim of a part's under which nothing was sent, nor will be."""
    claim = None if shared is None else shared.claim
    return (
        claim is not None
        and not part.dirty
        and is_of(part, claim, mine)
        and all(flight.claim.id != claim.id for flight in part.flights.values())
    )


def _replaced(
    shared: Shared | None, going: dict[bytes, Attempt], counted: Ledger, now: float
) -> Ledger:
    """Return the ledger when something else takes the place of this: its login may be rejected yet.

    It counts as lost until whoever sent it settles it.
    """
    claim = None if shared is None else shared.claim
    attempt = None if claim is None else going.pop(claim.id, None)
    return counted if attempt is None else lost(counted, attempt.fingerprint, now)


def _without_ended(known: Known, tag: bytes) -> dict[bytes, Shared]:
    """Return the row's sessions, those given up whose claims are over."""
    at = known.now + known.offset.middle
    return {
        key: Shared(given_up(shared.session, shared.by, at), None, known.member, tag)
        if shared.claim is not None and known.has_ended(shared.claim)
        else shared
        for key, shared in known.row.sessions.items()
    }


def _forget_abandoned(sessions: dict[bytes, Shared], known: Known, parts: Collection[Part]) -> None:
    """Leave out sessions that no profile of this host has, and no other has used for long."""
    own = {part.key for part in parts}
    at = known.now + known.offset.middle
    lives = (each.keeper.profile.policy.refresh_token_lifetime for each in parts)
    lifetime = max(lives, default=inf)
    for key, shared in list(sessions.items()):
        if key not in own and is_abandoned(shared, at, lifetime):
            del sessions[key]


def _claim(
    known: Known, part: Part, want: Want, counted: Ledger, going: Mapping[bytes, Attempt]
) -> Flight | None:
    """Return what a request claims; None: it may not now, or it was answered."""
    attempt = None
    if isinstance(want.request, Login):
        if want.fingerprint is None or want.fingerprint[0] != known.row.salt:
            return None  # it is being made
        asked = budget.ask(
            replace(
                counted,
                under_way=tuple(going.values()),
                announced=max(counted.announced, known.announced),
            ),
            want.fingerprint[1],
            known.now,
            insisted=want.request.insisted,
        )
        match asked:
            case OverBudget(until):
                problem = problems.over_budget(until, known.now)
                part.refuse(Failed(want.number, asked, problem))
                return None
            case Wait():
                part.put_off(known.changed)
                return None
            case Go():
                attempt = asked.attempt
            case _:
                assert_never(asked)
    stored = None
    if attempt is not None:
        stored = replace(attempt, sent=attempt.sent + known.offset.middle)
    claim = Claim(secrets.token_bytes(ID_SIZE), known.member, attempt=stored)
    return Flight(want.number, want.request, claim, attempt)


def _shared(known: Known, part: Part, session: Session, claim: Claim | None, tag: bytes) -> Shared:
    """Return what is written of a part, in moments of the store."""
    access = shared_token(
        None if session.access is None else moved_access(session.access, known.offset.low),
        None if part.base is None else part.base.session.access,
        *part.claimed,
    )
    stored = replace(moved(session, known.offset.middle), access=access)
    base = None if part.base is None else part.base.session
    return Shared(without_unsent(stored, base), claim, known.member, tag)
