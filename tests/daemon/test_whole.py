"""The real daemon in a simulated world: some of the seeds that `python -m whole` runs by thousands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import whole
from whole.faults import FAULTS, seeds_to_find
from whole.plan import hard_plan, long_plan
from whole.shrink import failure_of, told

pytestmark = pytest.mark.slow

QUICKLY_FOUND = ("refresh_kept", "not_stored", "dead_token", "secret", "late_answer")


@pytest.mark.parametrize("seed", range(8))
def test_all_promises_hold_whatever_happens(seed: int) -> None:
    failure = failure_of(hard_plan(seed))

    assert failure is None, told(failure)


def test_all_promises_hold_in_a_week_of_tokens_that_live_an_hour() -> None:
    failure = failure_of(long_plan(0))

    assert failure is None, told(failure)


@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_a_known_fault_is_found(name: str) -> None:
    assert seeds_to_find(name, range(30)) is not None, FAULTS[name].words


@pytest.mark.parametrize("name", FAULTS)
def test_each_known_fault_can_be_put_in(name: str) -> None:
    with FAULTS[name].patch():
        pass


def test_a_seed_tells_the_same_story_in_every_process() -> None:
    code = (
        "from whole.world import World; from whole.plan import hard_plan\n"
        "story = []; World(hard_plan(8), story).run(); print('\\n'.join(story))"
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
