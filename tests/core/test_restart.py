"""What a restart of the daemon makes of a session that was stored before its request was sent."""

from dataclasses import replace
from math import inf

import pytest

from made import fresh, logging_in, problem, refresh, refreshing, relogging_in
from openfit_token.errors import LoggedOut, LoginRejected, Unavailable
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.restart import begun, forgotten, restored
from openfit_tokend.core.session import (
    Bar,
    Idle,
    Session,
    Stopped,
    logged_out_session,
    new_session,
)

NOW = 100.0
INTERRUPTED = Problem(
    Unavailable,
    "the daemon was restarted before the token server's answer came",
    "no action needed; it will be retried",
    NOW,
)
LOCKED = Bar(inf, problem(LoginRejected))


@pytest.mark.parametrize(
    "session",
    [
        fresh(),
        replace(fresh(), failures=2, error=problem(), wanted=True),
        Session(Stopped(), number=4, failures=1, error=LOCKED.error, bar=LOCKED),
        logged_out_session(50.0),
    ],
    ids=["fresh", "in an outage", "locked", "logged out"],
)
def test_a_session_without_a_request_under_way_is_restored_as_it_was(session: Session) -> None:
    assert restored(session, NOW) == session


def test_a_refresh_under_way_counts_as_lost_and_is_tried_again_after_a_second() -> None:
    session = replace(refreshing(), refresh=refresh(lost=1, unclear=2), wanted=True)

    assert restored(session, NOW) == replace(
        session,
        doing=Idle(NOW + 1.0),
        refresh=refresh(lost=2, unclear=2),
        number=3,
        failures=1,
        error=INTERRUPTED,
    )


def test_a_login_under_way_leaves_the_refresh_token_as_it_is() -> None:
    assert restored(relogging_in(), NOW) == replace(
        relogging_in(), doing=Idle(NOW + 1.0), number=3, failures=1, error=INTERRUPTED
    )


def test_the_failures_before_a_restart_still_count() -> None:
    assert restored(replace(refreshing(), failures=5), NOW).failures == 5


def test_a_first_login_under_way_is_tried_again_after_a_second() -> None:
    assert restored(logging_in(), NOW) == Session(
        Idle(NOW + 1.0), number=2, failures=1, error=INTERRUPTED
    )


@pytest.mark.parametrize("error", [LoginRejected, LoggedOut])
def test_a_login_ordered_over_a_bar_for_ever_is_not_tried_again_by_itself(
    error: type[LoginRejected | LoggedOut],
) -> None:
    session = replace(logging_in(), bar=Bar(inf, problem(error)))

    assert restored(session, NOW) == replace(
        session, doing=Stopped(), number=2, failures=1, error=INTERRUPTED
    )


def test_under_a_bar_for_ever_the_refresh_token_is_still_tried() -> None:
    session = replace(refreshing(), bar=LOCKED)

    assert restored(session, NOW).doing == Idle(NOW + 1.0)


def test_a_bar_for_a_time_stops_nothing() -> None:
    session = replace(logging_in(), bar=Bar(900.0, problem()))

    assert restored(session, NOW).doing == Idle(NOW + 1.0)


# Whether a rejection was forgotten


REJECTED = Session(Stopped(), error=LOCKED.error, bar=LOCKED)


@pytest.mark.parametrize("session", [fresh(), REJECTED])
def test_what_the_file_lacked_is_forgotten_unless_it_was_written_later(session: Session) -> None:
    assert forgotten(session, 10.0, unwritten=True, noted_at=9.0)
    assert not forgotten(session, 10.0, unwritten=True, noted_at=10.0)
    assert not forgotten(session, 10.0, unwritten=False, noted_at=9.0)


def test_a_file_that_says_nothing_of_this_boot_has_forgotten_a_rejection() -> None:
    assert forgotten(REJECTED, 10.0, unwritten=False, noted_at=-inf)
    assert not forgotten(fresh(), 10.0, unwritten=False, noted_at=-inf)


# Whether a profile begins logged out: two places keep that


OUT = logged_out_session(50.0)


@pytest.mark.parametrize("noted_at", [9.0, 10.0, 11.0])
def test_where_both_agree_the_stored_session_goes_on(noted_at: float) -> None:
    assert begun(fresh(), 10.0, logged_out=False, noted_at=noted_at, now=NOW) == fresh()
    assert begun(OUT, 10.0, logged_out=True, noted_at=noted_at, now=NOW) == OUT


def test_a_session_stored_after_the_ledger_says_whether_it_is_logged_out() -> None:
    assert begun(fresh(), 10.0, logged_out=True, noted_at=9.0, now=NOW) == fresh()
    assert begun(OUT, 10.0, logged_out=False, noted_at=9.0, now=NOW) == OUT


@pytest.mark.parametrize("noted_at", [10.0, 11.0])
def test_a_ledger_written_after_the_session_says_whether_it_is_logged_out(noted_at: float) -> None:
    out = begun(fresh(), 10.0, logged_out=True, noted_at=noted_at, now=NOW)

    assert out == logged_out_session(NOW)
    assert begun(OUT, 10.0, logged_out=False, noted_at=noted_at, now=NOW) == new_session(NOW)


def test_without_a_stored_session_the_ledger_says_it() -> None:
    out = begun(None, -inf, logged_out=True, noted_at=-inf, now=NOW)

    assert out == logged_out_session(NOW)
    assert begun(None, -inf, logged_out=False, noted_at=5.0, now=NOW) == new_session(NOW)
