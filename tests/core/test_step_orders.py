"""What an operator's login, logout and reload make of a session."""

from dataclasses import replace
from math import inf

import pytest

from made import (
    POLICY,
    REFRESH,
    access,
    fresh,
    logging_in,
    moment,
    problem,
    refresh,
    refreshing,
    relogging_in,
)
from openfit_token._shared.secret import Secret
from openfit_token.errors import (
    BudgetSpent,
    ClientRejected,
    LoggedOut,
    LoginRejected,
    SecretUnavailable,
    TokenError,
)
from openfit_tokend.core.events import (
    LoginOrdered,
    LogoutOrdered,
    NewTokenWanted,
    Reconfigured,
    Revoke,
    Send,
)
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import (
    Bar,
    Idle,
    Login,
    Requesting,
    Session,
    Stopped,
    behind,
    logged_out_session,
    new_session,
)
from openfit_tokend.core.step import step

NOW = 100.0
LOGOUT = Problem(
    LoggedOut,
    "an operator logged this profile out",
    "to log it in again: openfit-token login --profile {profile}",
    NOW,
)


def locked() -> Session:
    error = problem(LoginRejected)
    return Session(
        Stopped(), number=4, failures=2, error=error, bar=Bar(inf, error), wanted=True, ended=90.0
    )


def backing_off() -> Session:
    return replace(fresh(), doing=Idle(3400.0), failures=5, error=problem(), ended=99.9)


# LoginOrdered


@pytest.mark.parametrize(
    "session",
    [
        new_session(NOW + 50.0),
        replace(fresh(), ended=99.9),
        backing_off(),
        replace(backing_off(), refresh=None, bar=Bar(900.0, problem(BudgetSpent))),
        locked(),
        logged_out_session(50.0),
    ],
    ids=["new", "fresh", "backing off", "barred", "locked", "logged out"],
)
def test_an_ordered_login_is_sent_at_once_whatever_else_would_be_waited_for(
    session: Session,
) -> None:
    after, effects = step(session, LoginOrdered(), moment(NOW), POLICY)

    number = session.number + 1
    assert after == replace(session, doing=Requesting(Login(insisted=True)), number=number)
    assert effects == (Send(number, Login(insisted=True)),)


@pytest.mark.parametrize("session", [refreshing(), logging_in(), relogging_in()])
def test_a_login_ordered_during_a_request_is_remembered(session: Session) -> None:
    assert isinstance(session.doing, Requesting)

    assert step(session, LoginOrdered(), moment(NOW), POLICY) == (
        replace(session, doing=behind(session.doing.request, Login(insisted=True))),
        (),
    )


# LogoutOrdered


@pytest.mark.parametrize("base", [fresh(), refreshing(), relogging_in(), backing_off()])
def test_a_logout_forgets_everything_stops_and_revokes(base: Session) -> None:
    session = replace(base, wanted=True)

    after, effects = step(session, LogoutOrdered(), moment(NOW), POLICY)

    assert after == Session(
        Stopped(),
        number=session.number + 1,
        bar=Bar(inf, LOGOUT),
        ended=session.ended,
    )
    assert effects == (Revoke(Secret("r1")),)


@pytest.mark.parametrize("session", [new_session(0.0), logging_in(), locked()])
def test_a_logout_without_refresh_token_has_nothing_to_revoke(session: Session) -> None:
    after, effects = step(session, LogoutOrdered(), moment(NOW), POLICY)

    assert after == Session(
        Stopped(), number=session.number + 1, bar=Bar(inf, LOGOUT), ended=session.ended
    )
    assert effects == ()


def test_a_profile_that_was_logged_out_before_a_restart_is_stopped_as_by_a_logout() -> None:
    assert logged_out_session(NOW) == Session(Stopped(), bar=Bar(inf, LOGOUT))


# Reconfigured, identity changed


@pytest.mark.parametrize("base", [fresh(), backing_off(), locked()])
def test_under_a_new_identity_nothing_is_held_and_a_login_follows(base: Session) -> None:
    session = replace(base, wanted=True, ended=80.0)

    after, effects = step(session, Reconfigured(identity=True), moment(NOW), POLICY)

    assert after == Session(
        Idle(NOW),
        number=session.number + 1,
        wanted=True,
        ended=80.0,
    )
    assert effects == ()


def test_under_a_new_identity_a_login_follows_a_second_after_the_last_request() -> None:
    session = replace(fresh(), ended=99.5)

    after, _ = step(session, Reconfigured(identity=True, schedule=True), moment(NOW), POLICY)

    assert after == Session(Idle(100.5), number=2, ended=99.5)


@pytest.mark.parametrize("session", [refreshing(), relogging_in()])
def test_under_a_new_identity_a_request_under_way_is_void_and_counts_as_ended(
    session: Session,
) -> None:
    after, effects = step(session, Reconfigured(identity=True), moment(NOW), POLICY)

    assert after == Session(Idle(NOW + 1.0), number=3, ended=NOW)
    assert effects == ()


def test_under_a_new_identity_a_logged_out_profile_stays_so() -> None:
    session = replace(logged_out_session(NOW), number=7)

    assert step(session, Reconfigured(identity=True), moment(200.0), POLICY) == (
        replace(session, number=8),
        (),
    )


def test_under_a_new_identity_a_logged_out_profile_whose_login_is_under_way_logs_in() -> None:
    session, _ = step(logged_out_session(NOW), LoginOrdered(), moment(NOW), POLICY)

    after, _ = step(session, Reconfigured(identity=True), moment(NOW + 5.0), POLICY)

    assert after == Session(Idle(NOW + 6.0), number=2, ended=NOW + 5.0)


# Reconfigured, the secret may have changed


def test_a_reload_leaves_a_well_session_untouched() -> None:
    session = replace(fresh(), wanted=True)

    assert step(session, Reconfigured(), moment(NOW), POLICY) == (session, ())


def test_a_reload_lets_a_locked_profile_try_again_at_once() -> None:
    assert step(locked(), Reconfigured(), moment(NOW), POLICY) == (
        Session(Idle(NOW), number=4, wanted=True, ended=90.0),
        (),
    )


def test_a_reload_lets_a_locked_profile_try_again_a_second_after_its_last_request() -> None:
    session = replace(locked(), ended=99.5)

    after, _ = step(session, Reconfigured(), moment(NOW), POLICY)

    assert after == Session(Idle(100.5), number=4, wanted=True, ended=99.5)


def test_a_reload_does_not_let_a_logged_out_profile_in() -> None:
    session = logged_out_session(50.0)

    assert step(session, Reconfigured(schedule=True), moment(NOW), POLICY) == (session, ())


@pytest.mark.parametrize("error", [BudgetSpent, LoginRejected])
def test_a_reload_lifts_the_bar_of_a_profile_without_refresh_token(
    error: type[TokenError],
) -> None:
    bar = Bar(900.0, problem(error))
    session = Session(Idle(900.0), number=1, failures=2, error=bar.error, bar=bar, ended=90.0)

    assert step(session, Reconfigured(), moment(NOW), POLICY) == (
        Session(Idle(NOW), number=1, ended=90.0),
        (),
    )


@pytest.mark.parametrize("held", [True, False])
def test_a_reload_lets_a_rejected_client_try_again_at_once(held: bool) -> None:  # noqa: FBT001 -- pytest names it
    base = fresh() if held else replace(fresh(), access=None, refresh=None)
    session = replace(base, doing=Idle(3700.0), failures=1, error=problem(ClientRejected))

    assert step(session, Reconfigured(schedule=True), moment(NOW), POLICY) == (
        replace(session, doing=Idle(NOW), failures=0, error=None),
        (),
    )


def test_a_reload_leaves_the_backoff_of_an_outage_as_it_is() -> None:
    without_refresh = replace(backing_off(), refresh=None)

    for session in (backing_off(), without_refresh):
        assert step(session, Reconfigured(schedule=True), moment(NOW), POLICY) == (session, ())


def test_a_reload_lifts_the_bar_of_a_session_in_an_outage_which_keeps_its_backoff() -> None:
    session = replace(backing_off(), bar=Bar(inf, problem(LoginRejected)))

    assert step(session, Reconfigured(), moment(NOW), POLICY) == (replace(session, bar=None), ())


def test_a_reload_lifts_the_bar_of_a_session_that_lives_on_and_clears_its_error() -> None:
    error = problem(LoginRejected)
    session = replace(fresh(), error=error, bar=Bar(inf, error))

    assert step(session, Reconfigured(), moment(NOW), POLICY) == (
        replace(session, error=None, bar=None),
        (),
    )


@pytest.mark.parametrize("session", [logging_in(), relogging_in()])
def test_a_reload_during_a_login_orders_another_with_the_secret_of_then(session: Session) -> None:
    assert isinstance(session.doing, Requesting)

    assert step(session, Reconfigured(), moment(NOW), POLICY) == (
        replace(session, doing=replace(session.doing, login_after=Login())),
        (),
    )


def test_a_reload_during_a_login_lifts_the_bar_it_was_ordered_over() -> None:
    session = replace(logging_in(), bar=Bar(inf, problem(LoginRejected)))

    after, _ = step(session, Reconfigured(), moment(NOW), POLICY)

    assert after == replace(session, doing=Requesting(Login(), login_after=Login()), bar=None)


def test_a_reload_during_a_login_ordered_over_a_logout_leaves_that_bar() -> None:
    session, _ = step(logged_out_session(NOW), LoginOrdered(), moment(NOW), POLICY)

    after, _ = step(session, Reconfigured(), moment(NOW), POLICY)

    assert after == replace(session, doing=Requesting(Login(insisted=True), login_after=Login()))


def test_a_reload_during_a_refresh_only_lifts_the_bar() -> None:
    session = replace(
        refreshing(), bar=Bar(inf, problem(LoginRejected)), failures=1, error=problem()
    )

    after, _ = step(session, Reconfigured(schedule=True), moment(NOW), POLICY)

    assert after == replace(session, bar=None)


def test_a_reload_during_a_refresh_keeps_an_ordered_login() -> None:
    session = replace(refreshing(), doing=Requesting(REFRESH, login_after=Login(insisted=True)))

    assert step(session, Reconfigured(), moment(NOW), POLICY) == (session, ())


def test_a_reload_has_a_secret_that_was_missing_read_at_once() -> None:
    missing = Session(
        Idle(130.0), number=6, failures=6, error=problem(SecretUnavailable), ended=-inf
    )

    after, _ = step(missing, Reconfigured(), moment(NOW), POLICY)

    assert after == replace(missing, doing=Idle(NOW), failures=0, error=None)


# Reconfigured, schedule changed

EARLIER = Policy(refresh_before=600.0)


def test_a_new_schedule_moves_the_due_of_a_token_as_if_it_had_just_arrived() -> None:
    token = access(obtained=2.0)
    session = replace(fresh(), access=token)

    after, effects = step(session, Reconfigured(schedule=True), moment(NOW, chance=0.5), EARLIER)

    due = 3600.0 - 600.0 * 1.05
    assert after == replace(session, access=replace(token, due=due), doing=Idle(due))
    assert effects == ()


def test_a_new_schedule_counts_a_due_from_the_arrival_not_from_now() -> None:
    token = access(lifetime=8.0, obtained=0.0)
    session = Session(Idle(6.0), token, refresh(), number=1, ended=0.0)

    after, _ = step(session, Reconfigured(schedule=True), moment(5.9), POLICY)

    assert after.doing == Idle(6.0)


def test_a_new_schedule_does_not_forget_a_wish() -> None:
    session, _ = step(replace(fresh(), ended=98.0), NewTokenWanted(), moment(NOW), POLICY)

    after, _ = step(session, Reconfigured(schedule=True), moment(NOW), EARLIER)

    assert (after.doing, after.wanted) == (Idle(108.0), True)


def test_a_new_schedule_never_starts_a_request_within_a_second_of_the_last() -> None:
    session = replace(fresh(), access=access(obtained=3590.0), ended=3595.0)

    after, _ = step(session, Reconfigured(schedule=True), moment(3595.5), POLICY)

    assert after.doing == Idle(3596.0)


def test_a_new_schedule_without_a_token_leaves_the_next_request_soon() -> None:
    session = Session(Idle(500.0), number=1, ended=40.0)

    after, _ = step(session, Reconfigured(schedule=True), moment(NOW), POLICY)

    assert after == replace(session, doing=Idle(NOW))


def test_a_new_schedule_leaves_the_due_of_a_token_in_an_outage() -> None:
    assert step(backing_off(), Reconfigured(schedule=True), moment(NOW), EARLIER) == (
        backing_off(),
        (),
    )


def test_a_reload_without_a_new_schedule_leaves_the_due() -> None:
    assert step(fresh(), Reconfigured(), moment(NOW), EARLIER) == (fresh(), ())
