"""What a caller is told."""

from dataclasses import replace
from math import inf

import pytest

from made import access, fresh, logging_in, problem, refresh, refreshing
from openfit_token.errors import (
    BudgetSpent,
    ClientRejected,
    LoggedOut,
    LoginRejected,
    MinTtl,
    SecretUnavailable,
    TimedOut,
    TokenError,
    Unavailable,
)
from openfit_tokend.core.callers.answers import (
    Answer,
    Call,
    Get,
    Live,
    Refuse,
    Renew,
    answer,
    token_for,
)
from openfit_tokend.core.session import (
    Bar,
    Idle,
    RefreshToken,
    Session,
    Stopped,
    logged_out_session,
)

NOW = 100.0
DEADLINE = 130.0

CALLS = [Get(), Get(min_ttl=60.0), Refuse("id-of-a1"), Renew(asked_at=NOW)]
"""Calls that a session without a token can't fulfil."""
UNFULFILLED = CALLS[1:]
"""Calls that `ending` can't fulfil either, though its token lives."""


def ending() -> Session:
    """Return a session whose token lives for 50 s more, and whose next try is soon."""
    return replace(fresh(), access=access(sent=-3449.0), doing=Idle(105.0), ended=95.0)


def told(given: Answer) -> tuple[type[TokenError], str, str | None, float | None]:
    """Return what of an error goes to the caller."""
    assert isinstance(given, TokenError)
    return type(given), given.message, given.hint, given.retry_after


def text(kind: type[TokenError], retry_after: float | None) -> tuple[object, ...]:
    """Return what is told of `problem(kind)`."""
    return kind, f"this is {kind.__name__}", "do something", retry_after


# live


@pytest.mark.parametrize(
    "session",
    [
        ending(),
        refreshing(),
        replace(ending(), failures=1, error=problem()),
        replace(ending(), failures=1, error=problem(ClientRejected)),
        Session(Stopped(), access(), bar=Bar(inf, problem(LoginRejected))),
    ],
    ids=["idle", "requesting", "retrying", "client rejected", "locked"],
)
def test_get_is_given_a_live_token_whatever_else_is_happening(session: Session) -> None:
    assert answer(session, Get(), NOW, NOW) == session.access


def test_a_token_in_its_last_second_is_not_given() -> None:
    session = replace(fresh(), doing=Idle(3600.0), failures=1, error=problem())

    assert answer(session, Get(), 3600.0, 3598.9) == session.access
    assert answer(session, Get(), 3600.0, 3599.0) is None


def test_min_ttl_is_given_a_token_that_lives_as_long_as_that() -> None:
    assert answer(ending(), Get(min_ttl=50.0), DEADLINE, NOW) == ending().access
    assert answer(ending(), Get(min_ttl=50.1), DEADLINE, NOW) is None


def test_min_ttl_beyond_the_life_of_a_new_token_is_an_error_at_once() -> None:
    session = replace(fresh(), access=access(sent=90.0, obtained=92.0))

    refused = answer(session, Get(min_ttl=3597.1), DEADLINE, NOW)

    assert told(refused) == (
        MinTtl,
        "min_ttl is 3597.1 s, but a new token lives only 3597 s",
        "ask for less",
        None,
    )


def test_min_ttl_that_a_new_token_just_fulfils_waits_for_it() -> None:
    session = replace(fresh(), access=access(sent=90.0, obtained=92.0), doing=Idle(102.0))

    assert answer(session, Get(min_ttl=3597.0), DEADLINE, NOW) is None


def test_min_ttl_beyond_a_new_token_is_told_also_where_the_profile_is_locked() -> None:
    session = Session(Stopped(), access(), bar=Bar(inf, problem(LoginRejected)))

    assert isinstance(answer(session, Get(min_ttl=9999.0), DEADLINE, NOW), MinTtl)


def test_refuse_waits_for_a_token_with_another_id() -> None:
    assert answer(ending(), Refuse("id-of-a1"), DEADLINE, NOW) is None
    assert answer(ending(), Refuse("id-of-a0"), DEADLINE, NOW) == ending().access


@pytest.mark.parametrize(("obtained", "given"), [(90.0, True), (89.9, False), (101.0, True)])
def test_refresh_is_given_a_token_that_arrived_10_s_before_the_call_or_after_it(
    obtained: float,
    given: bool,  # noqa: FBT001 -- pytest names it
) -> None:
    session = replace(fresh(), access=access(sent=80.0, obtained=obtained), doing=Idle(103.0))

    later = answer(session, Renew(asked_at=NOW), DEADLINE, 102.0)

    assert later == (session.access if given else None)


def test_nothing_held_is_no_token_for_anyone() -> None:
    for call in (Get(), Get(1.0), Refuse("id-of-a1"), Renew(NOW)):
        assert token_for(logging_in(), call, NOW) is None


# Stopped: code at once


@pytest.mark.parametrize("kind", [LoginRejected, LoggedOut])
@pytest.mark.parametrize("call", CALLS)
def test_stopped_every_call_is_told_the_bars_error_at_once(
    call: Call, kind: type[TokenError]
) -> None:
    bar = Bar(inf, problem(kind))
    session = Session(Stopped(), failures=1, error=problem(Unavailable), bar=bar)

    assert told(answer(session, call, DEADLINE, NOW)) == text(kind, None)


@pytest.mark.parametrize("call", UNFULFILLED)
def test_stopped_who_wants_a_new_token_is_told_so_at_once_though_the_old_one_lives(
    call: Call,
) -> None:
    session = Session(Stopped(), ending().access, bar=Bar(inf, problem(LoginRejected)))

    assert told(answer(session, call, DEADLINE, NOW)) == text(LoginRejected, None)


# Idle, an operator is needed: code at once


@pytest.mark.parametrize("call", CALLS)
def test_without_a_secret_and_a_refresh_token_every_call_is_told_so_at_once(call: Call) -> None:
    session = Session(Idle(105.0), failures=1, error=problem(SecretUnavailable))

    assert told(answer(session, call, DEADLINE, NOW)) == text(SecretUnavailable, None)


@pytest.mark.parametrize("call", CALLS)
def test_without_a_secret_but_with_a_refresh_token_every_call_waits(call: Call) -> None:
    session = Session(Idle(105.0), refresh=refresh(), error=problem(SecretUnavailable))

    assert answer(session, call, DEADLINE, NOW) is None


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("held", [None, refresh()])
def test_a_rejected_client_is_told_at_once(call: Call, held: RefreshToken | None) -> None:
    session = Session(Idle(105.0), refresh=held, failures=1, error=problem(ClientRejected))

    assert told(answer(session, call, DEADLINE, NOW)) == text(ClientRejected, None)


@pytest.mark.parametrize("call", UNFULFILLED)
def test_a_client_that_was_rejected_only_at_a_planned_login_lets_calls_wait(call: Call) -> None:
    session = replace(ending(), failures=0, error=problem(ClientRejected))

    assert answer(session, call, DEADLINE, NOW) is None


# Idle, due after the deadline: code at once


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", [Unavailable, BudgetSpent])
def test_a_next_try_after_the_deadline_is_told_at_once_with_when_it_is(
    call: Call, kind: type[TokenError]
) -> None:
    session = Session(Idle(DEADLINE + 0.5), failures=7, error=problem(kind))

    assert told(answer(session, call, DEADLINE, NOW)) == text(kind, 30.5)


@pytest.mark.parametrize("call", UNFULFILLED)
def test_a_next_try_after_the_deadline_without_an_error_is_timed_out_at_once(call: Call) -> None:
    session = replace(ending(), doing=Idle(DEADLINE + 0.5))

    kind, _, _, retry_after = told(answer(session, call, DEADLINE, NOW))

    assert (kind, retry_after) == (TimedOut, 30.5)


@pytest.mark.parametrize("call", CALLS)
def test_a_next_try_at_the_deadline_is_waited_for(call: Call) -> None:
    session = Session(Idle(DEADLINE), failures=1, error=problem())

    assert answer(session, call, DEADLINE, NOW) is None


@pytest.mark.parametrize(
    "session",
    [
        Session(Stopped(), bar=Bar(inf, problem(LoginRejected))),
        Session(Idle(DEADLINE + 1.0), error=problem(SecretUnavailable)),
        logging_in(),
    ],
)
def test_who_wants_a_live_token_at_all_costs_waits_whatever_goes_wrong(session: Session) -> None:
    assert answer(session, Live(), deadline=NOW, now=NOW) is None
    assert answer(ending(), Live(), deadline=NOW, now=NOW) == ending().access


def test_where_the_session_has_no_error_the_bars_is_told() -> None:
    session = Session(Idle(900.0), bar=Bar(900.0, problem(BudgetSpent)))

    assert told(answer(session, Get(), DEADLINE, NOW)) == text(BudgetSpent, 800.0)


def test_where_both_have_an_error_and_it_is_not_stopped_the_sessions_is_told() -> None:
    bar = Bar(inf, problem(LoginRejected))
    session = Session(Idle(900.0), refresh=refresh(), failures=1, error=problem(), bar=bar)

    assert told(answer(session, Get(), DEADLINE, NOW)) == text(Unavailable, 800.0)


def test_the_retry_after_of_a_spent_budget_is_the_next_try_also_where_that_is_a_refresh() -> None:
    spent = problem(BudgetSpent, until=900.0)
    session = replace(ending(), doing=Idle(140.0), error=spent, bar=Bar(900.0, spent))

    assert told(answer(session, Renew(NOW), DEADLINE, NOW)) == text(BudgetSpent, 40.0)


# Idle otherwise, Requesting: wait; at the deadline: code, else TIMED_OUT


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("session", [logging_in(), Session(Idle(105.0))])
def test_calls_wait_until_their_deadline(call: Call, session: Session) -> None:
    assert answer(session, call, DEADLINE, NOW) is None
    assert answer(session, call, DEADLINE, DEADLINE - 0.1) is None


@pytest.mark.parametrize("call", CALLS)
def test_at_the_deadline_an_error_that_is_known_is_told(call: Call) -> None:
    session = replace(logging_in(), failures=3, error=problem())

    assert told(answer(session, call, DEADLINE, DEADLINE)) == text(Unavailable, None)


@pytest.mark.parametrize("call", CALLS)
def test_at_the_deadline_without_an_error_it_is_timed_out(call: Call) -> None:
    assert told(answer(logging_in(), call, DEADLINE, DEADLINE)) == (
        TimedOut,
        "no suitable token arrived within the call's wait",
        "wait longer, or see openfit-token status",
        None,
    )


def test_a_try_that_is_overdue_is_never_told_as_a_negative_wait() -> None:
    session = Session(Idle(NOW), failures=1, error=problem())

    assert told(answer(session, Get(), 105.0, 105.0)) == text(Unavailable, 0.0)


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_does_not_wait_is_answered_at_once(call: Call) -> None:
    assert isinstance(answer(logging_in(), call, NOW, NOW), TimedOut)


def test_a_logged_out_profile_tells_so() -> None:
    assert isinstance(answer(logged_out_session(0.0), Get(), DEADLINE, NOW), LoggedOut)
