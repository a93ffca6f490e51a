"""Real daemons in a simulated world: some of the seeds that `python -m whole` runs by thousands."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

import whole
from whole.fleet.plan import fair_plan
from whole.fleet.simulation import FLEET
from whole.fleet.world import World
from whole.seeds import Simulation
from whole.simulation import DAEMON

pytestmark = pytest.mark.slow

SIMULATIONS: Final[dict[str, Simulation[Any, Any]]] = {"whole": DAEMON, "whole.fleet": FLEET}
RUNS = (
    *(("whole", "hard", seed) for seed in range(8)),
    ("whole", "week", 0),
    *(("whole.fleet", "hard", seed) for seed in (0, 1, 3)),
    *(("whole.fleet", kind, 0) for kind in ("weather", "asleep", "before", "after", "brisk")),
    *(("whole.fleet", kind, 0) for kind in ("stale", "crowd", "stepped", "set_back")),
    *(("whole.fleet", kind, 0) for kind in ("restored", "reboots", "keys")),
    *(("whole.fleet", kind, 1) for kind in ("lossy", "passwords", "leaving")),
    ("whole.fleet", "refused", 0),
    *(("whole.fleet", "cut_off", seed) for seed in (0, 1)),  # on PostgreSQL, and on etcd
)
QUICKLY_FOUND = (
    *(("whole", name) for name in ("refresh_kept", "not_stored", "dead_token", "secret")),
    ("whole", "late_answer"),
    *(("whole.fleet", name) for name in ("no_compare", "sent_late", "bar_for_all", "unbounded")),
    *(("whole.fleet", name) for name in ("entries_by_clock", "notices_forgotten", "outcomes_lost")),
    *(("whole.fleet", name) for name in ("unsent_claims_written", "refusals_unnoticed")),
    *(("whole.fleet", name) for name in ("all_forgotten", "to_come_is_now", "never_resealed")),
)
ALL_FAULTS = [(which, name) for which, each in SIMULATIONS.items() for name in each.faults]


@pytest.mark.parametrize(("which", "kind", "seed"), RUNS)
def test_all_promises_hold_whatever_happens(which: str, kind: str, seed: int) -> None:
    simulation = SIMULATIONS[which]

    failure = simulation.failure_of(simulation.plans[kind](seed))

    assert failure is None, simulation.told(failure)


def test_twenty_daemons_cost_one_login_and_one_refresh_for_each_token() -> None:
    world = World(fair_plan(0, hosts=20, periods=2))

    world.run()

    assert (world.witness.logins, world.witness.refreshes) == (1, 2)


@pytest.mark.parametrize(("which", "name"), QUICKLY_FOUND)
def test_a_known_fault_is_found(which: str, name: str) -> None:
    simulation = SIMULATIONS[which]

    assert simulation.seeds_to_find(name, range(30)) is not None, simulation.faults[name].words


@pytest.mark.parametrize(("which", "name"), ALL_FAULTS)
def test_each_known_fault_can_be_put_in(which: str, name: str) -> None:
    with SIMULATIONS[which].faults[name].patch():
        pass


@pytest.mark.parametrize(("which", "seed"), [("whole", 3), ("whole", 8), ("whole.fleet", 3)])
def test_a_seed_tells_the_same_story_in_every_process(which: str, seed: int) -> None:
    code = (
        f"from {which}.world import World; from {which}.plan import hard_plan\n"
        f"story = []; World(hard_plan({seed}), story).run(); print('\\n'.join(story))"
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


def test_a_seed_tells_the_same_story_whatever_ran_before() -> None:
    stories: list[list[str]] = [[], []]

    for story in stories:
        DAEMON.failure_of(DAEMON.plans["hard"](11), story)

    assert len(stories[0]) > 100
    assert stories[0] == stories[1]
