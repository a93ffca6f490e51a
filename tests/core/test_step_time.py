"""What the passing of time, and the wishes of clients, make of a session."""

from dataclasses import replace
from math import inf

import pytest

from made import POLICY, REFRESH, access, fresh, logging_in, moment, problem, refresh, refreshing
from openfit_token.errors import BudgetSpent, LoginRejected, Unavailable
from openfit_tokend.core.events import (
    Event,
    Failed,
    Kind,
    LoginOrdered,
    NewTokenWanted,
    Reconfigured,
    Send,
    Woken,
)
from openfit_tokend.core.session import (
    Bar,
    Idle,
    Login,
    RefreshToken,
    Requesting,
    Session,
    Stopped,
)
from openfit_tokend.core.step import step

EXPIRES = 3599.0
"""When the usual token isn't served any more."""


# Any event, the access token has ended: it is dropped first, then the row


@pytest.mark.parametrize(
    "event", [Woken(), NewTokenWanted(), Failed(1, Kind.TRANSIENT, problem()), Reconfigured()]
)
def test_an_access_token_that_has_ended_is_dropped_at_any_event(event: Event) -> None:
    session = refreshing()

    after, _ = step(session, event, moment(EXPIRES), POLICY)

    assert after.access is None


def test_an_access_token_is_kept_until_the_very_moment_it_ends() -> None:
    session = refreshing()

    assert step(session, Woken(), moment(EXPIRES - 0.001), POLICY) == (session, ())


def test_a_token_that_has_ended_is_dropped_before_a_login_is_sent() -> None:
    after, effects = step(fresh(), LoginOrdered(), moment(EXPIRES), POLICY)

    assert after == replace(fresh(), doing=Requesting(Login(insisted=True)), access=None, number=2)
    assert effects == (Send(2, Login(insisted=True)),)


# Idle, Woken: before due unchanged, at due choose


def test_idle_woken_before_due_is_unchanged() -> None:
    assert step(fresh(), Woken(), moment(3299.999), POLICY) == (fresh(), ())


def test_idle_woken_at_due_sends_the_refresh_token() -> None:
    after, effects = step(fresh(), Woken(), moment(3300.0), POLICY)

    assert after == replace(fresh(), doing=Requesting(REFRESH), number=2)
    assert effects == (Send(2, REFRESH),)


def test_choose_sends_a_login_where_nothing_is_held() -> None:
    session = Session(Idle(5.0), number=3)

    assert step(session, Woken(), moment(5.0), POLICY) == (
        Session(Requesting(Login()), number=4),
        (Send(4, Login()),),
    )


@pytest.mark.parametrize(
    "held",
    [
        refresh(since=5000.0 - 0.8 * 30 * 86400.0),
        refresh(lost=2, since=4999.0),
        refresh(unclear=3, since=4999.0),
    ],
    ids=["worn", "twice lost", "thrice unclear"],
)
def test_choose_prefers_a_login_to_a_doubtful_refresh_token(held: RefreshToken) -> None:
    session = replace(fresh(), access=None, refresh=held, doing=Idle(5000.0))

    after, effects = step(session, Woken(), moment(5000.0), POLICY)

    assert after == replace(session, doing=Requesting(Login()), number=2)
    assert effects == (Send(2, Login()),)


@pytest.mark.parametrize(
    "held",
    [
        refresh(since=5000.1 - 0.8 * 30 * 86400.0),
        refresh(lost=1, since=4999.0),
        refresh(unclear=2, since=4999.0),
    ],
    ids=["nearly worn", "once lost", "twice unclear"],
)
def test_choose_sends_a_refresh_token_that_is_good_enough(held: RefreshToken) -> None:
    session = replace(fresh(), access=None, refresh=held, doing=Idle(5000.0))

    _, effects = step(session, Woken(), moment(5000.0), POLICY)

    assert effects == (Send(2, REFRESH),)


@pytest.mark.parametrize("until", [5000.1, inf])
def test_choose_sends_a_doubtful_refresh_token_while_a_bar_holds(until: float) -> None:
    session = replace(
        fresh(), refresh=refresh(lost=2), bar=Bar(until, problem()), doing=Idle(5000.0)
    )

    _, effects = step(session, Woken(), moment(5000.0), POLICY)

    assert effects == (Send(2, REFRESH),)


def test_choose_sends_a_login_once_the_bar_has_passed() -> None:
    session = Session(Idle(100.0), bar=Bar(100.0, problem(), count=1), number=1, failures=1)

    after, effects = step(session, Woken(), moment(100.0), POLICY)

    assert after == replace(session, doing=Requesting(Login()), number=2)
    assert effects == (Send(2, Login()),)


def test_choose_waits_for_the_bar_and_takes_over_its_error() -> None:
    bar = Bar(500.0, problem(BudgetSpent))
    session = Session(Idle(100.0), bar=bar, failures=1, error=problem(Unavailable), ended=99.0)

    assert step(session, Woken(), moment(100.0), POLICY) == (
        replace(session, doing=Idle(500.0), error=bar.error),
        (),
    )


def test_choose_waits_a_second_after_the_last_request_where_the_bar_ends_sooner() -> None:
    bar = Bar(100.2, problem())
    session = Session(Idle(100.0), bar=bar, failures=1, ended=99.9)

    assert step(session, Woken(), moment(100.0), POLICY) == (
        replace(session, doing=Idle(100.9), error=bar.error),
        (),
    )


def test_choose_stops_where_the_bar_holds_for_ever() -> None:
    bar = Bar(inf, problem(LoginRejected))
    session = Session(Idle(100.0), bar=bar, failures=1)

    assert step(session, Woken(), moment(100.0), POLICY) == (
        replace(session, doing=Stopped(), error=bar.error),
        (),
    )


# NewTokenWanted


def test_a_wish_brings_the_due_of_a_well_session_forward_to_10_s_after_the_last_request() -> None:
    session = replace(fresh(), ended=100.0)

    assert step(session, NewTokenWanted(), moment(104.0), POLICY) == (
        replace(session, wanted=True, doing=Idle(110.0)),
        (),
    )


def test_a_wish_later_than_10_s_after_the_last_request_starts_one_at_once() -> None:
    session = replace(fresh(), ended=100.0)

    after, effects = step(session, NewTokenWanted(), moment(110.0), POLICY)

    assert after == replace(session, wanted=True, doing=Requesting(REFRESH), number=2)
    assert effects == (Send(2, REFRESH),)


def test_a_wish_never_moves_the_due_later() -> None:
    short = access(lifetime=8.0, sent=100.0)
    session = Session(Idle(106.0), short, refresh(), number=1, ended=100.0)

    assert step(session, NewTokenWanted(), moment(104.0), POLICY) == (
        replace(session, wanted=True),
        (),
    )


def test_a_wish_without_a_token_starts_a_request_a_second_after_the_last() -> None:
    session = Session(Idle(200.0), number=1, ended=100.0)

    sooner, _ = step(session, NewTokenWanted(), moment(100.5), POLICY)
    _, effects = step(session, NewTokenWanted(), moment(101.0), POLICY)

    assert sooner == replace(session, wanted=True, doing=Idle(101.0))
    assert effects == (Send(2, Login()),)


def test_a_wish_never_lets_a_request_start_within_a_second_of_the_last() -> None:
    due_soon = access(due=100.5)
    session = Session(Idle(3000.0), due_soon, refresh(), number=1, ended=100.0)

    after, _ = step(session, NewTokenWanted(), moment(100.1), POLICY)

    assert after.doing == Idle(101.0)


def test_in_an_outage_a_wish_leaves_the_backoff_as_it_is() -> None:
    session = replace(fresh(), failures=1, error=problem(), doing=Idle(3400.0), ended=3301.0)

    assert step(session, NewTokenWanted(), moment(3350.0), POLICY) == (
        replace(session, wanted=True),
        (),
    )


def test_in_an_outage_a_wish_after_the_due_moment_starts_a_request() -> None:
    session = replace(fresh(), failures=1, error=problem(), doing=Idle(3400.0), ended=3301.0)

    after, effects = step(session, NewTokenWanted(), moment(3400.0), POLICY)

    assert after == replace(session, wanted=True, doing=Requesting(REFRESH), number=2)
    assert effects == (Send(2, REFRESH),)


@pytest.mark.parametrize("session", [refreshing(), logging_in()])
def test_a_wish_during_a_request_is_remembered(session: Session) -> None:
    assert step(session, NewTokenWanted(), moment(100.0), POLICY) == (
        replace(session, wanted=True),
        (),
    )


@pytest.mark.parametrize("session", [refreshing(), logging_in()])
def test_woken_during_a_request_is_unchanged(session: Session) -> None:
    assert step(session, Woken(), moment(100.0), POLICY) == (session, ())


@pytest.mark.parametrize("event", [Woken(), NewTokenWanted()])
def test_stopped_neither_time_nor_a_wish_changes_anything(event: Event) -> None:
    session = Session(Stopped(), access(), bar=Bar(inf, problem(LoginRejected)), failures=1)

    assert step(session, event, moment(100.0), POLICY) == (session, ())
