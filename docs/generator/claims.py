"""What a profile of a fleet may be doing, found by trying every event on the real `exchange`.

What is tried: from a profile that has joined on, which is to log in or to refresh, each event; and again from every replica
that this leads to which differs in more than numbers. The row is what this host wrote last, or what another made of that.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from itertools import count
from math import inf
from typing import Final

from generator.states import LIFETIME, POLICY
from openfit_token._shared.secret import Secret
from openfit_token.errors import Unavailable
from openfit_tokend.core.budget import Fingerprint, Ledger
from openfit_tokend.core.events import Event as SessionEvent
from openfit_tokend.core.events import (
    Failed,
    Grant,
    Granted,
    Kind,
    LoginOrdered,
    LogoutOrdered,
    NewTokenWanted,
    Woken,
)
from openfit_tokend.core.fleet.clocks import Offset
from openfit_tokend.core.fleet.exchange import exchange, owes
from openfit_tokend.core.fleet.messages import (
    Doubted,
    Effect,
    Ended,
    Event,
    Feed,
    Joined,
    Left,
    Ordered,
    ReadRow,
    RowRead,
    Turn,
    Unreached,
    Wanted,
    Withhold,
    WriteRow,
    Written,
)
from openfit_tokend.core.fleet.replica import (
    Held,
    Here,
    InFlight,
    Pending,
    Replica,
    claim_of,
    requests_of,
    shared_by,
)
from openfit_tokend.core.fleet.row import Claim, Row, Shared, claiming, published
from openfit_tokend.core.moment import Moment
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import (
    Login,
    Requesting,
    Session,
    logged_out_session,
    new_session,
)
from openfit_tokend.core.step import step

WHO: Final = 1
KEY: Final = b"k" * 32
SALT: Final = b"s" * 16
AT: Final = Moment(1000.0, chance=0.0)
AWAY: Final = Problem(Unavailable, "", None, AT.now)
_numbers = count(1)


class Doing(StrEnum):
    """What a profile is doing, as its host's replica has it."""

    RESTING = "resting"
    WANTING = "wanting"
    IN_FLIGHT = "in flight"
    SUPERSEDED = "superseded"
    TELLING = "telling"
    LEAVING = "leaving"
    GONE = "gone"


class Word(StrEnum):
    """What happened."""

    WANTED = "wanted"
    TURN = "store's turn"
    OTHER = "another wrote"
    AWAY = "store away"
    ENDED = "its end"
    LOGIN = "login"
    LOGOUT = "logout"
    LEFT = "removed"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the profile is."""

    replica: Replica
    session: Session


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """One way from what a profile is doing to what it does then."""

    before: Doing
    word: Word
    after: Doing


def doing(replica: Replica) -> Doing:
    """Return what the profile is doing."""
    participant = replica.participants.get(WHO)
    if participant is None:
        return Doing.GONE
    if participant.left is not None:
        return Doing.LEAVING
    requests = [*replica.requests.values()]
    flying = [each for each in requests if isinstance(each, InFlight)]
    if any(isinstance(each, Pending) for each in requests):
        return Doing.WANTING
    if not all(each.superseded for each in flying):
        return Doing.IN_FLIGHT
    if flying:
        return Doing.SUPERSEDED
    return Doing.TELLING if owes(replica) else Doing.RESTING


@cache
def edges() -> frozenset[Edge]:
    """Return all ways."""
    found: set[Edge] = set()
    joined, _ = _taken(Place(Replica("us"), new_session(AT.now)), Joined(WHO, KEY))
    waiting, seen = [joined], {_kind(joined)}
    while waiting:
        place = waiting.pop()
        for word, after in _ways(place):
            found.add(Edge(doing(place.replica), word, doing(after.replica)))
            if (kind := _kind(after)) not in seen:
                seen.add(kind)
                waiting.append(after)
    return frozenset(found)


def _ways(place: Place) -> Iterator[tuple[Word, Place]]:
    if WHO not in place.replica.participants:
        return
    yield Word.TURN, _after_turn(place)
    yield Word.AWAY, _taken(place, Unreached(AWAY))[0]
    for row in _rows_of_others(place):
        yield Word.OTHER, _taken(_taken(place, Doubted())[0], RowRead(row))[0]
    yield from _ends(place)
    if doing(place.replica) is Doing.LEAVING:
        return
    yield Word.LEFT, _taken(place, Left(WHO))[0]
    for word, order in ((Word.LOGIN, LoginOrdered()), (Word.LOGOUT, LogoutOrdered())):
        yield word, _fed(_taken(place, Ordered(WHO, order))[0], order)
    if isinstance(place.session.doing, Requesting):
        if claim_of(place.replica, WHO, place.session.number) is None:
            yield Word.WANTED, _wanted(place)
    else:
        due = _due(place.session)
        if isinstance(due.doing, Requesting):
            yield Word.WANTED, _wanted(replace(place, session=due))


def _wanted(place: Place) -> Place:
    session = place.session
    assert isinstance(session.doing, Requesting)  # noqa: S101 -- that is looked at before
    request, claim = session.doing.request, next(_numbers).to_bytes(16)
    made = (SALT, Fingerprint(1)) if isinstance(request, Login) else None
    return _taken(place, Wanted(claim, WHO, session.number, request, made))[0]


def _due(session: Session) -> Session:
    """Return a session once its token is due, or is wanted."""
    access = session.access
    now = AT if access is None else replace(AT, now=access.due)
    return step(session, NewTokenWanted() if access is None else Woken(), now, POLICY)[0]


def _ends(place: Place) -> Iterator[tuple[Word, Place]]:
    for request in requests_of(place.replica, InFlight).values():
        if request.superseded and doing(place.replica) is not Doing.SUPERSEDED:
            continue  # it is of the past
        number = request.number
        grant = Grant(Secret("a"), f"a{next(_numbers)}", LIFETIME, Secret(f"r{next(_numbers)}"), "")
        yield Word.ENDED, _ended(place, Granted(number, AT.now, grant))
        for kind in (Kind.TRANSIENT, Kind.UNCERTAIN, Kind.GRANT_REJECTED, Kind.UNSENT):
            yield Word.ENDED, _ended(place, Failed(number, kind, AWAY))


def _ended(place: Place, event: Granted | Failed) -> Place:
    after, effects = _taken(place, Ended(WHO, event))
    return after if Withhold() in effects else _fed(after, event)


def _after_turn(place: Place) -> Place:
    """Let the store be read and written until there is nothing left to do."""
    while True:
        place, effects = _taken(place, Turn(next(_numbers).to_bytes(16), Ledger(), SALT))
        match effects:
            case [*_, ReadRow()]:
                place, _ = _taken(place, RowRead(place.replica.row))
            case [*_, WriteRow() as write]:
                return _taken(place, Written(write, AT.now))[0]
            case _:
                return place


def _rows_of_others(place: Place) -> Iterator[Row]:
    """Yield what another host may make of the row: a claim, what came of one, a logout."""
    tag = next(_numbers).to_bytes(16)
    row = place.replica.row or Row(b"", SALT, Ledger(), {})
    shared = shared_by(place.replica, WHO)
    session = new_session(AT.now) if shared is None else shared.session
    due = _due(session)
    sessions = [Shared(logged_out_session(AT.now), None, "other", tag)]
    if isinstance(due.doing, Requesting):
        grant = Grant(Secret("b"), f"b{next(_numbers)}", LIFETIME, Secret(f"s{next(_numbers)}"), "")
        fresh, _ = step(due, Granted(due.number, AT.now, grant), AT, POLICY)
        sessions.append(Shared(claiming(due), Claim(tag, "other"), "other", tag))
        sessions.append(Shared(published(fresh, AT.now), None, "other", tag))
    for each in sessions:
        yield replace(row, tag=tag, sessions={**row.sessions, KEY: each})


def _taken(place: Place, event: Event) -> tuple[Place, tuple[Effect, ...]]:
    here = Here(AT, Offset(0.0, 0.0, AT.now), {WHO: Held(place.session, POLICY)})
    replica, effects = exchange(place.replica, event, here)
    after = Place(replica, place.session)
    for effect in effects:
        if isinstance(effect, Feed):
            after = _fed(after, effect.event)
    return after, effects


def _fed(place: Place, event: SessionEvent) -> Place:
    session, _ = step(place.session, event, AT, POLICY)
    return replace(place, session=session)


def _kind(place: Place) -> object:
    """Return what tells a replica from others in more than numbers."""
    replica, session = place.replica, place.session
    participant = replica.participants.get(WHO)
    shared = None if participant is None else shared_by(replica, WHO)
    claim = None if shared is None else shared.claim
    return (
        doing(replica),
        {type(each.request) for each in requests_of(replica, InFlight).values()} == {Login},
        replica.known,
        claim and claim.id in replica.own,
        shared and type(shared.session.doing),
        participant and (type(participant.untold), participant.base == shared),
        type(session.doing),
        isinstance(session.doing, Requesting) and type(session.doing.request),
        session.access is None,
        session.bar is not None and session.bar.until == inf,
    )


def table(found: frozenset[Edge]) -> str:
    """Return all ways as a table: while doing this, after an event, what may be done then."""
    rows = [["while", *Word], ["---"] * (1 + len(Word))]
    for before in Doing:
        if before is Doing.GONE:
            continue
        row = [before.value]
        for word in Word:
            after = [each for each in Doing if Edge(before, word, each) in found]
            row.append("" if after == [before] else ", ".join(after))
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
