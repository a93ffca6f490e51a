"""A fleet of real daemons in a simulated world: some of the seeds that `python -m whole.fleet` runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import whole
from whole.fleet.faults import FAULTS, seeds_to_find
from whole.fleet.plan import PLANS, fair_plan
from whole.fleet.shrink import failure_of, told
from whole.fleet.world import World

pytestmark = pytest.mark.slow

SOME = (
    *(("hard", 0), ("hard", 1), ("hard", 3), ("weather", 0), ("asleep", 0), ("before", 0)),
    *(("after", 0), ("lossy", 1), ("passwords", 1), ("brisk", 0), ("stale", 0), ("crowd", 0)),
    *(("stepped", 0), ("set_back", 0)),
)
QUICKLY_FOUND = (
    *("no_compare", "sent_late", "bar_for_all", "unbounded", "entries_by_clock"),
    *("notices_forgotten", "outcomes_lost"),
)


@pytest.mark.parametrize(("kind", "seed"), SOME)
def test_a_fleet_keeps_all_promises_whatever_happens(kind: str, seed: int) -> None:
    failure = failure_of(PLANS[kind](seed))

    assert failure is None, told(failure)


def test_twenty_daemons_cost_one_login_and_one_refresh_for_each_token() -> None:
    world = World(fair_plan(0, hosts=20, periods=2))

    world.run()

    assert (world.witness.logins, world.witness.refreshes) == (1, 2)


@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_a_rule_that_is_left_out_is_noticed(name: str) -> None:
    assert seeds_to_find(name, range(20)) is not None, FAULTS[name].words


@pytest.mark.parametrize("name", FAULTS)
def test_each_rule_can_be_left_out(name: str) -> None:
    with FAULTS[name].patch():
        pass


def test_a_seed_tells_the_same_story_in_every_process() -> None:
    code = (
        "from whole.fleet.world import World; from whole.fleet.plan import hard_plan\n"
        "story = []; World(hard_plan(3), story).run(); print('\\n'.join(story))"
    )
    support = Path(whole.__path__[0]).parent
    stories = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": str(support), "PYTHONHASHSEED": salt},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.splitlines()
        for salt in ("1", "2")
    ]

    first, second = stories
    assert len(first) > 100
    differ = [(a, b) for a, b in zip(first, second, strict=False) if a != b]
    assert (differ[:3], len(first)) == ([], len(second))
