"""What makes it worth looking at those who wait."""

from dataclasses import replace

from made import fresh, moment, refreshing
from openfit_tokend.core.callers.answers import is_news
from openfit_tokend.core.events import NewTokenWanted
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import Idle
from openfit_tokend.core.step import step


def test_a_wish_that_changes_nothing_else_is_no_news() -> None:
    wished, _ = step(refreshing(), NewTokenWanted(), moment(20.0), Policy())

    assert wished != refreshing()
    assert not is_news(refreshing(), wished)


def test_all_else_is_news() -> None:
    before = fresh()

    for after in (
        replace(before, doing=Idle(10.0)),
        replace(before, access=None),
        replace(before, refresh=None),
        replace(before, number=2),
        replace(before, failures=1),
        refreshing(),
    ):
        assert is_news(before, after)
