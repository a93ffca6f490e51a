"""What is written into a row: ended claims off, outcomes in, claims of one's own on.

What may be sent, what a login counts as, and which token others get is for the rest of the core to say.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import assert_never

from openfit_tokend.core import budget, problems
from openfit_tokend.core.budget import Attempt, Fingerprint, Go, Ledger, Wait, lost
from openfit_tokend.core.events import Failed, OverBudget
from openfit_tokend.core.fleet.clocks import moved, moved_access
from openfit_tokend.core.fleet.messages import (
    Deny,
    Exchanged,
    PutOff,
    Turn,
    WriteRow,
)
from openfit_tokend.core.fleet.replica import (
    Answered,
    Here,
    InFlight,
    Known,
    Outcome,
    Pending,
    Replica,
    Untold,
    claims_in,
    has_ended,
    held,
    is_idle,
    remembering,
    requests_of,
    without_requests,
)
from openfit_tokend.core.fleet.row import (
    REMEMBERED,
    SEND_BY,
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
from openfit_tokend.core.session import Refresh


def write_row(replica: Replica, turn: Turn, here: Here) -> Exchanged:
    """Write what is to be: ended claims off, outcomes in, claims of one's own on."""
    old = replica.row
    row = Row(b"", turn.salt) if old is None else old
    ledger = replace(turn.ledger, under_way=())
    if old is not None:
        ledger = _ledger(replica, old, here)
    ledger, done = with_answers(replica, ledger, row.done, here.now)
    ledger, claims, refused = _claimed(replica, ledger, turn, here)
    replica = without_requests(replica, (each.claim for each in refused))
    sessions = _without_ended(replica, row, turn.tag, here)
    took_over = sessions != dict(row.sessions)
    _forget_abandoned(sessions, replica, here)
    told, back = dict[int, Untold](), set[int]()
    by_who = {replica.requests[claim].who: claim for claim in claims}
    for who, participant in replica.participants.items():
        shared, claim = sessions.get(participant.key), by_who.get(who)
        if claim is not None or participant.untold is not None:
            ledger = _replaced(replica, shared, ledger, here)
            made = None if claim is None else _claim(replica, claim, claims[claim], here)
            sessions[participant.key] = _to_share(replica, who, made, turn.tag, here)
            told[who] = participant.untold
        elif shared is not None and is_idle(replica, who):
            after = taken_back(shared.session, here.store)
            sessions[participant.key] = Shared(after, None, replica.member, turn.tag)
            back.add(who)
    counted = frozenset(requests_of(replica, Answered))
    if not (told or back or counted or _is_to_be_written_anew(replica, here)):
        return mirrored(_without_gone(replica), here), refused
    stamps, stored = replica.stamps.to_store(ledger, here.offset.middle)
    write = WriteRow(
        old_tag=None if old is None else old.tag,
        row=Row(turn.tag, row.salt, replace(stored, under_way=()), sessions, done),
        claims=claims,
        told=told,
        taken_back=frozenset(back),
        counted=counted,
        send_by=here.now + SEND_BY,
        took_over=took_over,
    )
    own = remembering(replica.own, {claim: who for who, claim in by_who.items()})
    return replace(replica, known=Known.DOUBTED, stamps=stamps, own=own), (*refused, write)


def _claimed(
    replica: Replica, ledger: Ledger, turn: Turn, here: Here
) -> tuple[Ledger, Mapping[bytes, Attempt | None], tuple[PutOff | Deny, ...]]:
    """Return what may be claimed now, the ledger with it, and what becomes of the others."""
    claims, refused = dict[bytes, Attempt | None](), list[PutOff | Deny]()
    for claim, pending in requests_of(replica, Pending).items():
        if isinstance(pending.request, Refresh) or pending.request.given is not None:
            claims[claim] = None
            continue
        salt, fingerprint = pending.fingerprint or (b"", Fingerprint(0))
        if salt != (turn.salt if replica.row is None else replica.row.salt):
            refused.append(PutOff(claim, at_once=True))
            continue
        announced = max(ledger.announced, turn.ledger.announced)
        known = replace(ledger, announced=announced)
        asked = budget.ask(known, fingerprint, here.now, insisted=pending.request.insisted)
        match asked:
            case Go():
                ledger, claims[claim] = asked.ledger, asked.attempt
            case Wait():
                refused.append(PutOff(claim))
            case OverBudget(until):
                problem = problems.over_budget(until, here.now)
                refused.append(Deny(claim, Failed(pending.number, asked, problem)))
            case _:
                assert_never(asked)
    return ledger, claims, tuple(refused)


def with_answers(
    replica: Replica, ledger: Ledger, done: tuple[bytes, ...], now: float
) -> tuple[Ledger, tuple[bytes, ...]]:
    """Count the logins that were answered, each once. `done`: those that are counted."""
    for claim, answered in requests_of(replica, Answered).items():
        if claim not in done:  # else the answer to the write that counted it was lost
            done = (*done, claim)[-REMEMBERED:]
            ledger = settled(ledger, answered.attempt, answered.kind, now)
    return ledger, done


def _replaced(replica: Replica, shared: Shared | None, ledger: Ledger, here: Here) -> Ledger:
    """Return the ledger when something else takes the place of this: its login may be rejected yet.

    It counts as lost until whoever sent it has it counted.
    """
    claim = None if shared is None else shared.claim
    attempt = None if claim is None else _attempt(replica, claim, here)
    if attempt is None or attempt not in ledger.under_way:
        return ledger
    under_way = list(ledger.under_way)
    under_way.remove(attempt)
    return lost(replace(ledger, under_way=tuple(under_way)), attempt.fingerprint, here.now)


def _claim(replica: Replica, claim: bytes, attempt: Attempt | None, here: Here) -> Claim:
    if attempt is None:
        return Claim(claim, replica.member)
    stored = replace(attempt, sent=attempt.sent + here.offset.middle)
    return Claim(claim, replica.member, attempt=stored)


def _to_share(replica: Replica, who: int, claim: Claim | None, tag: bytes, here: Here) -> Shared:
    """Return what is written of a participant, in moments of the store."""
    participant, session = replica.participants[who], held(replica, who, here).session
    session = published(session, here.now) if claim is None else claiming(session)
    base, untold = participant.base, participant.untold
    outcome = untold if isinstance(untold, Outcome) else Outcome(-1, -inf)
    access = shared_token(
        None if session.access is None else moved_access(session.access, here.offset.low),
        None if base is None else base.session.access,
        outcome.number,
        outcome.claimed_at,
    )
    stored = replace(moved(session, here.offset.middle), access=access)
    stored = without_unsent(stored, None if base is None else base.session)
    return Shared(stored, claim, replica.member, tag)


def _without_ended(replica: Replica, row: Row, tag: bytes, here: Here) -> dict[bytes, Shared]:
    """Return the row's sessions, those given up whose claims are over."""
    return {
        key: Shared(given_up(shared.session, shared.by, here.store), None, replica.member, tag)
        if shared.claim is not None and has_ended(replica, shared.claim, here.now)
        else shared
        for key, shared in row.sessions.items()
    }


def _forget_abandoned(sessions: dict[bytes, Shared], replica: Replica, here: Here) -> None:
    """Leave out sessions that no profile of this host has, and no other has used for long."""
    own = {each.key for each in replica.participants.values()}
    policies = (held(replica, who, here).policy for who in replica.participants)
    lifetime = max((each.refresh_token_lifetime for each in policies), default=inf)
    for key, shared in list(sessions.items()):
        if key not in own and is_abandoned(shared, here.store, lifetime):
            del sessions[key]


def _is_to_be_written_anew(replica: Replica, here: Here) -> bool:
    """Return whether a row is to be written though nothing came to pass."""
    if replica.row is None:
        return False
    read = replica.stamps.to_host(replica.row.ledger)
    return (
        replica.reseal
        or replica.stamps.misfit(replica.row.ledger, here.offset.middle)
        or _recalled(replica, replica.row, here.now) != read
    )


# The ledger


def _ledger(replica: Replica, row: Row, here: Here) -> Ledger:
    """Return the row's ledger in moments of this host, with the logins that are under way."""
    ledger, under_way = _recalled(replica, row, here.now), list[Attempt]()
    for _, claim in claims_in(row):
        if claim.attempt is None or claim.id in row.done:
            continue
        attempt = _attempt(replica, claim, here)
        if attempt is not None:
            under_way.append(attempt)
        elif claim.id not in replica.own:  # its term is over
            ledger = lost(ledger, claim.attempt.fingerprint, here.now)
    return replace(ledger, under_way=tuple(under_way))


def _attempt(replica: Replica, claim: Claim, here: Here) -> Attempt | None:
    """Return a claim's login in moments of this host; None: it was never sent, or its term is over."""
    request = replica.requests.get(claim.id)
    if isinstance(request, InFlight | Answered):
        return request.attempt
    if claim.attempt is None or claim.id in replica.own or has_ended(replica, claim, here.now):
        return None
    return replace(claim.attempt, sent=claim.attempt.sent - here.offset.middle)


def _recalled(replica: Replica, row: Row, now: float) -> Ledger:
    """Return the row's ledger with what it forgot, if it was put back."""
    read = replica.stamps.to_host(row.ledger)
    return recalled(read, replica.counted, now) if row.salt == replica.salt else read


def mirrored(replica: Replica, here: Here) -> Replica:
    """Know the row's ledger in moments of this host."""
    row = replica.row
    if row is None:
        return replica
    return replace(replica, counted=_ledger(replica, row, here), salt=row.salt)


def _without_gone(replica: Replica) -> Replica:
    """Forget the participants that have left, now that nothing of them is left to tell."""
    flying = {each.who for each in replica.requests.values() if isinstance(each, InFlight)}
    stay = {
        who: each
        for who, each in replica.participants.items()
        if each.left is None or each.untold is not None or who in flying
    }
    return replace(replica, participants=stay)
