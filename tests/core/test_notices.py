"""What a profile's `notify_command` is told of, and what not."""

from dataclasses import replace

import pytest
from hypothesis import given

from made import access, fresh, problem, refreshing
from openfit_token.errors import ClientRejected, LoginRejected, SecretUnavailable
from openfit_tokend.core.notices import Condition, Notice, is_due, notice, told_before
from openfit_tokend.core.session import (
    Bar,
    Idle,
    Login,
    Requesting,
    Session,
    State,
    Stopped,
    live,
    logged_out_session,
    new_session,
    state,
)
from walks import Taken, walks

NOW = 100.0
OUTAGE = problem()
REJECTED = problem(LoginRejected)
DOWN = Session(Idle(NOW + 60), attempt=3, error=OUTAGE)
LOCKED = Session(Stopped(), bar=Bar(float("inf"), REJECTED))


def told(session: Session, now: float = NOW) -> Condition | None:
    found = notice(session, now)
    return None if found is None else found.condition


def test_a_fresh_profile_is_well() -> None:
    assert notice(fresh(), NOW) == Notice(Condition.WELL, State.FRESH, None)


def test_a_profile_without_a_live_token_is_down_with_the_reason() -> None:
    assert notice(DOWN, NOW) == Notice(Condition.DOWN, State.DOWN, OUTAGE)


def test_a_locked_profile_is_locked_though_its_token_lives() -> None:
    assert notice(LOCKED, NOW) == Notice(Condition.LOCKED, State.LOCKED, REJECTED)
    assert told(replace(LOCKED, access=access())) is Condition.LOCKED


def test_a_profile_whose_password_cannot_be_read_is_down() -> None:
    missing = problem(SecretUnavailable)

    found = notice(Session(Idle(NOW + 60), attempt=1, error=missing), NOW)

    assert found == Notice(Condition.DOWN, State.EMPTY, missing)


@pytest.mark.parametrize(
    "session",
    [
        new_session(NOW),
        Session(Requesting(Login())),
        Session(Requesting(Login()), attempt=3, error=OUTAGE),
        refreshing(),
        replace(fresh(), attempt=1, error=OUTAGE),
        logged_out_session(NOW),
    ],
)
def test_what_has_not_settled_says_nothing(session: Session) -> None:
    assert notice(session, NOW) is None


@pytest.mark.parametrize("last", list(Condition))
@pytest.mark.parametrize(
    ("session", "condition"),
    [(fresh(), Condition.WELL), (DOWN, Condition.DOWN), (LOCKED, Condition.LOCKED)],
)
def test_what_was_told_is_not_told_again(
    last: Condition, session: Session, condition: Condition
) -> None:
    assert is_due(last, notice(session, NOW)) is (condition is not last)


def test_a_rejected_client_that_is_tried_each_hour_is_told_once() -> None:
    locked = replace(fresh(), attempt=1, error=problem(ClientRejected))
    trying = replace(refreshing(), attempt=1, error=problem(ClientRejected))

    assert stories(locked, trying, locked, trying, locked) == [Condition.LOCKED]


@pytest.mark.parametrize(
    ("session", "condition"),
    [
        (new_session(NOW), Condition.WELL),
        (fresh(), Condition.WELL),
        (refreshing(), Condition.WELL),
        (replace(fresh(), access=access(lifetime=NOW / 2)), Condition.WELL),  # ended since
        (DOWN, Condition.DOWN),
        (replace(DOWN, doing=Requesting(Login())), Condition.DOWN),
        (LOCKED, Condition.LOCKED),
        (logged_out_session(NOW), Condition.WELL),
    ],
)
def test_a_restart_knows_what_was_told_before(session: Session, condition: Condition) -> None:
    assert told_before(session, NOW) is condition


def test_an_outage_is_told_once_however_often_it_is_tried() -> None:
    trying = replace(DOWN, doing=Requesting(Login()))

    assert stories(fresh(), trying, DOWN, trying, DOWN, trying, fresh(), fresh()) == [
        Condition.DOWN,
        Condition.WELL,
    ]


def test_a_logout_ends_no_alarm_but_the_login_after_it_does() -> None:
    assert stories(LOCKED, logged_out_session(NOW), fresh()) == [Condition.LOCKED, Condition.WELL]


def stories(*sessions: Session) -> list[Condition]:
    """Give what is told over a row of sessions."""
    last, found = Condition.WELL, list[Condition]()
    for session in sessions:
        now_is = notice(session, NOW)
        if now_is is not None and is_due(last, now_is):
            last = now_is.condition
            found.append(last)
    return found


@given(walks())
def test_only_a_profile_without_a_live_token_is_down_and_only_a_fresh_one_well(
    walk: tuple[Taken, ...],
) -> None:
    for taken in walk:
        now = taken.moment.now
        match told(taken.after, now):
            case Condition.DOWN:
                assert live(taken.after, now) is None
            case Condition.WELL:
                assert live(taken.after, now) is not None
            case Condition.LOCKED:
                assert state(taken.after, now) is State.LOCKED
            case None:
                pass
