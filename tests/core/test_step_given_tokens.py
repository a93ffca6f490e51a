"""What a refresh token that an operator gave makes of a session: a new one, or nothing."""

from dataclasses import replace
from math import inf

import pytest

from made import (
    POLICY,
    access,
    failed,
    fresh,
    grant,
    granted,
    logging_in,
    moment,
    problem,
    refresh,
    refreshing,
    relogging_in,
)
from openfit_token._shared.secret import Secret
from openfit_token.errors import LoginRejected, SecretUnavailable
from openfit_tokend.core.events import Failed, Granted, Kind, LoginOrdered, Reconfigured, Send
from openfit_tokend.core.session import (
    Bar,
    Idle,
    Login,
    Requesting,
    Session,
    Stopped,
    logged_out_session,
    new_session,
)
from openfit_tokend.core.step import step

NOW = 100.0
TOKEN = Secret("given")
GIVEN = Login(insisted=True, given=TOKEN)
ERROR = problem(LoginRejected, NOW)
KINDS = [kind for kind in Kind if kind is not Kind.SECRET_UNAVAILABLE]


def locked() -> Session:
    error = problem(LoginRejected)
    return Session(Stopped(), number=4, failures=2, error=error, bar=Bar(inf, error), ended=90.0)


def backing_off() -> Session:
    return replace(fresh(), access=None, doing=Idle(3400.0), failures=5, error=problem())


def without_password() -> Session:
    error = problem(SecretUnavailable)
    return replace(new_session(160.0), number=1, failures=1, error=error)


def asked(session: Session) -> Session:
    after, _ = step(session, LoginOrdered(TOKEN), moment(NOW), POLICY)
    return after


HELD = {
    "new": new_session(0.0),
    "fresh": fresh(),
    "backing off": backing_off(),
    "locked": locked(),
    "logged out": logged_out_session(50.0),
    "without a password": without_password(),
}
held = pytest.mark.parametrize("session", HELD.values(), ids=HELD)


@held
def test_it_is_sent_at_once_and_what_is_held_is_kept_meanwhile(session: Session) -> None:
    after, effects = step(session, LoginOrdered(TOKEN), moment(NOW), POLICY)

    number = session.number + 1
    assert after == replace(session, doing=Requesting(GIVEN), number=number)
    assert effects == (Send(number, GIVEN),)


@held
@pytest.mark.parametrize("renewed", ["r2", None])
def test_one_that_is_accepted_begins_a_new_session(session: Session, renewed: str | None) -> None:
    sent = asked(session)

    after, effects = step(
        sent, granted(sent, NOW, grant(refresh_token=renewed)), moment(NOW + 1), POLICY
    )

    assert after == Session(
        Idle(NOW + 3300.0),
        access("a2", number=sent.number, sent=NOW, obtained=NOW + 1),
        refresh(renewed or "given", since=NOW),
        number=sent.number,
        ended=NOW + 1,
    )
    assert effects == ()  # like a login, it revokes nothing: the old token may be of the same grant


@held
@pytest.mark.parametrize("kind", KINDS)
def test_one_that_fails_changes_nothing_and_is_not_sent_again(session: Session, kind: Kind) -> None:
    sent = asked(session)

    after, effects = step(sent, failed(sent, kind, ERROR), moment(NOW + 1), POLICY)

    as_before = replace(session, doing=after.doing, number=sent.number, ended=NOW + 1)
    if isinstance(session.doing, Stopped) and session.bar is not None:
        as_before = replace(as_before, doing=Stopped(), error=session.bar.error)
    assert after == as_before
    assert effects == ()
    if isinstance(after.doing, Idle):
        due = 0.0 if session.access is None else session.access.due
        assert after.doing == Idle(max(due, NOW + 2))


@pytest.mark.parametrize("session", [refreshing(), logging_in(), relogging_in()])
def test_one_that_is_given_during_a_request_is_sent_after_it_however_that_ends(
    session: Session,
) -> None:
    """A login that brings a token meanwhile isn't what was ordered."""
    waiting = asked(session)
    assert isinstance(session.doing, Requesting)
    assert waiting.doing == Requesting(session.doing.request, login_after=GIVEN)

    endings: list[Granted | Failed] = [
        granted(waiting, NOW, grant()),
        *(failed(waiting, kind, ERROR) for kind in Kind),
    ]
    for ending in endings:
        after, effects = step(waiting, ending, moment(NOW + 1), POLICY)
        assert after.doing == Requesting(GIVEN)
        assert effects == (Send(after.number, GIVEN),)


def test_a_login_that_is_ordered_meanwhile_follows_one_that_fails_alone() -> None:
    waiting, _ = step(asked(fresh()), LoginOrdered(), moment(NOW), POLICY)

    rejected, sent = step(waiting, _rejection(waiting), moment(NOW + 1), POLICY)
    accepted, nothing = step(waiting, granted(waiting, NOW, grant()), moment(NOW + 1), POLICY)

    assert (rejected.doing, sent) == (Requesting(Login()), (Send(3, Login()),))
    assert (accepted.doing, nothing) == (Idle(NOW + 3300.0), ())


def test_a_reload_meanwhile_orders_no_login() -> None:
    after, effects = step(asked(fresh()), Reconfigured(), moment(NOW), POLICY)

    assert (after, effects) == (asked(fresh()), ())


def _rejection(session: Session) -> Failed:
    return failed(session, Kind.GRANT_REJECTED, ERROR)
