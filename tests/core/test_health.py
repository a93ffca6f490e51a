"""Whether a profile is well: what each session comes to, and why."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given

from made import POLICY, access, fresh, how, logging_in, problem, refreshing
from openfit_token.errors import (
    BudgetSpent,
    ClientRejected,
    LoginRejected,
    SecretUnavailable,
    Unavailable,
)
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.reports.health import Condition
from openfit_tokend.core.reports.health import health as health_of
from openfit_tokend.core.reports.notices import Notice, notice
from openfit_tokend.core.session import (
    Bar,
    Idle,
    Login,
    Requesting,
    Session,
    State,
    Stopped,
    last_error,
    live,
    logged_out_session,
    new_session,
)
from walks import Taken, walks

NOW = 100.0
OUTAGE = problem()
REJECTED = problem(LoginRejected)
MISSING = problem(SecretUnavailable)
RETRYING = replace(fresh(), failures=1, error=OUTAGE)
LOCKED = Session(Stopped(), bar=Bar(inf, REJECTED), failures=1, error=OUTAGE)
DUE = 3300.0


@pytest.mark.parametrize(
    ("session", "now", "condition", "ready", "problems"),
    [
        (fresh(), NOW, Condition.WELL, True, ()),
        (refreshing(), DUE, Condition.WELL, True, ()),
        (RETRYING, DUE - 0.1, Condition.WELL, True, (OUTAGE,)),
        (RETRYING, DUE, Condition.RETRYING, True, (OUTAGE,)),
        (replace(refreshing(), failures=1, error=OUTAGE), DUE, Condition.RETRYING, True, (OUTAGE,)),
        (new_session(NOW), NOW, Condition.PENDING, False, ()),
        (logging_in(), NOW, Condition.PENDING, False, ()),
        (replace(fresh(), access=None), NOW, Condition.PENDING, False, ()),
        (
            Session(Requesting(Login()), failures=3, error=OUTAGE),
            NOW,
            Condition.DOWN,
            False,
            (OUTAGE,),
        ),
        (RETRYING, 3599.0, Condition.DOWN, False, (OUTAGE,)),
        (Session(Idle(160.0), failures=1, error=MISSING), NOW, Condition.DOWN, False, (MISSING,)),
        (LOCKED, NOW, Condition.LOCKED, False, (REJECTED,)),
        (replace(LOCKED, access=access()), NOW, Condition.LOCKED, True, (REJECTED,)),
    ],
    ids=[
        "a live token is well",
        "and so is one that is being replaced",
        "a failure before it is due is told",
        "a due token that could not be replaced",
        "and while that is tried again",
        "nothing was tried yet",
        "the first login is under way",
        "a token ended unused",
        "a login is tried again",
        "a token ended in an outage",
        "no password to try",
        "locked, by the bar",
        "locked, with a live token",
    ],
)
def test_how_a_profile_is_follows_from_its_session(
    session: Session,
    now: float,
    condition: Condition,
    ready: bool,  # noqa: FBT001 -- pytest passes it by name
    problems: tuple[Problem, ...],
) -> None:
    health = how(session, now)

    assert (health.condition, health.ready, health.problems) == (condition, ready, problems)


def test_a_rejected_client_is_locked_and_a_logout_is_an_operators() -> None:
    rejected = problem(ClientRejected)

    assert how(replace(fresh(), failures=1, error=rejected)).condition is Condition.LOCKED
    assert how(logged_out_session(NOW)).condition is Condition.LOGGED_OUT


@pytest.mark.parametrize(
    ("session", "now", "told"),
    [
        (fresh(), NOW, None),
        (RETRYING, DUE - 0.1, None),
        (RETRYING, DUE, OUTAGE),
        (RETRYING, 3599.0, None),
        (LOCKED, NOW, None),
        (replace(LOCKED, access=access()), NOW, REJECTED),
    ],
)
def test_a_live_token_is_degraded_by_what_keeps_it_from_being_replaced(
    session: Session, now: float, told: Problem | None
) -> None:
    assert how(session, now).degraded == told


# What is ahead

DAY = 86400.0
AT_25 = 25 * DAY
HELD = replace(fresh(), access=access(sent=AT_25 - NOW, obtained=AT_25 - NOW))
SPENT = problem(BudgetSpent)
NO_GRANT = problem(ClientRejected)


@pytest.mark.parametrize("error", [REJECTED, MISSING, NO_GRANT, SPENT])
def test_a_session_whose_planned_login_needs_a_person_is_said_to_end_and_when(
    error: Problem,
) -> None:
    health = how(replace(HELD, bar=Bar(AT_25 - 1, error)), AT_25)

    assert health.condition is Condition.ENDING
    assert health.degraded == replace(
        error, message=f"the session ends in 5 d 0 h: {error.message}"
    )
    assert notice(health) == Notice(Condition.ENDING, State.FRESH, health.degraded)


def test_a_planned_login_that_the_network_keeps_from_succeeding_is_told_a_day_later() -> None:
    later = 25.6 * DAY
    held = replace(HELD, access=access(sent=later - NOW, obtained=later - NOW))

    assert how(replace(HELD, bar=Bar(inf, OUTAGE)), AT_25).condition is Condition.WELL
    assert how(replace(held, bar=Bar(inf, OUTAGE)), later).condition is Condition.ENDING


def test_a_planned_login_that_has_yet_to_be_tried_is_no_news() -> None:
    health = how(HELD, AT_25)

    assert (health.condition, health.settled) == (Condition.WELL, False)
    assert notice(health) is None


def test_an_outage_is_more_urgent_than_the_end_of_the_session() -> None:
    due = AT_25 - NOW + 3300
    health = how(replace(HELD, bar=Bar(inf, REJECTED), failures=1, error=OUTAGE), due)

    assert health.condition is Condition.RETRYING
    assert [each.raises for each in health.problems] == [Unavailable, LoginRejected]


@pytest.mark.parametrize(
    ("session", "condition"),
    [
        (fresh(), Condition.DEGRADED),
        (RETRYING, Condition.DEGRADED),
        (HELD, Condition.ENDING),
        (logging_in(), Condition.PENDING),
        (LOCKED, Condition.LOCKED),
    ],
)
def test_a_stored_password_that_is_known_to_be_of_no_use_is_told_before_it_is_needed(
    session: Session, condition: Condition
) -> None:
    now = AT_25 if session is HELD else NOW
    health = health_of(session, now, POLICY, secret=MISSING)

    assert health.condition is condition
    assert any(each.message.endswith(MISSING.message) for each in health.problems)


def test_what_cannot_be_written_is_told_beside_a_token_that_lives() -> None:
    health = health_of(fresh(), NOW, POLICY, others=[OUTAGE])

    assert (health.condition, health.degraded) == (Condition.DEGRADED, OUTAGE)


def test_a_bar_that_ends_by_itself_is_no_trouble_ahead() -> None:
    free = replace(fresh(), bar=Bar(NOW - 1, SPENT))

    assert how(free).condition is Condition.WELL
    assert how(replace(free, bar=Bar(NOW + 1, SPENT))).condition is Condition.DEGRADED
    assert how(replace(free, bar=Bar(inf, NO_GRANT))).condition is Condition.DEGRADED


@given(walks())
def test_what_is_ready_has_a_live_token_and_what_is_ill_says_why(walk: tuple[Taken, ...]) -> None:
    for taken in walk:
        session, now = taken.after, taken.moment.now
        health = how(session, now)

        assert health.ready == (live(session, now) is not None)
        if health.condition in {Condition.WELL, Condition.RETRYING}:
            assert health.ready
        if health.condition not in {Condition.WELL, Condition.PENDING}:
            assert health.problems
        if health.condition is Condition.PENDING:
            assert last_error(session) is None
