"""What can be read off a session."""

from dataclasses import replace
from math import inf

import pytest

from made import (
    POLICY,
    access,
    fresh,
    logging_in,
    problem,
    refresh,
    refreshing,
    relogging_in,
)
from openfit_token._shared.secret import Secret
from openfit_token.errors import (
    ClientRejected,
    LoggedOut,
    LoginRejected,
    SecretUnavailable,
    TokenError,
    Unavailable,
)
from openfit_tokend.core.session import (
    Bar,
    Idle,
    Login,
    RefreshToken,
    Requesting,
    Session,
    State,
    Stopped,
    barred,
    client_rejected,
    doubtful,
    is_logged_out,
    last_error,
    live,
    logged_out_session,
    new_session,
    state,
    wake_at,
    without_ended,
)

NOW = 100.0


# A beginning


def test_a_new_session_holds_nothing_and_is_due_at_once() -> None:
    assert new_session(NOW) == Session(
        doing=Idle(NOW),
        access=None,
        refresh=None,
        number=0,
        failures=0,
        error=None,
        bar=None,
        wanted=False,
        ended=-inf,
    )


def test_what_is_not_said_did_not_happen() -> None:
    secret = Secret("r1")

    assert RefreshToken(secret, since=0.0) == RefreshToken(secret, 0.0, lost=0, unclear=0)
    assert Bar(NOW, problem()) == Bar(NOW, problem(), count=0)
    assert Login() == Login(insisted=False)
    assert Requesting(Login()) == Requesting(Login(), login_after=None)


# live: the guard of the last second


@pytest.mark.parametrize(
    ("lifetime", "expires"),
    [(3600.0, 3599.0), (16.0, 15.0), (8.0, 7.5), (1.0, 0.9375)],
)
def test_a_token_ends_a_second_or_a_sixteenth_of_its_life_early(
    lifetime: float, expires: float
) -> None:
    token = access(lifetime=lifetime)
    session = Session(Idle(9.0), token)

    assert token.expires == expires
    assert live(session, expires - 0.001) == token
    assert live(session, expires) is None


def test_nothing_held_is_not_live() -> None:
    assert live(new_session(0.0), NOW) is None


def test_without_ended_drops_only_a_token_that_has_ended() -> None:
    assert without_ended(fresh(), 3598.9) == fresh()
    assert without_ended(fresh(), 3599.0) == replace(fresh(), access=None)
    assert without_ended(new_session(0.0), NOW) == new_session(0.0)


# state


def down(error: type[TokenError] | None, *, failures: int = 1, held: bool = False) -> Session:
    known = None if error is None else problem(error)
    token = refresh() if held else None
    return Session(Idle(130.0), refresh=token, failures=failures, error=known)


@pytest.mark.parametrize(
    ("session", "word"),
    [
        (logged_out_session(0.0), State.LOGGED_OUT),
        (Session(Stopped(), bar=Bar(inf, problem(LoginRejected))), State.LOCKED),
        (Session(Stopped(), access(), bar=Bar(inf, problem(LoginRejected))), State.LOCKED),
        (refreshing(), State.REFRESHING),
        (relogging_in(), State.REFRESHING),
        (logging_in(), State.LOGGING_IN),
        (replace(refreshing(), access=None), State.LOGGING_IN),
        (replace(fresh(), failures=1, error=problem(ClientRejected)), State.LOCKED),
        (down(ClientRejected), State.LOCKED),
        (replace(fresh(), failures=0, error=problem(ClientRejected)), State.FRESH),
        (replace(fresh(), failures=1, error=problem()), State.RETRYING),
        (fresh(), State.FRESH),
        (new_session(0.0), State.EMPTY),
        (down(SecretUnavailable), State.EMPTY),
        (down(SecretUnavailable, held=True), State.DOWN),
        (down(None, failures=0, held=True), State.DOWN),
        (down(Unavailable), State.DOWN),
        (down(LoginRejected, held=True), State.DOWN),
    ],
)
def test_the_word_for_how_things_stand(session: Session, word: State) -> None:
    assert state(session, NOW) == word


def test_a_token_that_has_ended_makes_no_state_live() -> None:
    assert state(replace(fresh(), failures=1, error=problem()), 3599.0) is State.DOWN
    assert state(refreshing(), 3599.0) is State.LOGGING_IN


# last_error, wake_at and what the table asks


def test_the_last_error_is_the_sessions_or_else_the_bars() -> None:
    bar = Bar(inf, problem(LoginRejected))

    assert last_error(replace(fresh(), error=problem(), bar=bar)) == problem()
    assert last_error(replace(fresh(), bar=bar)) == bar.error
    assert last_error(fresh()) is None


@pytest.mark.parametrize(
    ("session", "moment"),
    [
        (fresh(), 3300.0),
        (replace(fresh(), doing=Idle(4000.0)), 3599.0),
        (new_session(5.0), 5.0),
        (refreshing(), 3599.0),
        (logging_in(), inf),
        (Session(Stopped(), access(), bar=Bar(inf, problem())), 3599.0),
        (Session(Stopped(), bar=Bar(inf, problem())), inf),
    ],
)
def test_a_session_wants_to_be_woken_at_its_due_or_the_end_of_its_token(
    session: Session, moment: float
) -> None:
    assert wake_at(session) == moment


def test_a_bar_holds_until_its_moment() -> None:
    session = replace(fresh(), bar=Bar(NOW, problem()))

    assert barred(session, NOW - 0.1)
    assert not barred(session, NOW)
    assert not barred(fresh(), NOW)


def test_only_a_logout_counts_as_one() -> None:
    assert is_logged_out(replace(fresh(), bar=Bar(inf, problem(LoggedOut))))
    assert not is_logged_out(replace(fresh(), bar=Bar(inf, problem(LoginRejected))))
    assert not is_logged_out(fresh())


def test_a_rejected_client_needs_an_operator_only_after_a_failed_attempt() -> None:
    error = problem(ClientRejected)

    assert client_rejected(replace(fresh(), failures=1, error=error))
    assert not client_rejected(replace(fresh(), failures=0, error=error))
    assert not client_rejected(replace(fresh(), failures=1, error=problem()))
    assert not client_rejected(replace(fresh(), failures=1))


def test_a_refresh_token_is_doubtful_when_worn_twice_lost_or_thrice_unclear() -> None:
    worn_at = 0.8 * POLICY.refresh_token_lifetime

    assert not doubtful(refresh(lost=1, unclear=2), worn_at - 1.0, POLICY)
    assert doubtful(refresh(), worn_at, POLICY)
    assert doubtful(refresh(lost=2), NOW, POLICY)
    assert doubtful(refresh(unclear=3), NOW, POLICY)
