"""The table: what every event makes of this host's replica of a row. Total, pure.

All daemons of a fleet hold the same session of an account. It lies in one row of a store that knows
compare-and-set. The simplest way to think about a replica is as three things:

- What the *row* says, and whether that is sure.
- Where each *participant*, a profile of this host, goes on from (its base), and what of it is untold.
- What its *requests* are doing.

    wanted ──> Pending ──── its claim is written ────> InFlight ──── ended ────> Outcome, untold
                  │                                        │                        │
                  └─ denied: not sent       others went on: superseded          written

A daemon that is about to send a request first writes the row, with its session as Requesting and a
*claim*. The one whose write is taken sends; the others see the claim, wait, and adopt what comes of
it (`adoption.py`). Nobody leads: a claim is a lease for one request.

The store is used only after a `Turn`: it reads a row that is in doubt, else makes one write of all
that is to be written. Whatever another has written by then is taken first. This file
has what others wrote, `writing.py` what is written.

Rules of this file:

1. *A request is sent only under a claim of one's own*, within SEND_BY of the moment at which its
   writing began.
2. *Another's claim ends when its row changes, or when it has been seen unchanged for its term*, by
   the clock of whoever sees it: no clock of another host, nor of the store, is asked.
3. *A claim that ended or gave way without an answer is a lost use of what it was to send* (`given_up`,
   `budget.lost`).
4. *What wasn't sent is never written*: a token server that one host can't reach, a secret that can't
   be read, a password that was rejected before, the wishes of clients, a store that can't be reached.
   A claim under which nothing was sent is taken back, and leaves no trace.

The moments in a row are the store's. Everywhere else they are those of the host, as in the whole
core.
"""

from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from typing import assert_never

from openfit_tokend.core import budget, events, problems
from openfit_tokend.core.events import (
    Adopted,
    Failed,
    Kind,
    LoginOrdered,
    LogoutOrdered,
    OverBudget,
)
from openfit_tokend.core.fleet.clocks import moved, moved_access
from openfit_tokend.core.fleet.messages import (
    Deny,
    Doubted,
    Effect,
    Ended,
    Event,
    Exchanged,
    Expired,
    Feed,
    GaveUp,
    Grant,
    Joined,
    Left,
    Ordered,
    ReadRow,
    Release,
    RowRead,
    Turn,
    Unreached,
    WakeAt,
    Wanted,
    Withhold,
    Written,
)
from openfit_tokend.core.fleet.replica import (
    Answered,
    Held,
    Here,
    InFlight,
    Known,
    Logout,
    Outcome,
    Participant,
    Pending,
    Replica,
    Untold,
    claim_of,
    claims_in,
    has_ended,
    held,
    is_idle,
    is_own,
    remembering,
    requests_of,
    shared_by,
    with_participant,
    with_request,
    without_requests,
)
from openfit_tokend.core.fleet.row import Row, Shared, given_up
from openfit_tokend.core.fleet.writing import mirrored, with_answers, write_row
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import Login, Refresh, is_logged_out, new_session
from openfit_tokend.core.step import step


def exchange(replica: Replica, event: Event, here: Here) -> Exchanged:
    """Return the replica after an event, and the effects to carry out, in order."""
    match event:
        case Joined():
            return _joined(replica, event)
        case Left(who):
            return _left(replica, who, here)
        case Wanted():
            return _wanted(replica, event, here)
        case Ended():
            return _ended(replica, event, here)
        case Ordered():
            return _ordered(replica, event)
        case Doubted(resync):
            return _doubted(replica, resync=resync), ()
        case Turn():
            return _turn(replica, event, here)
        case RowRead():
            return _read(replica, event, here)
        case Written():
            return _written(replica, event, here)
        case Unreached():
            return _unreached(replica, event)
        case Expired():
            return _expired(replica, event, here)
        case _:
            assert_never(event)


def owes(replica: Replica) -> bool:
    """Return whether others have yet to be told of something."""
    return any(isinstance(each, Answered) for each in replica.requests.values()) or any(
        participant.untold is not None or is_idle(replica, who)
        for who, participant in replica.participants.items()
    )


# Participants, and what they want


def _joined(replica: Replica, event: Joined) -> Exchanged:
    """Let a new participant adopt what is there."""
    key = event.key
    taken = {each.key for each in replica.participants.values() if each.left is None}
    while key in taken:
        key = sha256(key).digest()  # two profiles of one identity have two sessions
    return _doubted(with_participant(replica, event.who, Participant(key)), resync=False), ()


def _left(replica: Replica, who: int, here: Here) -> Exchanged:
    """Let others be told of what is under way, and want nothing new."""
    participant = replica.participants.get(who)
    if participant is None or participant.left is not None:
        return replica, ()
    replica, denied = _denied(replica, _pending_of(replica, who), problems.not_needed(here.now))
    left = replace(participant, left=here.sessions[who])
    return with_participant(replica, who, left), denied


def _wanted(replica: Replica, event: Wanted, here: Here) -> Exchanged:
    participant = replica.participants.get(event.who)
    unwanted = _pending_of(replica, event.who)  # this takes its place
    if participant is None or participant.left is not None:
        unwanted.append(event.claim)
    pending = Pending(event.who, event.number, event.request, event.fingerprint)
    replica = with_request(replica, event.claim, pending)
    return _denied(replica, unwanted, problems.not_needed(here.now))


def _ordered(replica: Replica, event: Ordered) -> Exchanged:
    participant = replica.participants.get(event.who)
    if participant is None:
        return replica, ()
    untold = participant.untold
    match event.order:
        case LoginOrdered():  # others don't know of a logout yet: they are to hear of the login alone
            untold = None if untold == Logout() else untold
        case LogoutOrdered():
            untold = Logout()
        case _:
            assert_never(event.order)
    return with_participant(replica, event.who, replace(participant, untold=untold)), ()


def _ended(replica: Replica, event: Ended, here: Here) -> Exchanged:
    who, number = event.who, event.event.number
    claim, participant = claim_of(replica, who, number), replica.participants.get(who)
    request = None if claim is None else replica.requests[claim]
    if claim is None or participant is None or not isinstance(request, InFlight):
        return without_requests(replica, () if claim is None else (claim,)), ()
    kind = event.event.kind if isinstance(event.event, Failed) else None
    replica = without_requests(replica, (claim,))
    if request.attempt is not None:
        assert not isinstance(kind, OverBudget)  # that is never in flight
        replica = with_request(replica, claim, Answered(who, request.attempt, kind))
    held_claim = None if participant.base is None else participant.base.claim
    has_claim = held_claim is not None and held_claim.id == claim
    if has_claim and kind is not Kind.UNSENT and participant.untold != Logout():
        outcome = Outcome(number, request.claimed_at)
        replica = with_participant(replica, who, replace(participant, untold=outcome))
    session = held(replica, who, here).session
    if participant.left is not None and not request.superseded and number == session.number:
        replica, _ = _fed(replica, who, event.event, here)
        return replica, (Withhold(),)
    # A void refresh isn't given back to the server while others may live on its family of tokens.
    if request.superseded and isinstance(request.request, Refresh) and not is_logged_out(session):
        return replica, (Withhold(),)
    return replica, ()


def is_void(replica: Replica, who: int, number: int, now: float) -> bool:
    """Return whether a login that was claimed mustn't be sent any more; see `budget.is_void`."""
    claim = claim_of(replica, who, number)
    request = None if claim is None else replica.requests[claim]
    if not (isinstance(request, InFlight) and isinstance(request.request, Login)):
        return False
    ledger, _ = with_answers(replica, replica.counted, (), now)
    attempt, insisted = request.attempt, request.request.insisted
    return attempt is not None and budget.is_void(ledger, attempt, insisted=insisted)


# The store


def _doubted(replica: Replica, *, resync: bool) -> Replica:
    resync = resync or replica.known is Known.RESYNC
    return replace(replica, known=Known.RESYNC if resync else Known.DOUBTED)


def _unreached(replica: Replica, event: Unreached) -> Exchanged:
    """Let requests that wait for a claim fail: nothing may be sent."""
    doubted = _doubted(replica, resync=event.resync)
    return _denied(doubted, requests_of(replica, Pending), event.problem)


def _turn(replica: Replica, event: Turn, here: Here) -> Exchanged:
    if replica.known is not Known.SURE:
        return replica, (ReadRow(),)
    replica, denied = _denied(replica, _void(replica, here), problems.not_needed(here.now))
    replica, effects = write_row(replica, event, here)
    return replica, (*denied, *effects)


def _read(replica: Replica, event: RowRead, here: Here) -> Exchanged:
    """Go on from the row as it is in the store."""
    resync = replica.known is Known.RESYNC
    replica = replace(replica, known=Known.SURE, reseal=event.reseal)
    replica, effects = _on_row(replica, event.row, here)
    for who in replica.participants:
        replica, taken = _took(replica, who, here, resync=resync)
        effects += taken
    return replica, effects


def _written(replica: Replica, event: Written, here: Here) -> Exchanged:
    """Go on from the row as it was written."""
    write = event.write
    known = Known.RESYNC if replica.known is Known.RESYNC else Known.SURE
    replica = without_requests(replace(replica, known=known, reseal=False), write.counted)
    replica, effects = _on_row(replica, write.row, here)
    waiting = {each.who for each in requests_of(replica, Pending).values()}
    for who, participant in replica.participants.items():
        if who not in write.told and who not in write.taken_back:
            # A claim had ended that its session waited for, or it joined meanwhile.
            replica, more = _took(replica, who, here, resync=False)
        else:
            base = write.row.sessions.get(participant.key)
            based = replace(participant, base=base, based_at=here.now)
            replica, more = _told(with_participant(replica, who, based), who, write.told.get(who))
        if who in write.taken_back - waiting:
            replica, more = _adopt(replica, who, here)  # it stands back, as the others do
        effects += more
    replica, granted = _granted(replica, event, here)
    return mirrored(replica, here), (*effects, *granted)


def _granted(replica: Replica, event: Written, here: Here) -> Exchanged:
    """Let what was claimed go out. A claim that is of no use any more is taken back."""
    replica, effects = _denied(replica, _void(replica, here), problems.not_needed(here.now))
    for claim, attempt in event.write.claims.items():
        pending = replica.requests.get(claim)
        if isinstance(pending, Pending):
            flight = InFlight(pending.who, pending.number, pending.request, event.clock, attempt)
            replica = with_request(replica, claim, flight)
            effects += (Grant(claim, event.write.send_by),)
    return replica, effects


def _told(replica: Replica, who: int, untold: Untold) -> Exchanged:
    """Note that others know what came to pass, unless more did meanwhile."""
    participant = replica.participants[who]
    if untold is None or participant.untold != untold:
        return replica, ()
    replica = with_participant(replica, who, replace(participant, untold=None))
    return replica, (Release(who),) if untold == Logout() else ()


# What others wrote


def _on_row(replica: Replica, row: Row | None, here: Here) -> Exchanged:
    """Know this row, and note claims of others that weren't seen before, and when they end."""
    replica, effects = replace(replica, row=row), tuple[Effect, ...]()
    if row is None:
        return replica, effects
    stamps = replica.stamps.knowing(row.ledger, here.offset.middle, here.now)
    replica = replace(replica, stamps=stamps)
    for key, claim in claims_in(row):
        if claim.id not in replica.seen and claim.id not in replica.own:
            replica = replace(replica, seen=remembering(replica.seen, {claim.id: here.now}))
            effects += (WakeAt(here.now + claim.term, key, claim.id),)
    return mirrored(replica, here), effects


def _took(replica: Replica, who: int, here: Here, *, resync: bool) -> Exchanged:
    """Let a participant go on from what the row says of it."""
    participant, shared = replica.participants[who], shared_by(replica, who)
    number = held(replica, who, here).session.number
    flight = claim_of(replica, who, number)
    request = None if flight is None else replica.requests[flight]
    if _is_same(shared, participant.base):
        busy = participant.untold is not None or isinstance(request, InFlight)
        return _adopt(replica, who, here) if resync and not busy else (replica, ())
    participant = replace(participant, base=shared, based_at=here.now)
    if shared is not None and shared.claim is not None and is_own(replica, who, shared.claim.id):
        # If nothing is sent under it, it is taken back.
        return with_participant(replica, who, participant), ()
    untold = participant.untold if participant.untold == Logout() else None
    replica = with_participant(replica, who, replace(participant, untold=untold))
    effects: tuple[Effect, ...] = ()
    if flight is not None and isinstance(request, InFlight) and not request.superseded:
        replica = with_request(replica, flight, replace(request, superseded=True))
        failed = Failed(number, Kind.UNCERTAIN, problems.superseded(here.now))
        replica, effects = _fed(replica, who, failed, here)
    replica, adopted = _adopt(replica, who, here)
    return replica, (*effects, *adopted)


def _adopt(replica: Replica, who: int, here: Here) -> Exchanged:
    """Let a participant's session go on with its base."""
    participant = replica.participants[who]
    base = participant.base
    if base is None:
        session = new_session(here.now)
    else:
        session, access = moved(base.session, -here.offset.middle), base.session.access
        if access is not None:  # a token never ends later than it does
            session = replace(session, access=moved_access(access, -here.offset.high))
        if base.claim is not None and has_ended(replica, base.claim, here.now):
            session = given_up(session, base.by, here.now)
    replica, effects = _fed(replica, who, Adopted(session), here)
    if participant.untold != Logout():
        return replica, effects
    if is_logged_out(session):  # the answer to its write was lost, or it is theirs
        replica, more = _told(replica, who, Logout())
    else:  # others logged in before they knew of the logout here
        replica, more = _fed(replica, who, LogoutOrdered(), here)
    return replica, (*effects, *more)


def _fed(replica: Replica, who: int, event: events.Event, here: Here) -> Exchanged:
    """Let a session take an event: its profile's keeper does it, if there is one."""
    participant = replica.participants[who]
    if participant.left is None:
        return replica, (Feed(who, event),)
    session, policy = participant.left.session, participant.left.policy
    after, _ = step(session, event, here.moment, policy)  # it sends and revokes nothing
    return with_participant(replica, who, replace(participant, left=Held(after, policy))), ()


def _expired(replica: Replica, event: Expired, here: Here) -> Exchanged:
    """Go on without an answer to a request of another."""
    shared = None if replica.row is None else replica.row.sessions.get(event.key)
    found = None if shared is None else shared.claim
    if found is None or found.id != event.claim or not has_ended(replica, found, here.now):
        return replica, ()
    effects: tuple[Effect, ...] = (GaveUp(found.by),)
    for who, participant in replica.participants.items():
        base = participant.base
        if base is not None and base.claim is not None and base.claim.id == event.claim:
            replica, adopted = _adopt(replica, who, here)
            effects += adopted
    return replica, effects


# Requests that wait


def _pending_of(replica: Replica, who: int) -> list[bytes]:
    """Return the claims that a participant waits for."""
    return [claim for claim, each in requests_of(replica, Pending).items() if each.who == who]


def _void(replica: Replica, here: Here) -> list[bytes]:
    """Return the claims that are waited for though nobody waits for the answer any more."""
    return [
        claim
        for claim, each in requests_of(replica, Pending).items()
        if each.number != held(replica, each.who, here).session.number
    ]


def _denied(replica: Replica, claims: Iterable[bytes], problem: Problem) -> Exchanged:
    """Let requests that wait for a claim fail: they certainly aren't sent."""
    pending, claims = requests_of(replica, Pending), tuple(claims)
    failed = {each: Failed(pending[each].number, Kind.TRANSIENT, problem) for each in claims}
    return without_requests(replica, claims), tuple(Deny(*each) for each in failed.items())


def _is_same(one: Shared | None, other: Shared | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.stamp == other.stamp
