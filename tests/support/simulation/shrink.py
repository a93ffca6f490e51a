"""Makes a failing plan smaller, as long as the same rule stays broken."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from shrinking import smallest
from simulation.plan import Plan
from simulation.promises.promise import Broken
from simulation.story import Story
from simulation.world import World

MAX_TRIES: Final = 400
"""Runs at most: a smaller plan is a kindness, not a duty."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A plan, and what it breaks."""

    plan: Plan
    broken: Broken
    at: float


def failure_of(plan: Plan, story: Story | None = None) -> Failure | None:
    """Run a plan; give what it breaks, if anything."""
    world = World(plan, story)
    try:
        world.run()
    except Broken as broken:
        return Failure(plan, broken, world.now)
    except AssertionError as error:  # the core's own: a rule, too
        return Failure(plan, Broken(0, "an assertion of the core", str(error), ""), world.now)
    return None


def shrunk(failure: Failure) -> Failure:
    """Return the smallest failure found that breaks the same rule."""
    return smallest(failure, _smaller, failure_of, MAX_TRIES)


def told(failure: Failure) -> str:
    """Return a failure as people read it: its plan, its story, and what is broken."""
    story = Story()
    again = failure_of(failure.plan, story)
    broken = failure.broken if again is None else again.broken
    plan = failure.plan
    faults = ", ".join(sorted(fault.name for fault in plan.faults)) if plan.fault_rate else "none"
    acts = "\n".join(f"    {act}" for act in plan.acts)
    return (
        f"{story}\n\nseed {plan.seed}, profiles of the accounts {plan.accounts}, absent {sorted(plan.absent)}, "
        f"{plan.traits}\n{plan.policy}\nfaults by chance ({plan.fault_rate}): {faults}\n"
        f"acts:\n{acts}\n{broken}"
    )


def _smaller(failure: Failure) -> Iterator[Plan]:
    """Return plans that are a little smaller, the boldest first."""
    plan = failure.plan
    if failure.at < plan.duration:
        yield replace(plan, duration=failure.at)
    acts = plan.acts
    size = len(acts)
    while size >= 1:
        for start in range(0, len(acts), size):
            yield replace(plan, acts=acts[:start] + acts[start + size :])
        size //= 2
    if plan.pause:
        yield replace(plan, pause=0.0)
    if plan.fault_rate:
        yield replace(plan, fault_rate=0.0)
        for fault in sorted(plan.faults, key=lambda fault: fault.name):
            yield replace(plan, faults=plan.faults - {fault})
    for name in set(range(len(plan.accounts))) - plan.absent:
        yield replace(plan, absent=plan.absent | {name})
    for number, act in enumerate(acts):
        if act.value > 1:
            less = replace(act, value=float(act.value // 2))
            yield replace(plan, acts=(*acts[:number], less, *acts[number + 1 :]))
