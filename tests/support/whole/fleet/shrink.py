"""Runs plans; makes one that fails smaller, as long as the same rule stays broken."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from shrinking import smallest
from simulation.promises.promise import Broken
from whole.fleet.plan import Plan
from whole.fleet.witness import Witness
from whole.fleet.world import World

MAX_TRIES: Final = 100
"""Runs at most: a smaller plan is a kindness, not a duty."""
LINES: Final = 200
"""Lines of a story that are told: its end."""


@dataclass(slots=True)
class Seen:
    """What was counted in all runs."""

    logins: int = 0
    refreshes: int = 0
    rows: int = 0
    calls: int = 0
    tokens: int = 0
    leaks: int = 0
    worst: int = 0
    failovers: list[float] = field(default_factory=list[float])

    def add(self, witness: Witness) -> None:
        """Count a run."""
        self.logins += witness.logins
        self.refreshes += witness.refreshes
        self.rows += witness.rows
        self.calls += witness.calls
        self.tokens += witness.tokens
        self.leaks += witness.leaks
        self.worst = max(self.worst, witness.worst)
        self.failovers += witness.failovers


@dataclass(frozen=True, slots=True)
class Failure:
    """A plan, what it breaks, and when."""

    plan: Plan
    broken: Broken
    at: float


def failure_of(
    plan: Plan, story: list[str] | None = None, seen: Seen | None = None
) -> Failure | None:
    """Run a plan; return what it breaks, if anything."""
    world = World(plan, story)
    try:
        world.run()
    except Broken as broken:
        return Failure(plan, broken, world.time.now)
    finally:
        if seen is not None:
            seen.add(world.witness)
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
    calm = replace(plan, fault_rate=0.0), replace(plan, store_loss=0.0, store_late=0.0)
    yield from (each for each in (*calm, replace(plan, slow_connect=0.0)) if each != plan)
    if plan.profiles > 1:
        yield replace(plan, profiles=1)
    if plan.hosts > 2:
        fewer = plan.hosts - 1
        moved = tuple(replace(act, host=act.host % fewer) for act in plan.acts)
        yield replace(plan, hosts=fewer, acts=moved)
