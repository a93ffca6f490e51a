"""Which login is the one that an operator's call waits for, and what the operator is told of it."""

from dataclasses import replace
from math import inf

import pytest

from made import (
    POLICY,
    REFRESH,
    access,
    failed,
    fresh,
    grant,
    granted,
    logging_in,
    moment,
    problem,
    refreshing,
    relogging_in,
)
from openfit_token.errors import (
    BudgetSpent,
    LoggedOut,
    LoginRejected,
    TimedOut,
    TokenError,
    Unavailable,
)
from openfit_tokend.core import problems
from openfit_tokend.core.callers.answers import LogIn, LoginEnded, answer, ended_login, login_call
from openfit_tokend.core.events import (
    Adopted,
    Event,
    Failed,
    Granted,
    Kind,
    LoginOrdered,
    LogoutOrdered,
    OverBudget,
    Reconfigured,
    Woken,
)
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import (
    Bar,
    Doing,
    Idle,
    Login,
    Refresh,
    Requesting,
    Session,
    Stopped,
    logged_out_session,
    new_session,
)
from openfit_tokend.core.step import step

NOW = 100.0
DEADLINE = 130.0
REJECTED = problem(LoginRejected)


def ordered(session: Session) -> tuple[Session, LogIn]:
    after, _ = step(session, LoginOrdered(), moment(NOW), POLICY)
    return after, login_call(after)


def ended_by(session: Session, event: Event, now: float = NOW) -> tuple[Session, LoginEnded | None]:
    after, _ = step(session, event, moment(now), POLICY)
    return after, ended_login(session, event, after)


# Which login


def test_an_order_waits_for_the_login_that_it_sends() -> None:
    assert ordered(fresh())[1] == LogIn(2)


def test_an_order_during_a_refresh_waits_for_the_login_that_follows_it() -> None:
    assert ordered(refreshing())[1] == LogIn(3)


def test_an_order_during_a_login_waits_for_that_login() -> None:
    assert ordered(relogging_in())[1] == LogIn(2)


# Which event ends a login


def test_a_login_ends_with_its_token() -> None:
    session = logging_in()

    _, ended = ended_by(session, granted(session, 99.0, grant()))

    assert ended == LoginEnded(1, None)


def test_a_login_ends_with_its_error() -> None:
    session = relogging_in()

    _, ended = ended_by(session, failed(session, Kind.GRANT_REJECTED, REJECTED))

    assert ended == LoginEnded(2, REJECTED)


def test_a_login_whose_token_ended_on_arrival_ends_with_that_error() -> None:
    session = logging_in()

    after, ended = ended_by(session, granted(session, 90.0, grant(lifetime=8.0)))

    assert ended == LoginEnded(1, after.error)
    assert after.error is not None


def test_a_login_whose_token_ended_on_arrival_brought_none_though_an_older_one_lives() -> None:
    session = relogging_in()

    after, ended = ended_by(session, granted(session, 90.0, grant(lifetime=8.0)))

    assert after.access == session.access
    assert after.error is not None
    assert ended == LoginEnded(2, after.error)


def test_a_login_ends_though_a_refresh_follows_at_once() -> None:
    session = replace(relogging_in(), access=None)

    after, ended = ended_by(session, failed(session, Kind.GRANT_REJECTED, REJECTED))

    assert isinstance(after.doing, Requesting)
    assert ended == LoginEnded(2, REJECTED)


def test_a_login_after_which_another_is_sent_at_once_is_not_the_outcome() -> None:
    session, call = ordered(relogging_in())
    again, ended = ended_by(session, failed(session, Kind.GRANT_REJECTED, REJECTED))

    _, ended_again = ended_by(again, failed(again, OverBudget(inf, known=True), REJECTED))

    assert (ended, ended_again) == (None, LoginEnded(3, REJECTED))
    assert answer(again, call, DEADLINE, NOW, ended) is None
    assert isinstance(answer(again, call, DEADLINE, NOW, ended_again), LoginRejected)


def test_a_refresh_that_ends_is_no_login() -> None:
    session, _ = ordered(refreshing())

    for event in (
        granted(session, 99.0, grant()),
        failed(session, Kind.TRANSIENT, problem()),
    ):
        assert ended_by(session, event)[1] is None


def test_a_late_answer_ends_no_login() -> None:
    session = relogging_in()

    for event in (Granted(1, 90.0, grant()), Failed(1, Kind.UNCERTAIN, problem())):
        assert ended_by(session, event)[1] is None


@pytest.mark.parametrize(
    "event", [Woken(), LoginOrdered(), LogoutOrdered(), Reconfigured(identity=True)]
)
def test_nothing_but_its_answer_ends_a_login(event: Event) -> None:
    assert ended_by(relogging_in(), event)[1] is None


BROUGHT = replace(fresh(), access=access("b4", number=4, sent=90.0), number=4)
"""What another daemon wrote whose login brought a token."""


@pytest.mark.parametrize("request_", [REFRESH, Login()], ids=["after a refresh", "as its own"])
def test_a_login_that_is_still_to_come_has_not_ended(request_: Refresh | Login) -> None:
    """Whatever another daemon has written meanwhile."""
    written = replace(BROUGHT, doing=Requesting(request_), failures=1, error=problem())

    assert ended_by(relogging_in(), Adopted(written))[1] is None


@pytest.mark.parametrize("doing", [Idle(3300.0), Requesting(REFRESH)], ids=["idle", "refreshing"])
def test_a_login_of_another_daemon_ends_with_the_newer_token_that_it_wrote(doing: Doing) -> None:
    session = replace(fresh(), doing=Requesting(Login()), number=4)

    assert ended_by(session, Adopted(replace(BROUGHT, doing=doing)))[1] == LoginEnded(4, None)


@pytest.mark.parametrize(
    ("written", "error"),
    [
        (replace(fresh(), doing=Idle(130.0), failures=1, error=REJECTED), REJECTED),
        (Session(Stopped(), bar=Bar(inf, REJECTED)), REJECTED),
        (logged_out_session(NOW), problems.logged_out(NOW)),
    ],
    ids=["failed", "locked", "logged out"],
)
def test_a_login_of_another_daemon_ends_with_the_problem_that_it_wrote(
    written: Session, error: Problem
) -> None:
    session = replace(fresh(), doing=Requesting(Login()))

    _, ended = ended_by(session, Adopted(written))

    assert ended == LoginEnded(1, error)


def test_a_row_that_says_neither_ends_no_login() -> None:
    assert ended_by(logging_in(), Adopted(new_session(NOW)))[1] is None


def test_an_answer_to_a_session_that_waits_for_none_ends_no_login() -> None:
    assert ended_by(fresh(), Failed(1, Kind.UNCERTAIN, problem()))[1] is None


# What the operator is told


def test_the_operator_is_given_the_token_that_the_login_brought() -> None:
    session, call = ordered(fresh())

    after, ended = ended_by(session, granted(session, 99.0, grant()))

    assert after.access is not None
    assert answer(after, call, DEADLINE, NOW, ended) == after.access


def test_a_session_that_holds_a_token_does_not_answer_an_operator() -> None:
    session, call = ordered(fresh())

    assert answer(session, call, DEADLINE, NOW) is None


def test_an_earlier_login_that_ends_does_not_answer_an_operator() -> None:
    session, call = ordered(refreshing())

    assert answer(session, call, DEADLINE, NOW, LoginEnded(2, REJECTED)) is None


def test_a_later_login_that_ends_answers_an_operator_too() -> None:
    session = replace(fresh(), number=9)

    assert isinstance(
        answer(session, LogIn(3), DEADLINE, NOW, LoginEnded(8, REJECTED)), LoginRejected
    )


def test_the_operator_is_told_the_logins_error_though_the_session_lives_on() -> None:
    session, call = ordered(fresh())

    after, ended = ended_by(session, failed(session, Kind.GRANT_REJECTED, REJECTED))

    refused = answer(after, call, DEADLINE, NOW, ended)
    assert isinstance(refused, TokenError)
    assert (type(refused), refused.message, refused.hint, refused.retry_after) == (
        LoginRejected,
        "this is LoginRejected",
        "do something",
        None,
    )


def test_the_operator_whose_login_is_beyond_the_budget_is_told_until_when() -> None:
    session, call = ordered(fresh())
    spent = problem(BudgetSpent, until=700.0)

    after, ended = ended_by(session, failed(session, OverBudget(700.0, known=False), spent))

    refused = answer(after, call, DEADLINE, NOW, ended)
    assert isinstance(refused, BudgetSpent)
    assert refused.retry_after == 600.0


def test_the_operator_is_never_told_to_wait_until_a_moment_that_has_passed() -> None:
    spent = problem(BudgetSpent, until=NOW - 1.0)

    refused = answer(fresh(), LogIn(1), DEADLINE, NOW, LoginEnded(1, spent))

    assert isinstance(refused, BudgetSpent)
    assert refused.retry_after == 0.0


def test_the_operator_whose_login_failed_is_told_when_the_next_try_is() -> None:
    session, call = ordered(replace(fresh(), access=None, refresh=None))

    after, ended = ended_by(session, failed(session, Kind.TRANSIENT, problem(Unavailable)))

    refused = answer(after, call, DEADLINE, NOW, ended)
    assert isinstance(refused, Unavailable)
    assert refused.retry_after == 0.5


def test_a_token_that_has_ended_before_the_operator_is_answered_is_not_given() -> None:
    session, call = ordered(fresh())
    after, ended = ended_by(session, granted(session, 99.0, grant(lifetime=8.0)))

    assert isinstance(answer(after, call, DEADLINE, 107.0, ended), TimedOut)


def test_a_logout_meanwhile_is_told_the_operator() -> None:
    session, call = ordered(fresh())

    after, ended = ended_by(session, LogoutOrdered())

    assert isinstance(answer(after, call, DEADLINE, NOW, ended), LoggedOut)


def test_a_locked_profile_leaves_the_operator_waiting_for_his_own_login() -> None:
    session = Session(Stopped(), number=1, bar=Bar(inf, REJECTED))

    assert answer(session, LogIn(2), DEADLINE, NOW) is None


def test_a_logout_that_the_order_overrides_is_not_told() -> None:
    session, call = ordered(logged_out_session(50.0))

    assert answer(session, call, DEADLINE, NOW) is None


def test_at_the_deadline_the_operator_is_told_that_the_login_goes_on() -> None:
    session, call = ordered(replace(fresh(), error=problem(), failures=1))

    refused = answer(session, call, DEADLINE, DEADLINE)

    assert isinstance(refused, TimedOut)
    assert (refused.message, refused.hint) == (
        "the login didn't end in time",
        "it continues: see openfit-token status",
    )


def test_a_session_without_a_login_under_way_leaves_the_operator_waiting() -> None:
    # a new identity made the login void: the next one answers
    session, call = ordered(fresh())
    after, ended = ended_by(session, Reconfigured(identity=True))

    assert isinstance(after.doing, Idle)
    assert answer(after, call, DEADLINE, NOW, ended) is None

    asked, _ = step(after, Woken(), moment(NOW + 1.0), POLICY)
    assert asked.doing == Requesting(Login())
    done, ended = ended_by(asked, granted(asked, 101.0, grant()), 101.5)
    assert answer(done, call, DEADLINE, 101.5, ended) == done.access
