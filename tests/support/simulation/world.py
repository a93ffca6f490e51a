"""The queue of events, and all who live in it. One World is one run of a plan."""

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Final, final

from simulation.callers import Callers
from simulation.clocks import WATCH, Clock
from simulation.daemon import Daemon
from simulation.idserver import IdServer
from simulation.operators import Operators
from simulation.plan import Plan
from simulation.story import Story
from simulation.witness import Witness

Event = tuple[float, int, Clock, Callable[[], None]]

CALM: Final = 900.0 + 2 * 60.0 + 90.0 + WATCH
"""Seconds in which all must be well again, once all is mended: the budget's window, and requests
that were under way."""


@final
class World:
    """One run. `story` takes it down, where one is given."""

    def __init__(self, plan: Plan, story: Story | None = None) -> None:
        self.plan = plan
        self.story = story
        self.now = 0.0
        self.awake_at = 0.0
        """Until then the host is suspended."""
        self.rng = Random(plan.seed * 1_000_003 + 1)  # noqa: S311 -- a seed is to decide it
        self._queue: list[Event] = []
        self._order = count()
        self._slept_at = -1
        self._slept_for = 0.0
        self._timers_at = 0.0
        self.operators = Operators(self)
        self.server = IdServer(plan.traits, self.operators.true_passwords())
        self.witness = Witness(self)
        self.daemon = Daemon(self)
        self.callers = Callers(self)

    def at(self, moment: float, do: Callable[[], None], clock: Clock = Clock.OUTSIDE) -> None:
        """Let something happen, at once if its moment has passed."""
        heappush(self._queue, (max(moment, self.now), next(self._order), clock, do))

    def suspend(self, seconds: float) -> None:
        """Let the host sleep."""
        self.awake_at = self.now + seconds
        self._slept_at, self._slept_for = next(self._order), seconds
        self._timers_at = self.awake_at + self.rng.uniform(0.0, WATCH)
        self.witness.suspended(self.awake_at, self._timers_at)

    def run_until(self, end: float) -> None:
        """Let all happen that is to happen until then."""
        queue = self._queue
        while queue and queue[0][0] <= end:
            moment, order, clock, do = heappop(queue)
            if order < self._slept_at and clock is not Clock.OUTSIDE:
                later = self._after_suspend(moment, clock)
                if later > moment:
                    self.at(later, do, clock)
                    continue
            self.now = moment
            do()
        self.now = end

    def _after_suspend(self, moment: float, clock: Clock) -> float:
        if clock is Clock.LOOP:
            return moment + self._slept_for
        return max(moment, self._timers_at if clock is Clock.TIMER else self.awake_at)

    def run(self) -> None:
        """Let the whole plan happen, and see that all is well in the end."""
        self.daemon.start()
        self.callers.start()
        for act in self.plan.acts:
            self.at(act.at, partial(self.operators.do, act))
        self.run_until(self.plan.duration)
        if self.plan.calm and not self.plan.collisions:  # a new password may look like a wrong one
            self.calm()

    def calm(self) -> None:
        """Mend everything; then every profile that wasn't logged out must become well."""
        self.callers.rest()
        self.operators.mend()
        until = max(self.now, self.awake_at) + CALM
        unwell = set(range(len(self.plan.accounts)))
        while unwell:
            if self.now > until:
                if not self.operators.insist(unwell):
                    self.witness.not_well(unwell)
                until = self.now + CALM
            self.run_until(self.now + 5.0)
            unwell -= self.daemon.well()

    def tell(self, who: str, what: object, session: object = None) -> None:
        """Take something down for the story."""
        if self.story is not None:
            self.story.add(self.now, who, what, session)
