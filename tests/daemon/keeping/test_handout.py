"""How long an answer that hands out a token stays prepared."""

import pytest

from made import PROFILE, access, fresh
from openfit_tokend.keeping.handout import NONE, prepared

LONG = 100.0
NOW = 3000.0


@pytest.mark.parametrize(
    ("due", "ends", "until"),
    [
        (NOW + 0.01, NOW + LONG, NOW + 0.01),
        (NOW + LONG, NOW + 0.01, NOW + 0.01),
        (NOW - 1.0, NOW + LONG, NOW - 1.0),
    ],
    ids=["not when it is due", "not when it has ended", "not at all when it was due"],
)
def test_an_answer_stays_prepared_only_while_nothing_in_it_can_change(
    due: float, ends: float, until: float
) -> None:
    token = access(sent=ends - 3599.0, due=due)
    assert token.expires == pytest.approx(ends)

    assert prepared(PROFILE, fresh(), token, NOW).until == pytest.approx(until)


def test_an_answer_stays_prepared_for_a_moment_since_the_wall_clock_may_be_set() -> None:
    handout = prepared(PROFILE, fresh(), access(due=NOW + LONG), NOW)

    assert NOW < handout.until <= NOW + 0.1
    assert handout.at(NOW + 0.05) != handout.at(NOW)


def test_what_was_never_prepared_is_never_prepared() -> None:
    assert NONE.until <= 0
