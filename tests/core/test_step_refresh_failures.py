"""What a failed refresh makes of a session. First failures + 1 and the error; then the row."""

from dataclasses import replace
from math import inf

import pytest

from made import (
    POLICY,
    access,
    failed,
    fresh,
    moment,
    problem,
    refresh,
    refreshing,
)
from openfit_token.errors import BudgetSpent, ClientRejected, LoginRejected, Unavailable
from openfit_tokend.core.events import Kind, Send
from openfit_tokend.core.session import Bar, Idle, Login, Requesting, Session, Stopped
from openfit_tokend.core.step import step

NOW = 3310.0
ERROR = problem(Unavailable, at=NOW)


def after_failure(session: Session) -> Session:
    """Return what every failure of a sent request changes, whatever its row says."""
    return replace(session, failures=session.failures + 1, error=ERROR, ended=NOW)


def without_access() -> Session:
    return replace(refreshing(), access=None)


# A transient failure is retried


def test_a_transient_failure_is_retried_after_half_a_second_to_a_second() -> None:
    event = failed(refreshing(), Kind.TRANSIENT, ERROR)

    soonest = step(refreshing(), event, moment(NOW, chance=0.0), POLICY)
    middle = step(refreshing(), event, moment(NOW, chance=0.5), POLICY)

    expected = after_failure(refreshing())
    assert soonest == (replace(expected, doing=Idle(NOW + 0.5)), ())
    assert middle == (replace(expected, doing=Idle(NOW + 0.75)), ())


@pytest.mark.parametrize(
    ("failures", "pause"), [(0, 0.5), (1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (5000, 30.0)]
)
def test_without_a_token_the_backoff_doubles_to_a_minute(failures: int, pause: float) -> None:
    session = replace(without_access(), failures=failures)

    after, _ = step(session, failed(session, Kind.TRANSIENT, ERROR), moment(NOW), POLICY)

    assert after == replace(after_failure(session), doing=Idle(NOW + pause))


@pytest.mark.parametrize(
    ("left", "pause"),
    [(400.0, 25.0), (240.0, 15.0), (80.0, 5.0), (40.0, 5.0), (1.0, 5.0)],
)
def test_while_a_token_lives_tries_come_closer_towards_its_end(left: float, pause: float) -> None:
    session = replace(refreshing(), failures=20)
    now = 3599.0 - left

    after, _ = step(session, failed(session, Kind.TRANSIENT, ERROR), moment(now), POLICY)

    assert after.doing == Idle(now + pause)


def test_retry_after_outweighs_the_backoff_and_the_end_of_the_token() -> None:
    event = failed(refreshing(), Kind.TRANSIENT, ERROR, retry_after=400.0)

    after, _ = step(refreshing(), event, moment(NOW, chance=0.5), POLICY)

    assert after.doing == Idle(NOW + 420.0)


def test_retry_after_counts_for_10_minutes_at_most() -> None:
    event = failed(refreshing(), Kind.TRANSIENT, ERROR, retry_after=86400.0)

    after, _ = step(refreshing(), event, moment(NOW), POLICY)

    assert after.doing == Idle(NOW + 600.0)


def test_a_retry_after_shorter_than_the_backoff_does_not_hasten_it() -> None:
    session = replace(without_access(), failures=6)
    event = failed(session, Kind.TRANSIENT, ERROR, retry_after=2.0)

    after, _ = step(session, event, moment(NOW), POLICY)

    assert after.doing == Idle(NOW + 30.0)


# UNCERTAIN: lost + 1, retry


def test_an_uncertain_refresh_is_retried_with_the_same_token_and_counted_as_lost() -> None:
    after, effects = step(
        refreshing(), failed(refreshing(), Kind.UNCERTAIN, ERROR), moment(NOW), POLICY
    )

    expected = after_failure(refreshing())
    assert after == replace(expected, refresh=refresh(lost=1), doing=Idle(NOW + 0.5))
    assert effects == ()


@pytest.mark.parametrize("lost", [1, 2, 50])
def test_a_refresh_token_is_never_dropped_for_lost_answers(lost: int) -> None:
    session = replace(without_access(), refresh=refresh(lost=lost, unclear=1))

    after, effects = step(session, failed(session, Kind.UNCERTAIN, ERROR), moment(NOW), POLICY)

    assert after.refresh == refresh(lost=lost + 1, unclear=1)
    assert after.doing == Idle(NOW + 0.5)
    assert effects == ()


# UNCLEAR: unclear + 1; from the third a login at once, unless a bar holds


@pytest.mark.parametrize("unclear", [0, 1])
def test_the_first_two_unclear_refreshes_are_retried(unclear: int) -> None:
    session = replace(refreshing(), refresh=refresh(unclear=unclear))

    after, effects = step(session, failed(session, Kind.UNCLEAR, ERROR), moment(NOW), POLICY)

    assert after == replace(
        after_failure(session), refresh=refresh(unclear=unclear + 1), doing=Idle(NOW + 0.5)
    )
    assert effects == ()


@pytest.mark.parametrize("bar", [None, Bar(NOW, problem())], ids=["no bar", "a bar that passed"])
@pytest.mark.parametrize("unclear", [2, 3])
def test_from_the_third_unclear_refresh_on_a_login_is_sent_at_once(
    unclear: int, bar: Bar | None
) -> None:
    session = replace(refreshing(), refresh=refresh(unclear=unclear), bar=bar)

    after, effects = step(session, failed(session, Kind.UNCLEAR, ERROR), moment(NOW), POLICY)

    assert after == replace(
        after_failure(session),
        refresh=refresh(unclear=unclear + 1),
        doing=Requesting(Login()),
        number=3,
    )
    assert effects == (Send(3, Login()),)


@pytest.mark.parametrize("until", [NOW + 0.1, inf])
def test_while_a_bar_holds_the_third_unclear_refresh_is_retried(until: float) -> None:
    session = replace(
        refreshing(), refresh=refresh(unclear=2), bar=Bar(until, problem(LoginRejected))
    )

    after, effects = step(session, failed(session, Kind.UNCLEAR, ERROR), moment(NOW), POLICY)

    assert after == replace(
        after_failure(session), refresh=refresh(unclear=3), doing=Idle(NOW + 0.5)
    )
    assert effects == ()


@pytest.mark.parametrize(
    ("lost", "since"), [(2, 0.0), (0, NOW - 30 * 86400.0)], ids=["twice lost", "worn"]
)
def test_a_first_unclear_refresh_is_retried_whatever_else_speaks_against_the_token(
    lost: int, since: float
) -> None:
    # it was sent under a bar that has passed meanwhile
    held = refresh(lost=lost, since=since)
    session = replace(refreshing(), refresh=held, bar=Bar(NOW - 1.0, problem()))

    after, effects = step(session, failed(session, Kind.UNCLEAR, ERROR), moment(NOW), POLICY)

    assert after.refresh == replace(held, unclear=1)
    assert after.doing == Idle(NOW + 0.5)
    assert effects == ()


# GRANT_REJECTED: dropped; a bar ends now, but not one for ever or of the budget; choose at once


def test_after_a_rejected_refresh_it_is_dropped_and_a_login_is_sent_at_once() -> None:
    session = refreshing()

    after, effects = step(session, failed(session, Kind.GRANT_REJECTED, ERROR), moment(NOW), POLICY)

    assert after == replace(
        after_failure(session), refresh=None, doing=Requesting(Login()), number=3
    )
    assert effects == (Send(3, Login()),)


def test_a_rejected_refresh_ends_the_bar_since_the_server_answers_again() -> None:
    bar = Bar(NOW + 400.0, problem(Unavailable), count=2)
    session = replace(refreshing(), bar=bar)

    after, effects = step(session, failed(session, Kind.GRANT_REJECTED, ERROR), moment(NOW), POLICY)

    assert after == replace(
        after_failure(session),
        refresh=None,
        bar=replace(bar, until=NOW),
        doing=Requesting(Login()),
        number=3,
    )
    assert effects == (Send(3, Login()),)


def test_after_a_rejected_refresh_the_budget_is_waited_for() -> None:
    bar = Bar(NOW + 400.0, problem(BudgetSpent))
    session = replace(refreshing(), bar=bar)

    after, effects = step(session, failed(session, Kind.GRANT_REJECTED, ERROR), moment(NOW), POLICY)

    assert after == replace(
        after_failure(session), refresh=None, error=bar.error, doing=Idle(NOW + 400.0)
    )
    assert effects == ()


def test_after_a_rejected_refresh_a_budget_that_is_free_very_soon_is_waited_for_a_second() -> None:
    session = replace(refreshing(), bar=Bar(NOW + 0.4, problem(BudgetSpent)))

    after, _ = step(session, failed(session, Kind.GRANT_REJECTED, ERROR), moment(NOW), POLICY)

    assert after.doing == Idle(NOW + 1.0)


def test_after_a_rejected_refresh_a_rejected_password_is_not_sent_again() -> None:
    bar = Bar(inf, problem(LoginRejected))
    session = replace(refreshing(), bar=bar)

    after, effects = step(session, failed(session, Kind.GRANT_REJECTED, ERROR), moment(NOW), POLICY)

    assert after == replace(after_failure(session), refresh=None, error=bar.error, doing=Stopped())
    assert after.access == fresh().access  # it is served to its end
    assert effects == ()


# CLIENT_REJECTED: everything held stays; look again, but rarely


def test_without_a_token_a_rejected_client_is_tried_again_after_an_hour() -> None:
    session = without_access()

    after, effects = step(
        session, failed(session, Kind.CLIENT_REJECTED, ERROR), moment(NOW), POLICY
    )

    assert after == replace(after_failure(session), doing=Idle(NOW + 3600.0))
    assert effects == ()


@pytest.mark.parametrize(
    ("left", "pause"),
    [(289.0, 60.0), (480.0, 60.0), (800.0, 100.0), (28_800.0, 3600.0), (86_400.0, 3600.0)],
)
def test_with_a_live_token_a_rejected_client_is_tried_again_after_an_eighth_of_what_is_left(
    left: float, pause: float
) -> None:
    long = access(sent=NOW + left + 1.0 - 100_000.0, lifetime=100_000.0)
    session = replace(refreshing(), access=long)

    after, effects = step(
        session, failed(session, Kind.CLIENT_REJECTED, ERROR), moment(NOW), POLICY
    )

    assert after == replace(after_failure(session), doing=Idle(NOW + pause))
    assert effects == ()


# login_after: instead of the row's next, the login

JUDGED = {
    Kind.TRANSIENT: refresh(),
    Kind.UNCERTAIN: refresh(lost=1),
    Kind.UNCLEAR: refresh(unclear=1),
    Kind.GRANT_REJECTED: None,
    Kind.CLIENT_REJECTED: refresh(),
}


@pytest.mark.parametrize("kind", JUDGED)
def test_after_a_refresh_an_ordered_login_follows_however_it_failed(kind: Kind) -> None:
    asked = refreshing()
    session = replace(
        asked, doing=Requesting(doing(asked).request, login_after=Login(insisted=True))
    )

    after, effects = step(session, failed(session, kind, ERROR), moment(NOW), POLICY)

    assert after == replace(
        after_failure(session),
        refresh=JUDGED[kind],
        doing=Requesting(Login(insisted=True)),
        number=3,
    )
    assert effects == (Send(3, Login(insisted=True)),)


def test_an_ordered_login_follows_a_rejected_refresh_over_a_bar_for_ever() -> None:
    asked = refreshing()
    session = replace(
        asked,
        doing=Requesting(doing(asked).request, login_after=Login(insisted=True)),
        bar=Bar(inf, problem(ClientRejected)),
    )

    _, effects = step(session, failed(session, Kind.GRANT_REJECTED, ERROR), moment(NOW), POLICY)

    assert effects == (Send(3, Login(insisted=True)),)


def doing(session: Session) -> Requesting:
    assert isinstance(session.doing, Requesting)
    return session.doing
