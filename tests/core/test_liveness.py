"""What the watchdog is fed by: nothing may be long behind."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given

from made import access, fresh, problem, refreshing
from openfit_tokend.core.reports.liveness import LATE, late_keepers, late_requests
from openfit_tokend.core.session import Bar, Idle, Session, Stopped, wake_at
from walks import Taken, walks

WOKEN_AT = 3300.0


@pytest.mark.parametrize("now", [0.0, WOKEN_AT, WOKEN_AT + LATE])
def test_a_profile_that_waits_for_its_moment_or_was_just_passed_by_it_is_well(now: float) -> None:
    assert late_keepers([("main", fresh())], now) == []


def test_a_profile_that_nobody_woke_is_named() -> None:
    sessions = [("well", replace(fresh(), doing=Idle(9000.0))), ("ill", fresh())]

    assert late_keepers(sessions, WOKEN_AT + LATE + 1.0) == [
        "profile ill should have been looked at 121 s ago"
    ]


def test_a_stopped_profile_is_late_only_where_its_token_was_not_dropped() -> None:
    stopped = Session(Stopped(), bar=Bar(inf, problem()))
    now = access().expires + LATE + 1.0

    assert late_keepers([("main", stopped)], now) == []
    assert late_keepers([("main", replace(stopped, access=access()))], now) != []


def test_a_request_under_way_is_judged_by_its_own_time_alone() -> None:
    waiting = replace(refreshing(), access=None)

    assert late_keepers([("main", waiting)], 1e9) == []
    assert late_requests([-50.0, 0.0, LATE]) == []
    assert late_requests([0.0, LATE + 1.0]) == ["a token request should have ended 121 s ago"]


@given(walks())
def test_a_session_that_was_woken_in_time_is_never_late(walk: tuple[Taken, ...]) -> None:
    for taken in walk:
        now = min(wake_at(taken.after), 1e12) + LATE

        assert late_keepers([("main", taken.after)], now) == []
