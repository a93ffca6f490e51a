"""What a profile's `notify_command` is told of, and what not."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given

from made import POLICY, access, fresh, how, problem, refreshing
from openfit_token.errors import ClientRejected, LoginRejected, SecretUnavailable
from openfit_tokend.core.reports.health import Condition
from openfit_tokend.core.reports.notices import (
    MAX_PAUSE,
    MAX_RUNS,
    SPACING,
    Notice,
    Told,
    after_run,
    due_at,
    notice,
    told_before,
)
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
DOWN = Session(Idle(NOW + 60), failures=3, error=OUTAGE)
LOCKED = Session(Stopped(), bar=Bar(float("inf"), REJECTED))


def told(session: Session, now: float = NOW) -> Condition | None:
    found = notice(how(session, now))
    return None if found is None else found.condition


def test_a_fresh_profile_is_well() -> None:
    assert notice(how(fresh(), NOW)) == Notice(Condition.WELL, State.FRESH, None)


def test_a_profile_without_a_live_token_is_down_with_the_reason() -> None:
    assert notice(how(DOWN, NOW)) == Notice(Condition.DOWN, State.DOWN, OUTAGE)


def test_a_locked_profile_is_locked_though_its_token_lives() -> None:
    assert notice(how(LOCKED, NOW)) == Notice(Condition.LOCKED, State.LOCKED, REJECTED)
    assert told(replace(LOCKED, access=access())) is Condition.LOCKED


def test_a_profile_whose_password_cannot_be_read_is_down() -> None:
    missing = problem(SecretUnavailable)

    found = notice(how(Session(Idle(NOW + 60), failures=1, error=missing)))

    assert found == Notice(Condition.DOWN, State.EMPTY, missing)


@pytest.mark.parametrize(
    "session",
    [
        new_session(NOW),
        Session(Requesting(Login())),
        Session(Requesting(Login()), failures=3, error=OUTAGE),
        refreshing(),
        replace(fresh(), failures=1, error=OUTAGE),
        logged_out_session(NOW),
    ],
)
def test_what_has_not_settled_says_nothing(session: Session) -> None:
    assert notice(how(session, NOW)) is None


@pytest.mark.parametrize("last", list(Condition))
@pytest.mark.parametrize(
    ("session", "condition"),
    [(fresh(), Condition.WELL), (DOWN, Condition.DOWN), (LOCKED, Condition.LOCKED)],
)
def test_what_was_told_is_not_told_again(
    last: Condition, session: Session, condition: Condition
) -> None:
    due = due_at(Told(last), notice(how(session, NOW)))

    assert due == (inf if condition is last else -inf)


def test_a_second_run_comes_no_sooner_than_the_spacing_after_the_first_began() -> None:
    told = after_run(Told(), Condition.DOWN, NOW, failed=False)

    assert due_at(told, notice(how(DOWN, NOW))) == inf
    assert due_at(told, notice(how(LOCKED, NOW))) == NOW + SPACING


def test_a_run_that_failed_is_repeated_with_a_growing_pause_for_about_a_day() -> None:
    told, now, pauses = Told(), NOW, list[float]()
    while now < inf:
        told = after_run(told, Condition.DOWN, now, failed=True)
        due = due_at(told, notice(how(DOWN, now)))
        pauses.append(due - now)
        now = due

    assert pauses[:5] == [10.0, 20.0, 40.0, 80.0, 160.0]
    assert len(pauses) == MAX_RUNS
    assert max(pauses[:-1]) == MAX_PAUSE
    assert 20 * 3600 < sum(pauses[:-1]) < 28 * 3600


def test_what_nobody_was_told_of_and_is_over_is_not_told() -> None:
    told = after_run(Told(), Condition.DOWN, NOW, failed=True)

    assert due_at(told, notice(how(fresh(), NOW))) == inf


def test_what_came_after_a_failure_is_told_without_its_long_pause() -> None:
    told = Told()
    for _ in range(10):
        told = after_run(told, Condition.DOWN, NOW, failed=True)

    assert due_at(told, notice(how(LOCKED, NOW))) == NOW + SPACING
    assert due_at(
        after_run(told, Condition.LOCKED, NOW, failed=True), notice(how(LOCKED, NOW))
    ) == (NOW + SPACING)


def test_a_rejected_client_that_is_tried_each_hour_is_told_once() -> None:
    locked = replace(fresh(), failures=1, error=problem(ClientRejected))
    trying = replace(refreshing(), failures=1, error=problem(ClientRejected))

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
    assert told_before(session, NOW, POLICY) is condition


def test_an_outage_is_told_once_however_often_it_is_tried() -> None:
    trying = replace(DOWN, doing=Requesting(Login()))

    assert stories(fresh(), trying, DOWN, trying, DOWN, trying, fresh(), fresh()) == [
        Condition.DOWN,
        Condition.WELL,
    ]


def test_a_logout_ends_no_alarm_but_the_login_after_it_does() -> None:
    assert stories(LOCKED, logged_out_session(NOW), fresh()) == [Condition.LOCKED, Condition.WELL]


def stories(*sessions: Session) -> list[Condition]:
    """Return what is told over a row of sessions."""
    told, found = Told(), list[Condition]()
    for session in sessions:
        now_is = notice(how(session, NOW))
        if now_is is not None and due_at(told, now_is) < inf:
            told = after_run(told, now_is.condition, NOW, failed=False)
            found.append(now_is.condition)
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
            case _:
                pass
