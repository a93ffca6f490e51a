"""Makes a failing plan smaller, as long as the same rule stays broken."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from shrinking import Failure, smallest
from simulation.plan import Plan
from simulation.promises.promise import Broken
from simulation.story import Story
from simulation.world import World

MAX_TRIES: Final = 400
"""Runs at most: a smaller plan is a kindness, not a duty."""


def failure_of(plan: Plan, story: Story | None = None) -> Failure[Plan] | None:
    """Run a plan; give what it breaks, if anything."""
    world = World(plan, story)
    try:
        world.run()
    except Broken as broken:
        return Failure(plan, broken, world.now)
    except AssertionError as error:  # the core's own: a rule, too
        return Failure(plan, Broken(0, "an assertion of the core", str(error), ""), world.now)
    return None


def shrunk(failure: Failure[Plan]) -> Failure[Plan]:
    """Return the smallest failure found that breaks the same rule."""
    return smallest(failure, _smaller, failure_of, MAX_TRIES)


def told(failure: Failure[Plan]) -> str:
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


def _smaller(plan: Plan) -> Iterator[Plan]:
    if plan.pause:
        yield replace(plan, pause=0.0)
    if plan.fault_rate:
        yield replace(plan, fault_rate=0.0)
        for fault in sorted(plan.faults, key=lambda fault: fault.name):
            yield replace(plan, faults=plan.faults - {fault})
    for name in set(range(len(plan.accounts))) - plan.absent:
        yield replace(plan, absent=plan.absent | {name})
