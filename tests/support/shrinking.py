"""Makes what fails smaller, as long as the same rule stays broken: for each of the simulations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Generic, TypeVar

from simulation.promises.promise import Broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What every plan says of a run."""

    seed: int
    duration: float
    acts: tuple[Any, ...]
    """The disturbances of a simulation's own kind."""


P = TypeVar("P", bound=Course)


@dataclass(frozen=True, slots=True)
class Failure(Generic[P]):
    """A plan, what it breaks, and when."""

    plan: P
    broken: Broken
    at: float


def smallest(
    failure: Failure[P],
    smaller: Callable[[P], Iterator[P]],
    run: Callable[[P], Failure[P] | None],
    tries: int,
) -> Failure[P]:
    """Return the smallest failure found that breaks the same rule.

    Args:
        failure: the one to begin with.
        smaller: returns plans that are smaller in a simulation's own ways, the boldest first.
        run: returns how a plan fails, if it does.
        tries: runs at most: a smaller plan is a kindness, not a duty.
    """
    for plan in chain(_shorter(failure), smaller(failure.plan), _with_less(failure.plan)):
        tries -= 1
        if tries < 0:
            break
        found = run(plan)
        if found is not None and found.broken.rule == failure.broken.rule:
            return smallest(found, smaller, run, tries)
    return failure


def _shorter(failure: Failure[P]) -> Iterator[P]:
    """Return plans that end where this one failed, or have fewer acts."""
    plan = failure.plan
    if failure.at < plan.duration:
        yield replace(plan, duration=failure.at)
    acts, size = plan.acts, len(plan.acts)
    while size >= 1:
        for start in range(0, len(acts), size):
            yield replace(plan, acts=acts[:start] + acts[start + size :])
        size //= 2


def _with_less(plan: P) -> Iterator[P]:
    """Return plans of which one act has half of its value."""
    for number, act in enumerate(plan.acts):
        if act.value > 1:
            less = replace(act, value=float(act.value // 2))
            yield replace(plan, acts=(*plan.acts[:number], less, *plan.acts[number + 1 :]))
