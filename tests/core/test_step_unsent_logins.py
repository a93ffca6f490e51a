"""What a login that was never sent makes of a session; and a login that was ordered meanwhile."""

from dataclasses import replace
from math import inf

import pytest

from made import (
    POLICY,
    REFRESH,
    failed,
    logging_in,
    logging_in_beside_a_refresh_token,
    moment,
    problem,
    relogging_in,
)
from openfit_token.errors import (
    BudgetSpent,
    LoginRejected,
    SecretUnavailable,
    Unavailable,
)
from openfit_tokend.core.events import Kind, OverBudget, Send
from openfit_tokend.core.session import (
    Bar,
    Idle,
    Login,
    Requesting,
    Session,
    Stopped,
)
from openfit_tokend.core.step import step

NOW = 100.0
FAILURE = problem(Unavailable, at=NOW)
NO_SECRET = problem(SecretUnavailable, at=NOW)
SPENT = problem(BudgetSpent, at=NOW)
OLD_BAR = Bar(NOW - 1.0, problem(), count=1)


# SECRET_UNAVAILABLE: nothing was sent, so `ended` stays


def test_a_login_without_a_secret_and_without_refresh_token_is_retried() -> None:
    session = replace(logging_in(), ended=90.0)

    after, effects = step(
        session, failed(session, Kind.SECRET_UNAVAILABLE, NO_SECRET), moment(NOW), POLICY
    )

    assert after == Session(Idle(NOW + 0.5), number=1, failures=1, error=NO_SECRET, ended=90.0)
    assert effects == ()


def test_a_login_without_a_secret_bars_logins_for_a_minute_and_a_well_session_rests() -> None:
    session = relogging_in()

    after, effects = step(
        session, failed(session, Kind.SECRET_UNAVAILABLE, NO_SECRET), moment(NOW), POLICY
    )

    assert after == replace(
        session, doing=Idle(3300.0), error=NO_SECRET, bar=Bar(NOW + 60.0, NO_SECRET)
    )
    assert effects == ()


def test_a_login_without_a_secret_is_else_followed_by_a_refresh_and_is_no_attempt() -> None:
    session = replace(logging_in_beside_a_refresh_token(), bar=OLD_BAR)

    after, effects = step(
        session, failed(session, Kind.SECRET_UNAVAILABLE, NO_SECRET), moment(NOW), POLICY
    )

    assert after == replace(
        session,
        doing=Requesting(REFRESH),
        number=3,
        failures=3,
        error=NO_SECRET,
        bar=Bar(NOW + 60.0, NO_SECRET, count=1),
    )
    assert effects == (Send(3, REFRESH),)


# BUDGET_SPENT: nothing was sent, so `ended` stays


def test_a_login_beyond_the_budget_waits_for_it_where_there_is_no_refresh_token() -> None:
    session = replace(logging_in(), bar=OLD_BAR)

    after, effects = step(
        session,
        failed(session, OverBudget(until=700.0, known=False), SPENT),
        moment(NOW),
        POLICY,
    )

    assert after == Session(
        Idle(700.0), number=1, failures=1, error=SPENT, bar=Bar(700.0, SPENT, count=1)
    )
    assert effects == ()


@pytest.mark.parametrize("until", [NOW - 50.0, NOW, NOW + 0.9])
def test_a_budget_is_asked_again_after_a_second_at_the_soonest(until: float) -> None:
    session = logging_in()
    event = failed(session, OverBudget(until, known=False), SPENT)

    after, _ = step(session, event, moment(NOW), POLICY)

    assert after.doing == Idle(NOW + 1.0)
    assert after.bar == Bar(NOW + 1.0, SPENT)


def test_a_login_beyond_the_budget_lets_a_well_session_rest() -> None:
    session = relogging_in()
    event = failed(session, OverBudget(700.0, known=False), SPENT)

    after, effects = step(session, event, moment(NOW), POLICY)

    assert after == replace(session, doing=Idle(3300.0), error=SPENT, bar=Bar(700.0, SPENT))
    assert effects == ()


def test_a_login_beyond_the_budget_is_else_followed_by_a_refresh_and_is_no_attempt() -> None:
    session = logging_in_beside_a_refresh_token()
    event = failed(session, OverBudget(700.0, known=False), SPENT)

    after, effects = step(session, event, moment(NOW), POLICY)

    assert after == replace(
        session, doing=Requesting(REFRESH), number=3, error=SPENT, bar=Bar(700.0, SPENT)
    )
    assert effects == (Send(3, REFRESH),)


@pytest.mark.parametrize("until", [700.0, inf])
def test_a_password_known_as_rejected_stops_a_session_without_refresh_token(until: float) -> None:
    session = logging_in()
    event = failed(session, OverBudget(until, known=True), SPENT)

    after, effects = step(session, event, moment(NOW), POLICY)

    assert (after.doing, after.failures, after.ended) == (Stopped(), 1, -inf)
    assert bar_of(after) == (inf, LoginRejected)
    assert effects == ()


def test_a_password_known_as_rejected_lets_a_well_session_rest() -> None:
    session = relogging_in()
    event = failed(session, OverBudget(inf, known=True), SPENT)

    after, effects = step(session, event, moment(NOW), POLICY)

    assert after == replace(session, doing=Idle(3300.0), error=SPENT, bar=after.bar)
    assert bar_of(after) == (inf, LoginRejected)
    assert effects == ()


def test_a_password_known_as_rejected_is_else_followed_by_a_refresh() -> None:
    session = logging_in_beside_a_refresh_token()
    event = failed(session, OverBudget(inf, known=True), SPENT)

    after, effects = step(session, event, moment(NOW), POLICY)

    assert bar_of(after) == (inf, LoginRejected)
    assert effects == (Send(3, REFRESH),)


def bar_of(session: Session) -> tuple[float, type[Exception]]:
    assert session.bar is not None
    return session.bar.until, session.bar.error.raises


# login_after: only where another secret may do

MAY_DO = [Kind.GRANT_REJECTED, Kind.SECRET_UNAVAILABLE, OverBudget(inf, known=True)]
MAY_NOT = [
    Kind.TRANSIENT,
    Kind.UNSENT,
    Kind.UNCERTAIN,
    Kind.UNCLEAR,
    Kind.CLIENT_REJECTED,
    OverBudget(700.0, known=False),
]


@pytest.mark.parametrize("base", [logging_in(), relogging_in()])
@pytest.mark.parametrize("kind", MAY_DO)
def test_an_ordered_login_follows_one_that_another_secret_may_mend(
    base: Session, kind: Kind | OverBudget
) -> None:
    session = replace(base, doing=Requesting(Login(), login_after=Login()))

    after, effects = step(session, failed(session, kind, FAILURE), moment(NOW), POLICY)

    assert after.doing == Requesting(Login())
    assert effects == (Send(session.number + 1, Login()),)


@pytest.mark.parametrize("base", [logging_in(), relogging_in()])
@pytest.mark.parametrize("kind", MAY_NOT)
def test_an_ordered_login_does_not_follow_one_that_another_secret_could_not_mend(
    base: Session, kind: Kind | OverBudget
) -> None:
    with_order = replace(base, doing=Requesting(Login(), login_after=Login()))
    without = replace(base, doing=Requesting(Login()))

    assert step(with_order, failed(base, kind, FAILURE), moment(NOW), POLICY) == step(
        without, failed(base, kind, FAILURE), moment(NOW), POLICY
    )
