"""Runs the plans of seeds, and tells what they break."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from shrinking import Failure, smallest
from simulation.promises.promise import Broken
from whole.faults import FAULTS
from whole.plan import Plan
from whole.plans import PLANS
from whole.world import World

MAX_TRIES: Final = 150
"""Runs at most to make a failing plan smaller."""
LINES: Final = 200
"""Lines of a story that are told: its end."""


def failure_of(
    plan: Plan, story: list[str] | None = None, count: Callable[[World], object] | None = None
) -> Failure[Plan] | None:
    """Run a plan; return what it breaks, if anything.

    `story` is written where somebody wants to read it; `count` is given the world at its end.
    """
    world = World(plan, story)
    try:
        world.run()
    except Broken as broken:
        return Failure(plan, broken, world.time.now)
    finally:
        if count is not None:
            count(world)
    return None


def shrunk(failure: Failure[Plan]) -> Failure[Plan]:
    """Return the smallest failure found that breaks the same rule."""
    return smallest(failure, _smaller, failure_of, MAX_TRIES)


def told(failure: Failure[Plan]) -> str:
    """Return a failure as people read it: its story, its plan, and what is broken."""
    story: list[str] = []
    failure_of(failure.plan, story)
    acts = "\n".join(f"    {act}" for act in failure.plan.acts)
    lines = "\n".join(story[-LINES:])
    head = replace(failure.plan, acts=())
    return f"{lines}\n\n{head}\nacts:\n{acts}\n{failure.broken}"


def seeds_to_find(name: str, seeds: Iterable[int]) -> tuple[int, str] | None:
    """Return after how many seeds a fault is found, and the rule that it breaks; None: it isn't."""
    fault = FAULTS[name]
    with fault.patch():
        for count, seed in enumerate(seeds, 1):
            failure = failure_of(PLANS[fault.kind](seed))
            if failure is not None:
                return count, failure.broken.rule
    return None


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Return plans that are smaller in other ways than by fewer acts, the boldest first."""
    calm = replace(plan, fault_rate=0.0), replace(plan, store_loss=0.0, store_late=0.0)
    fewer = replace(plan, slow_connect=0.0), replace(plan, users=min(plan.users, 1))
    yield from (each for each in (*calm, *fewer) if each != plan)
    if plan.profiles > plan.accounts:
        yield replace(plan, profiles=plan.accounts)
    if plan.hosts > 1:
        hosts = plan.hosts - 1
        moved = tuple(replace(act, host=act.host % hosts) for act in plan.acts)
        yield replace(plan, hosts=hosts, acts=moved)
