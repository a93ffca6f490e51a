"""The answer to a call: a token, an error, or nothing yet.

If the session holds no suitable token, it is told that one is wanted, and then the call is
answered or waits. A waiting call is looked at again after every step that changed the session, and
at its deadline.
"""

from dataclasses import replace
from typing import assert_never

from openfit_token._shared.frozen import frozen
from openfit_token.errors import (
    BudgetSpent,
    MinTtl,
    TimedOut,
    TokenError,
    Unavailable,
)
from openfit_tokend.core.events import Adopted, Event, Failed, Granted
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.schedule import RECENT
from openfit_tokend.core.session import (
    AccessToken,
    Idle,
    Login,
    Requesting,
    Session,
    Stopped,
    client_rejected,
    is_logged_out,
    last_error,
    live,
    secret_missing,
    token_number,
)


@frozen
class Get:
    """A call for a live token, with at least `min_ttl` seconds left where that is given."""

    min_ttl: float | None = None


@frozen
class Refuse:
    """A call for a token with another id than this, which the API refused."""

    id: str


@frozen
class Renew:
    """A call for a token that arrived at most RECENT seconds before the call, or after it."""

    asked_at: float


@frozen
class LogIn:
    """A call for the outcome of the login that it ordered: the first numbered `number` or higher."""

    number: int


@frozen
class Live:
    """Wants a live token, whatever goes wrong until there is one."""


Call = Get | Refuse | Renew | LogIn | Live
"""A call that may have to wait."""


@frozen
class LoginEnded:
    """A login has ended. `error` None: it brought a token."""

    number: int
    error: Problem | None


Answer = AccessToken | TokenError | None
"""None: wait."""


def answer(
    session: Session, call: Call, deadline: float, now: float, ended: LoginEnded | None = None
) -> Answer:
    """Return the answer to a call, by what is known now; `ended`: a login that has just ended."""
    match call:
        case LogIn(number):
            return _login_answer(session, number, deadline, now, ended)
        case Get() | Refuse() | Renew():
            return token_for(session, call, now) or _refusal(session, deadline, now)
        case Live():
            return live(session, now)
        case _:
            assert_never(call)


def tried_by(session: Session, moment: float) -> Session:
    """Return the session as callers are to see it whose server is tried again at this moment."""
    if not isinstance(session.doing, Idle):
        return session
    return replace(session, doing=Idle(min(session.doing.due, moment)))


def token_for(
    session: Session, call: Get | Refuse | Renew, now: float
) -> AccessToken | MinTtl | None:
    """Return the token that fulfils the call, or the error if none ever will; None: not now."""
    access = live(session, now)
    if access is None:
        return None
    match call:
        case Get(min_ttl):
            if min_ttl is None or access.expires - now >= min_ttl:
                return access
            whole = access.expires - access.obtained
            return _min_ttl(min_ttl, whole) if whole < min_ttl else None
        case Refuse(refused):
            return access if access.id != refused else None
        case Renew(asked_at):
            return access if access.obtained >= asked_at - RECENT else None
        case _:
            assert_never(call)


def is_news(before: Session, after: Session) -> bool:
    """Return whether a waiting call may be answerable after a step. That a token is wanted doesn't matter."""
    return replace(before, wanted=False) != replace(after, wanted=False)


def login_call(session: Session) -> LogIn:
    """Return the call of an operator whose order `session` has already taken."""
    doing = session.doing
    assert isinstance(doing, Requesting)  # every LoginOrdered ends there
    return LogIn(session.number if isinstance(doing.request, Login) else session.number + 1)


def ended_login(before: Session, event: Event, after: Session) -> LoginEnded | None:
    """Return the login that this step ended, unless another followed at once."""
    number = before.number
    match before.doing, event:
        case Requesting(Login()), Granted(answered) | Failed(answered) if answered == number:
            pass
        case Requesting(Login()), Adopted():
            pass
        case _:
            return None
    match after.doing:
        case Requesting(Login()) | Requesting(login_after=Login()):
            return None
        case _:
            pass
    if isinstance(event, Adopted):
        return _adopted_end(before, after)
    if isinstance(event, Failed):
        return LoginEnded(number, event.error)
    arrived = after.access is not None and after.access.number == number
    return LoginEnded(number, None if arrived else after.error)


def _adopted_end(before: Session, after: Session) -> LoginEnded | None:
    """Return how a login ended by what another daemon of the fleet wrote, if that says it."""
    if token_number(after) > token_number(before):
        return LoginEnded(before.number, None)
    error = last_error(after)
    return None if error is None else LoginEnded(before.number, error)


def _login_answer(
    session: Session, number: int, deadline: float, now: float, ended: LoginEnded | None
) -> Answer:
    if ended is not None and ended.number >= number:
        if ended.error is not None:
            return _told_operator(ended.error, session, now)
        return live(session, now) or _unknown(session, now)
    if isinstance(session.doing, Stopped) and is_logged_out(session):
        return _known(session, now)
    if now >= deadline:
        return TimedOut("the login didn't end in time", "it continues: see openfit-token status")
    return None


def _refusal(session: Session, deadline: float, now: float) -> TokenError | None:
    match session.doing:
        case Stopped():
            return _known(session, now)
        case Idle() if client_rejected(session) or secret_missing(session):
            return _known(session, now)
        case Idle(due) if due > deadline:
            return _known(session, now)
        case Idle() | Requesting():
            return _known(session, now) if now >= deadline else None
        case _:
            assert_never(session.doing)


def _known(session: Session, now: float) -> TokenError:
    """Return the error that explains best why there is no suitable token."""
    bar = None if session.bar is None else session.bar.error
    best = bar if isinstance(session.doing, Stopped) else session.error or bar
    return _unknown(session, now) if best is None else _told(best, session, now)


def _unknown(session: Session, now: float) -> TokenError:
    return TimedOut(
        "no suitable token arrived within the call's wait",
        "wait longer, or see openfit-token status",
        _next_try(session, now),
    )


def _told(problem: Problem, session: Session, now: float) -> TokenError:
    retry_after = None
    if problem.raises in {BudgetSpent, Unavailable}:
        retry_after = _next_try(session, now)
    return problem.raises(problem.message, problem.hint, retry_after)


def _told_operator(problem: Problem, session: Session, now: float) -> TokenError:
    """Return the error with when a *login* can be retried, if known: a refresh may come sooner."""
    if problem.until is None:
        return _told(problem, session, now)
    return problem.raises(problem.message, problem.hint, max(0.0, problem.until - now))


def _next_try(session: Session, now: float) -> float | None:
    return max(0.0, session.doing.due - now) if isinstance(session.doing, Idle) else None


def _min_ttl(min_ttl: float, whole: float) -> MinTtl:
    return MinTtl(
        f"min_ttl is {min_ttl:g} s, but a new token lives only {whole:.0f} s",
        "ask for less",
    )
