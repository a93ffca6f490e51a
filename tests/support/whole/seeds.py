"""Runs the plans of a world's seeds, and tells what they break: for one daemon, and for a fleet."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, Protocol, TypeVar
from unittest.mock import patch

from shrinking import Course, Failure, smallest
from simulation.promises.promise import Broken
from whole.time import Time

MAX_TRIES: Final = 150
"""Runs at most to make a failing plan smaller."""
LINES: Final = 200
"""Lines of a story that are told: its end."""

Patch = AbstractContextManager[object]
Method = Callable[..., Any]


class World(Protocol):
    """One run."""

    time: Time

    def run(self) -> None:
        """Let the whole plan happen; raise Broken where a promise doesn't hold."""
        ...


P = TypeVar("P", bound=Course)
W = TypeVar("W", bound=World)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the daemon, in words, how it is done, and in which kind of run it shows."""

    words: str
    patch: Callable[[], Patch]
    kind: str = "hard"


def instead(owner: object, name: str, make: Callable[[Method], Method]) -> Patch:
    """Put another function in the place of one, made of the one that is there."""
    return patch.object(owner, name, make(getattr(owner, name)))


@dataclass(frozen=True, slots=True)
class Simulation(Generic[P, W]):
    """A world, and what can happen in it."""

    world: Callable[[P, list[str] | None], W]
    """Begins a run of a plan, which writes its story down where somebody wants to read it."""
    plans: Mapping[str, Callable[[int], P]]
    """By the kind of run, what a seed's plan is."""
    smaller: Callable[[P], Iterator[P]]
    """Returns plans that are smaller in other ways than by fewer acts, the boldest first."""
    faults: Mapping[str, Fault]

    def failure_of(
        self,
        plan: P,
        story: list[str] | None = None,
        count: Callable[[W], object] | None = None,
    ) -> Failure[P] | None:
        """Run a plan; return what it breaks, if anything. `count` is given the world at its end."""
        world = self.world(plan, story)
        try:
            world.run()
        except Broken as broken:
            return Failure(plan, broken, world.time.now)
        finally:
            if count is not None:
                count(world)
        return None

    def shrunk(self, failure: Failure[P]) -> Failure[P]:
        """Return the smallest failure found that breaks the same rule."""
        return smallest(failure, self.smaller, self.failure_of, MAX_TRIES)

    def told(self, failure: Failure[P]) -> str:
        """Return a failure as people read it: its story, its plan, and what is broken."""
        story: list[str] = []
        self.failure_of(failure.plan, story)
        acts = "\n".join(f"    {act}" for act in failure.plan.acts)
        lines = "\n".join(story[-LINES:])
        head = replace(failure.plan, acts=())
        return f"{lines}\n\n{head}\nacts:\n{acts}\n{failure.broken}"

    def seeds_to_find(self, name: str, seeds: Iterable[int]) -> tuple[int, str] | None:
        """Return after how many seeds a fault is found, and the rule that it breaks; None: it isn't."""
        fault = self.faults[name]
        with fault.patch():
            for count, seed in enumerate(seeds, 1):
                failure = self.failure_of(self.plans[fault.kind](seed))
                if failure is not None:
                    return count, failure.broken.rule
        return None
