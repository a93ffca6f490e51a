"""Makes a failing plan smaller, as long as the same rule stays broken, and tells its story."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from shrinking import smallest
from simulation.promises.promise import Broken
from whole.plan import Plan
from whole.world import World

MAX_TRIES: Final = 150
"""Runs at most: a smaller plan is a kindness, not a duty."""
LINES: Final = 120
"""Lines of a story that are told: its end."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A plan, what it breaks, and when."""

    plan: Plan
    broken: Broken
    at: float


def failure_of(plan: Plan, story: list[str] | None = None) -> Failure | None:
    """Run a plan; return what it breaks, if anything."""
    world = World(plan, story)
    try:
        world.run()
    except Broken as broken:
        return Failure(plan, broken, world.time.now)
    return None


def shrunk(failure: Failure) -> Failure:
    """Return the smallest failure found that breaks the same rule."""
    return smallest(failure, _smaller, failure_of, MAX_TRIES)


def told(failure: Failure) -> str:
    """Return a failure as people read it: its story, its plan, and what is broken."""
    story: list[str] = []
    failure_of(failure.plan, story)
    plan = failure.plan
    acts = "\n".join(f"    {act}" for act in plan.acts)
    lines = "\n".join(story[-LINES:])
    head = replace(plan, acts=())
    return f"{lines}\n\n{head}\nacts:\n{acts}\n{failure.broken}"


def _smaller(failure: Failure) -> Iterator[Plan]:
    """Return plans that are a little smaller, the boldest first."""
    plan = failure.plan
    if failure.at < plan.duration:
        yield replace(plan, duration=failure.at)
    acts, size = plan.acts, len(plan.acts)
    while size >= 1:
        for start in range(0, len(acts), size):
            yield replace(plan, acts=acts[:start] + acts[start + size :])
        size //= 2
    if plan.fault_rate:
        yield replace(plan, fault_rate=0.0)
    if plan.users > 1:
        yield replace(plan, users=1)
    if plan.profiles > plan.accounts:
        yield replace(plan, profiles=plan.accounts)
    for number, act in enumerate(acts):
        if act.value > 1:
            less = replace(act, value=float(act.value // 2))
            yield replace(plan, acts=(*acts[:number], less, *acts[number + 1 :]))
