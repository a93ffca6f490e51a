"""Makes what fails smaller, as long as the same rule stays broken: for each of the simulations."""

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from simulation.promises.promise import Broken


class Failed(Protocol):
    """A plan that breaks a rule."""

    @property
    def broken(self) -> Broken:
        """Return what it breaks."""
        ...


P = TypeVar("P")
F = TypeVar("F", bound=Failed)


def smallest(
    failure: F, smaller: Callable[[F], Iterator[P]], run: Callable[[P], F | None], tries: int
) -> F:
    """Return the smallest failure found that breaks the same rule.

    Args:
        failure: the one to begin with.
        smaller: returns plans that are a little smaller, the boldest first.
        run: returns how a plan fails, if it does.
        tries: runs at most.
    """
    for plan in smaller(failure):
        tries -= 1
        if tries < 0:
            break
        found = run(plan)
        if found is not None and found.broken.rule == failure.broken.rule:
            return smallest(found, smaller, run, tries)
    return failure
