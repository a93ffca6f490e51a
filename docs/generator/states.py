"""The states a profile goes through, found by trying every event on the real `step`.

What is tried: from a new profile on, each event at each moment that could make a difference, and
again from every session that this leads to which differs in more than numbers. So the diagram
can't say what the code doesn't do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import product
from math import inf
from typing import Final

from openfit_token._shared.secret import Secret
from openfit_token.errors import (
    BudgetSpent,
    ClientRejected,
    LoginRejected,
    SecretUnavailable,
    TokenError,
    Unavailable,
)
from openfit_tokend.core.events import (
    Event,
    Failed,
    Grant,
    Granted,
    Kind,
    LoginOrdered,
    LogoutOrdered,
    NewTokenWanted,
    OverBudget,
    Reconfigured,
    ServerReached,
    Woken,
)
from openfit_tokend.core.moment import Moment
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import (
    MAX_UNCLEAR,
    Idle,
    Login,
    Refresh,
    Requesting,
    Session,
    State,
    doubtful,
    logged_out_session,
    new_session,
    state,
    wake_at,
)
from openfit_tokend.core.step import step

POLICY: Final = Policy(refresh_before=300.0, refresh_token_lifetime=100_000.0)
LIFETIME: Final = 3600.0
"""Seconds of each token tried."""


class Word(StrEnum):
    """What happened, as the diagram has it."""

    TIME = "time passes"
    WANTED = "a client wants a new token"
    GRANTED = "a token comes"
    FAILED = "the request fails"
    REJECTED = "it is rejected"
    UNSENT = "it can't be sent"
    LOGIN = "login"
    LOGOUT = "logout"
    RELOAD = "reload"


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """One way from a state to another (or to itself)."""

    before: State
    word: Word
    after: State


_WORDS: Final[Mapping[type[Event], Word]] = {
    Woken: Word.TIME,
    ServerReached: Word.TIME,  # it makes due what is to be tried again
    NewTokenWanted: Word.WANTED,
    Granted: Word.GRANTED,
    LoginOrdered: Word.LOGIN,
    LogoutOrdered: Word.LOGOUT,
    Reconfigured: Word.RELOAD,  # Adopted has no word: it leads from any state to any other
}


def word_of(event: Event) -> Word:
    """Return the diagram's word for an event."""
    match event:
        case Failed(kind=Kind.GRANT_REJECTED | Kind.CLIENT_REJECTED):
            return Word.REJECTED
        case Failed(kind=OverBudget() | Kind.SECRET_UNAVAILABLE):
            return Word.UNSENT
        case Failed():
            return Word.FAILED
        case _:
            return _WORDS[type(event)]


@cache
def edges() -> frozenset[Edge]:
    """Return all ways from state to state."""
    found: set[Edge] = set()
    begun = (new_session(0.0), logged_out_session(0.0))
    seen = {_kind(session, 0.0) for session in begun}
    waiting = [(session, 0.0) for session in begun]
    while waiting:
        session, since = waiting.pop()
        for now in _moments(session, since):
            found.add(Edge(state(session, since), Word.TIME, state(session, now)))
            for event in _events(session, now):
                after, _effects = step(session, event, Moment(now, chance=0.0), POLICY)
                found.add(Edge(state(session, now), word_of(event), state(after, now)))
                if (kind := _kind(after, now)) not in seen:
                    seen.add(kind)
                    waiting.append((after, now))
    return frozenset(found)


def _moments(session: Session, since: float) -> Iterator[float]:
    """Return the moments from which on a session could answer otherwise."""
    yield since
    access, bar, doing = session.access, session.bar, session.doing
    ends = [wake_at(session)]
    if isinstance(doing, Idle):
        ends.append(doing.due)
    if access is not None:
        ends += [access.due, access.expires]
    if bar is not None:
        ends.append(bar.until)
    if session.refresh is not None:
        ends.append(session.refresh.since + POLICY.refresh_token_lifetime)
    yield from {end for end in ends if since < end < inf}


def _events(session: Session, now: float) -> Iterator[Event]:
    yield from (Woken(), NewTokenWanted())
    yield from (LoginOrdered(), LoginOrdered(Secret("given")), LogoutOrdered())
    yield from (Reconfigured(), Reconfigured(schedule=True), Reconfigured(identity=True))
    if isinstance(session.doing, Requesting):
        for refresh_token in (None, Secret("r")):
            for lifetime in (LIFETIME, 0.0):
                grant = Grant(Secret("a"), f"{session.number}", lifetime, refresh_token, "")
                yield Granted(session.number, now, grant)
        for kind, error in _failures(session.doing.request, now):
            yield Failed(session.number, kind, Problem(error, "", None, now))


def _failures(
    request: Login | Refresh, now: float
) -> Iterator[tuple[Kind | OverBudget, type[TokenError]]]:
    yield from ((kind, Unavailable) for kind in (Kind.TRANSIENT, Kind.UNCERTAIN, Kind.UNCLEAR))
    yield Kind.CLIENT_REJECTED, ClientRejected
    match request:
        case Refresh():
            yield Kind.GRANT_REJECTED, Unavailable
        case Login(given=Secret()):
            yield Kind.GRANT_REJECTED, LoginRejected
        case Login():
            yield Kind.GRANT_REJECTED, LoginRejected
            yield Kind.SECRET_UNAVAILABLE, SecretUnavailable
            yield OverBudget(inf, known=True), BudgetSpent
            yield OverBudget(now + 900.0, known=False), BudgetSpent


def _kind(session: Session, now: float) -> object:
    """Return what tells a session from others in more than numbers."""
    refresh, bar, access, doing = session.refresh, session.bar, session.access, session.doing
    request = doing if isinstance(doing, Requesting) else None
    return (
        state(session, now),
        type(doing),
        request and (type(request.request), _given(request.request), request.login_after),
        access and (now < access.due, now < access.expires),
        refresh and (doubtful(refresh, now, POLICY), min(refresh.unclear, MAX_UNCLEAR)),
        bar and (bar.error.raises, bar.until == inf, bar.until <= now),
        session.error and session.error.raises,
        session.failures > 0,
    )


def _given(request: Login | Refresh) -> bool:
    return isinstance(request, Login) and request.given is not None


_SHORT: Final = {
    Word.TIME: "time",
    Word.WANTED: "wanted",
    Word.GRANTED: "token",
    Word.FAILED: "failed",
    Word.REJECTED: "rejected",
    Word.UNSENT: "unsent",
    Word.LOGIN: "login",
    Word.LOGOUT: "logout",
    Word.RELOAD: "reload",
}
"""As short as an arrow's label or a column's head must be."""
_NOT_DRAWN: Final = frozenset({Word.LOGOUT, Word.RELOAD})


def diagram(found: frozenset[Edge]) -> str:
    """Return the states and the ways between them, as a Mermaid diagram."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> empty"]
    for before, after in product(State, State):
        words = [
            _SHORT[word]
            for word in Word
            if Edge(before, word, after) in found and word not in _NOT_DRAWN
        ]
        if words and before is not after:
            lines.append(f"    {before} --> {after}: {', '.join(words)}")
    return "\n".join([*lines, "```"])


def table(found: frozenset[Edge]) -> str:
    """Return all ways as a table: in a state, after an event, the states that may come of it."""
    rows = [["in", *_SHORT.values()], ["---"] * (1 + len(_SHORT))]
    for before in State:
        row = [f"`{before}`"]
        for word in _SHORT:
            after = [state for state in State if Edge(before, word, state) in found]
            row.append("" if after == [before] else ", ".join(f"`{each}`" for each in after))
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
