"""The formulas of the schedule."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import POLICY
from openfit_tokend.core.schedule import (
    Policy,
    doubled,
    due,
    expires,
    late_pause,
    margin,
    retry_pause,
    spacing,
    worn,
)

MOMENTS = st.floats(0.0, 1e8)
LIFETIMES = st.floats(0.1, 30 * 86400.0)
CHANCES = st.floats(0.0, 1.0, exclude_max=True)
FAILURES = st.integers(1, 10**6)
POLICIES = st.builds(Policy, refresh_before=st.floats(1.0, 86400.0))
TINY = 1e-6
"""Seconds of rounding at moments of years."""


# Examples


@pytest.mark.parametrize(
    ("lifetime", "seconds"), [(3600.0, 300.0), (1200.0, 300.0), (1199.0, 299.75), (8.0, 2.0)]
)
def test_the_margin_is_refresh_before_or_a_quarter_of_a_shorter_life(
    lifetime: float, seconds: float
) -> None:
    assert margin(lifetime, POLICY) == seconds


@pytest.mark.parametrize(("lifetime", "guard"), [(3600.0, 1.0), (16.0, 1.0), (8.0, 0.5)])
def test_a_token_ends_a_second_or_a_sixteenth_of_a_shorter_life_early(
    lifetime: float, guard: float
) -> None:
    assert expires(1000.0, lifetime) == 1000.0 + lifetime - guard


@pytest.mark.parametrize(("chance", "moment"), [(0.0, 4300.0), (0.5, 4285.0)])
def test_a_token_is_due_up_to_a_tenth_of_the_margin_early(chance: float, moment: float) -> None:
    assert due(1000.0, 3600.0, 1002.0, chance, POLICY) == moment


def test_a_token_that_arrives_late_is_due_a_second_after_its_arrival() -> None:
    assert due(1000.0, 8.0, 1005.5, 0.0, POLICY) == 1006.5


@pytest.mark.parametrize(
    ("times", "pause"), [(0, 0.5), (1, 1.0), (3, 4.0), (4, 7.0), (1024, 7.0), (10**9, 7.0)]
)
def test_a_pause_doubles_to_the_longest_however_often(times: int, pause: float) -> None:
    assert doubled(0.5, times, 7.0) == pause


@pytest.mark.parametrize(
    ("failures", "pause"), [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (10_000, 30.0)]
)
def test_pauses_double_to_a_minute_and_chance_halves_them(failures: int, pause: float) -> None:
    assert retry_pause(failures, 1e9, None, 0.0) == pause
    assert retry_pause(failures, 1e9, None, 0.5) == pause * 1.5


def test_a_pause_is_no_longer_than_the_longest() -> None:
    assert retry_pause(9, 12.0, None, 0.0) == 6.0


@pytest.mark.parametrize(
    ("asked", "pause"), [(0.0, 0.5), (0.4, 0.5), (7.0, 7.0), (600.0, 600.0), (1e9, 600.0)]
)
def test_retry_after_outweighs_the_pause_up_to_10_minutes(asked: float, pause: float) -> None:
    assert retry_pause(1, 1e9, asked, 0.0) == pause


def test_retry_after_is_spread_by_a_tenth() -> None:
    assert retry_pause(1, 1.0, 200.0, 0.5) == 210.0


@pytest.mark.parametrize(
    ("left", "lifetime", "pause"),
    [
        (300.0, 3600.0, 37.5),
        (80.0, 3600.0, 10.0),
        (20.0, 3600.0, 10.0),
        (0.0, 3600.0, 10.0),
        (10.0, 400.0, 100.0 / 30),
        (1.0, 8.0, 1.0),
        (80.0, 8.0, 10.0),
    ],
)
def test_tries_come_closer_towards_the_end_of_a_token(
    left: float, lifetime: float, pause: float
) -> None:
    assert late_pause(left, lifetime, POLICY) == pause


@pytest.mark.parametrize(
    ("wishes", "seconds"),
    [(0, 10.0), (2, 10.0), (3, 20.0), (4, 40.0), (7, 320.0), (8, 600.0), (10**6, 600.0)],
)
def test_the_spacing_doubles_from_the_third_wish_to_10_minutes(wishes: int, seconds: float) -> None:
    assert spacing(wishes) == seconds


def test_a_refresh_token_is_worn_at_four_fifths_of_its_life() -> None:
    policy = Policy(refresh_token_lifetime=1000.0)

    assert not worn(50.0, 849.9, policy)
    assert worn(50.0, 850.0, policy)


def test_also_in_a_long_margin_tries_are_10_s_apart_towards_its_end() -> None:
    assert late_pause(0.0, 86400.0, Policy(refresh_before=7200.0)) == 10.0


def test_about_30_tries_fit_a_margin_of_300_s_and_are_10_s_apart_in_its_last_quarter() -> None:
    now, failures, tries = 0.0, 0, list[float]()
    while now < 300.0:  # every try fails at once, with the mean of chance
        tries.append(now)
        failures += 1
        now += retry_pause(failures, late_pause(299.0 - now, 3600.0, POLICY), None, 0.5)

    last_quarter = [later - at for at, later in pairwise(tries) if at >= 225.0]
    assert 25 <= len(tries) <= 35
    assert max(last_quarter) <= 10.0


# For all inputs


@given(MOMENTS, LIFETIMES, st.floats(0.0, 100.0), CHANCES, POLICIES)
def test_due_is_never_before_a_second_after_the_arrival(
    sent: float, lifetime: float, took: float, chance: float, policy: Policy
) -> None:
    arrival = sent + took

    moment = due(sent, lifetime, arrival, chance, policy)

    assert moment >= arrival + 1.0


@given(MOMENTS, LIFETIMES, CHANCES, POLICIES)
def test_due_lies_in_the_margin_or_at_most_a_tenth_of_it_earlier_where_an_answer_is_quick(
    sent: float, lifetime: float, chance: float, policy: Policy
) -> None:
    early = margin(lifetime, policy)

    moment = due(sent, lifetime, sent - 1.0, chance, policy)

    assert sent + lifetime - 1.1 * early - TINY <= moment <= sent + lifetime - early + TINY


@given(MOMENTS, st.floats(2.0, 30 * 86400.0), CHANCES, st.floats(2.0, 86400.0))
def test_from_due_to_the_end_of_a_token_of_2_s_and_more_there_is_time_for_half_the_margin(
    sent: float, lifetime: float, chance: float, before: float
) -> None:
    policy = Policy(refresh_before=before)

    left = expires(sent, lifetime) - due(sent, lifetime, sent, chance, policy)

    assert left >= margin(lifetime, policy) / 2 - TINY


@given(FAILURES, st.floats(1.0, 1e9), CHANCES)
def test_a_pause_is_half_a_second_to_a_minute(failures: int, longest: float, chance: float) -> None:
    pause = retry_pause(failures, longest, None, chance)

    assert 0.5 <= pause <= min(60.0, longest)


@given(FAILURES, st.floats(1.0, 1e9), st.floats(0.0, 1e12), CHANCES)
def test_retry_after_is_kept_but_never_longer_than_11_minutes(
    failures: int, longest: float, asked: float, chance: float
) -> None:
    pause = retry_pause(failures, longest, asked, chance)

    assert min(asked, 600.0) <= pause <= 660.0


@given(st.floats(0.0, 1e7), LIFETIMES, POLICIES)
def test_the_longest_pause_while_a_token_lives_is_never_less_than_a_second(
    left: float, lifetime: float, policy: Policy
) -> None:
    assert late_pause(left, lifetime, policy) >= 1.0


@given(st.integers(0, 10**6))
def test_the_spacing_is_10_s_to_10_minutes_and_never_shrinks(refusals: int) -> None:
    assert 10.0 <= spacing(refusals) <= spacing(refusals + 1) <= 600.0
