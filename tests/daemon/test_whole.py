"""Real daemons in a simulated world: some of the seeds that `python -m whole` runs by thousands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import whole
from whole.faults import FAULTS
from whole.plans import PLANS, fair_plan
from whole.seeds import failure_of, seeds_to_find, told
from whole.world import World

pytestmark = pytest.mark.slow

RUNS = (
    ("hard", 1),
    *(("short", seed) for seed in range(3)),
    *((kind, 0) for kind in ("fleet", "before", "set_back", "restored", "reboots", "keys")),
    ("cut_off", 0),
)
LONG_RUNS = (
    *(("hard", seed) for seed in (0, *range(2, 8))),
    *(("short", seed) for seed in range(3, 50)),
    ("week", 0),
    *(("fleet", seed) for seed in (1, 3)),
    *((kind, 0) for kind in ("weather", "asleep", "after", "brisk", "stale", "crowd")),
    *((kind, 0) for kind in ("stepped", "refused", "locked")),
    *((kind, 1) for kind in ("lossy", "passwords", "leaving")),
    ("cut_off", 1),  # on etcd; 0 is on PostgreSQL
)
ALL_RUNS = (*RUNS, *(pytest.param(*each, marks=pytest.mark.long) for each in LONG_RUNS))
QUICKLY_FOUND = (
    *("refresh_kept", "not_stored", "dead_token", "secret", "late_answer"),
    *("no_compare", "sent_late", "unbounded", "entries_by_clock", "all_forgotten"),
    *("to_come_is_now", "never_resealed", "refusals_unnoticed", "rows_trouble"),
)
LATER_FOUND = ("bar_for_all", "notices_forgotten", "outcomes_lost", "unsent_claims_written")
ALL_FOUND = (*QUICKLY_FOUND, *(pytest.param(each, marks=pytest.mark.long) for each in LATER_FOUND))


@pytest.mark.parametrize(("kind", "seed"), ALL_RUNS)
def test_all_promises_hold_whatever_happens(kind: str, seed: int) -> None:
    failure = failure_of(PLANS[kind](seed))

    assert failure is None, told(failure)


@pytest.mark.long
def test_twenty_daemons_cost_one_login_and_one_refresh_for_each_token() -> None:
    world = World(fair_plan(0, hosts=20, periods=2))

    world.run()

    assert (world.witness.logins, world.witness.refreshes) == (1, 2)


@pytest.mark.parametrize("name", ALL_FOUND)
def test_a_known_fault_is_found(name: str) -> None:
    assert seeds_to_find(name, range(150)) is not None, FAULTS[name].words


@pytest.mark.parametrize("name", FAULTS)
def test_each_known_fault_can_be_put_in(name: str) -> None:
    with FAULTS[name].patch():
        pass


@pytest.mark.long
@pytest.mark.parametrize(("kind", "seed"), [("hard", 1), ("fleet", 3)])
def test_a_seed_tells_the_same_story_in_every_process(kind: str, seed: int) -> None:
    code = (
        "from whole.world import World; from whole.plans import PLANS\n"
        f"story = []; World(PLANS['{kind}']({seed}), story).run(); print('\\n'.join(story))"
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


@pytest.mark.long
def test_a_seed_tells_the_same_story_whatever_ran_before() -> None:
    stories: list[list[str]] = [[], []]

    for story in stories:
        failure_of(PLANS["hard"](3), story)

    assert len(stories[0]) > 100
    assert stories[0] == stories[1]
