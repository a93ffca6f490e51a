"""How often a user may have a token replaced. The usual token arrives at 0 s and lives an hour."""

from dataclasses import replace

import pytest

from made import access, fresh, problem, refreshing
from openfit_tokend.core.callers.wishes import Wishes, brings_login_forward, wish
from openfit_tokend.core.session import Session

NONE = Wishes()


def holding(at: float) -> Session:
    """Return a session whose token has just arrived."""
    return replace(fresh(), access=access(sent=at), ended=at)


def test_a_user_may_have_two_young_tokens_replaced_at_once_and_each_is_counted() -> None:
    first = wish(NONE, holding(100.0), 100.0)
    assert first == Wishes(1, 100.0)

    assert wish(Wishes(1, 100.0), holding(101.0), 101.0) == Wishes(2, 101.0)


@pytest.mark.parametrize(
    ("count", "pause"), [(2, 20.0), (3, 40.0), (6, 320.0), (7, 600.0), (5000, 600.0)]
)
def test_who_wants_one_after_another_replaced_waits_ever_longer_since_its_last(
    count: int, pause: float
) -> None:
    before = Wishes(count, 1000.0)

    assert wish(before, holding(1001.0), 1005.0) == pause - 5.0
    assert wish(before, holding(1001.0), 999.0 + pause) == 1.0
    assert wish(before, holding(1001.0), 1000.0 + pause) == Wishes(count + 1, 1000.0 + pause)


def test_an_older_token_costs_nothing() -> None:
    """Older than a quarter of its life, or a minute: it may well have died."""
    short = replace(fresh(), access=access(lifetime=120.0))

    assert wish(NONE, fresh(), 899.9) == Wishes(1, 899.9)
    assert wish(NONE, fresh(), 900.0) == Wishes(0, 900.0)
    assert wish(NONE, short, 59.9) == Wishes(1, 59.9)
    assert wish(NONE, short, 60.0) == Wishes(0, 60.0)


def test_a_quiet_time_of_10_minutes_and_the_pause_forgives() -> None:
    before = Wishes(5, 0.0)  # with a pause of 80 s

    assert wish(before, holding(679.0), 680.0) == Wishes(6, 680.0)
    assert wish(before, holding(679.0), 680.1) == Wishes(1, 680.1)


@pytest.mark.parametrize(
    "session",
    [
        refreshing(),
        replace(fresh(), wanted=True),
        replace(fresh(), failures=1, error=problem()),
        replace(fresh(), access=None),
    ],
    ids=["under way", "wanted by another", "retried", "no token"],
)
def test_what_happens_anyway_costs_nothing(session: Session) -> None:
    before = Wishes(9, 99.0)

    assert wish(before, session, 100.0) is before


def test_a_login_is_brought_forward_by_half_of_a_tokens_life_at_most() -> None:
    without = replace(fresh(), refresh=None)

    assert brings_login_forward(without, 1799.9)
    assert not brings_login_forward(without, 1800.0)
    assert not brings_login_forward(fresh(), 100.0)
    assert not brings_login_forward(replace(without, access=None), 100.0)
