"""Sessions as they are really reached: by random events from a session's beginning."""

from dataclasses import dataclass, replace
from math import inf

from hypothesis import strategies as st

from made import access, grant, problem, refresh
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
    Adopted,
    Effect,
    Event,
    Failed,
    Granted,
    Kind,
    LoginOrdered,
    LogoutOrdered,
    NewTokenWanted,
    OverBudget,
    Reconfigured,
    Send,
    ServerReached,
    Woken,
)
from openfit_tokend.core.fleet.row import published
from openfit_tokend.core.moment import Moment
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import (
    Bar,
    Idle,
    Login,
    Refresh,
    Requesting,
    Session,
    Stopped,
    logged_out_session,
    new_session,
    wake_at,
)
from openfit_tokend.core.step import step

TOLD: dict[Kind, type[TokenError]] = {
    Kind.TRANSIENT: Unavailable,
    Kind.UNSENT: Unavailable,
    Kind.UNCERTAIN: Unavailable,
    Kind.UNCLEAR: Unavailable,
    Kind.CLIENT_REJECTED: ClientRejected,
    Kind.SECRET_UNAVAILABLE: SecretUnavailable,
}
"""What callers are told of a failure; a rejected grant depends on the request."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One step of a walk."""

    before: Session
    event: Event
    moment: Moment
    policy: Policy
    after: Session
    effects: tuple[Effect, ...]

    @property
    def answers(self) -> bool:
        """Return whether the event is the answer that the session waits for."""
        return (
            isinstance(self.event, Granted | Failed)
            and isinstance(self.before.doing, Requesting)
            and self.event.number == self.before.number
        )

    @property
    def sends(self) -> tuple[Send, ...]:
        return tuple(effect for effect in self.effects if isinstance(effect, Send))


LIFETIMES = st.sampled_from([0.5, 2.0, 8.0, 60.0, 3600.0, 30 * 86400.0])
GAPS = st.sampled_from([0.0, 0.3, 1.0, 5.0, 10.0, 60.0, 450.0, 1000.0, 86400.0])
CHANCES = st.sampled_from([0.0, 0.5, 0.999])
POLICIES = st.builds(
    Policy,
    refresh_before=st.sampled_from([2.0, 300.0, 7200.0]),
    refresh_token_lifetime=st.sampled_from([3600.0, 30 * 86400.0]),
)


@st.composite
def grants(draw: st.DrawFn, session: Session, asked: float, now: float) -> Granted:
    """Return an answer with a token. Values are as new as their request, as real ones are."""
    sent = draw(st.sampled_from([asked, now]))
    value = None if draw(st.integers(0, 4)) == 0 else f"r{session.number}"
    brought = grant(f"a{session.number}", lifetime=draw(LIFETIMES), refresh_token=value)
    return Granted(session.number, sent, brought)


@st.composite
def failures(draw: st.DrawFn, session: Session, now: float) -> Failed:
    assert isinstance(session.doing, Requesting)
    request = session.doing.request
    login = isinstance(request, Login) and request.given is None
    retry_after = draw(st.sampled_from([None, None, 0.0, 30.0, 1e6]))
    if login and draw(st.integers(0, 5)) == 0:
        known = draw(st.booleans())
        until = inf if known else now + draw(GAPS)
        return Failed(session.number, OverBudget(until, known), problem(BudgetSpent, now))
    kind = draw(
        st.sampled_from([kind for kind in Kind if login or kind is not Kind.SECRET_UNAVAILABLE])
    )
    told = TOLD.get(kind, LoginRejected if login else Unavailable)
    return Failed(session.number, kind, problem(told, now), retry_after)


@st.composite
def others(draw: st.DrawFn, session: Session, now: float) -> Event:
    """Return anything but the answer that the session waits for."""
    if draw(st.integers(0, 5)) == 0:
        return Adopted(draw(shared_sessions(session, now)))
    void = draw(st.integers(0, session.number)) - 1
    choices: list[Event] = [
        Woken(),
        Woken(),
        Woken(),
        NewTokenWanted(),
        NewTokenWanted(),
        NewTokenWanted(),
        ServerReached(),
        LoginOrdered(),
        LoginOrdered(Secret("given")),
        LogoutOrdered(),
        Reconfigured(),
        Reconfigured(schedule=True),
        Reconfigured(identity=True),
        Granted(void, now, grant("void", refresh_token="void")),
        Failed(void, Kind.GRANT_REJECTED, problem(at=now)),
    ]
    return draw(st.sampled_from(choices))


@st.composite
def shared_sessions(draw: st.DrawFn, session: Session, now: float) -> Session:
    """Return what another daemon of the fleet may have written, by a clock that may be wrong.

    Numbers grow along the row. Of what was brought here, the others know what was published.
    """
    number = session.number + draw(st.integers(0, 3))
    if draw(st.integers(0, 3)) == 0:
        return replace(published(session, now), number=number)
    off = draw(st.sampled_from([0.0, 0.0, 0.0, -100.0, 100.0, 1e5]))
    at = now + off - draw(GAPS)
    held = refresh(f"s{number}", since=at, lost=draw(st.integers(0, 2)))
    token = access(f"b{number}", number=number, sent=at, lifetime=draw(LIFETIMES), obtained=at)
    error = problem(at=at)
    shared = Session(
        doing=Idle(at + draw(GAPS)),
        access=draw(st.sampled_from([token, session.access, None])),
        refresh=draw(st.sampled_from([held, session.refresh, None])),
        number=number,
        ended=at,
    )
    locked = Bar(inf, problem(LoginRejected, at))
    barred = Bar(at + draw(GAPS), error, count=1)
    failing = replace(shared, failures=draw(st.integers(1, 12)), error=error)
    choices = [
        shared,
        shared,
        failing,
        replace(failing, bar=barred),
        replace(shared, doing=Requesting(Login())),
        logged_out_session(at),
    ]
    if shared.refresh is None:
        choices.append(replace(failing, doing=Stopped(), bar=locked))
    else:
        choices.append(replace(shared, bar=locked))
        choices.append(replace(shared, doing=Requesting(Refresh(shared.refresh.value))))
    return draw(st.sampled_from(choices))


@st.composite
def walks(draw: st.DrawFn) -> tuple[Taken, ...]:
    """Return the steps of a session from its beginning."""
    now = asked = draw(st.sampled_from([0.0, 1234.5, 1e8 + 0.1]))
    session = draw(st.sampled_from([new_session(now), new_session(now), logged_out_session(now)]))
    policy = draw(POLICIES)
    taken: list[Taken] = []
    for _ in range(draw(st.integers(1, 25))):
        to_wake = draw(st.booleans()) and now < wake_at(session) < inf
        now = wake_at(session) if to_wake else now + draw(GAPS)
        event = draw(events(session, asked, now))
        moment = Moment(now, draw(CHANCES))
        after, effects = step(session, event, moment, policy)
        taken.append(Taken(session, event, moment, policy, after, effects))
        asked = now if taken[-1].sends else asked
        session = after
    return tuple(taken)


@st.composite
def events(draw: st.DrawFn, session: Session, asked: float, now: float) -> Event:
    if not isinstance(session.doing, Requesting) or draw(st.integers(0, 3)) == 0:
        return draw(others(session, now))
    if draw(st.booleans()):
        return draw(grants(session, asked, now))
    return draw(failures(session, now))
