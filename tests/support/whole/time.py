"""Simulated time, and an event loop that waits by letting it pass."""

import asyncio  # noqa: TID251 -- the loop itself is what is simulated
import select
from collections.abc import Callable, Sized
from heapq import heappop, heappush
from itertools import count
from math import inf
from selectors import EpollSelector, SelectorKey
from typing import Any, Final, Protocol, final

from openfit_tokend.serving.driver import Server, ServingLoop

A_PASS: Final = 1e-6
"""Seconds that a pass of the loop takes: rounded moments are never waited for in vain."""


MANY_LOOKS: Final = 20_000
"""Looks at the clock within one pass: only who waits in a loop of its own has so many."""
A_LOOK: Final = 0.01
"""Seconds that such a look takes."""


class Stop(BaseException):
    """Ends the loop from inside its waiting: nothing of the daemon runs any more."""


@final
class Time:
    """CLOCK_BOOTTIME, the loop's own clock, and all that is to happen in the world."""

    def __init__(self) -> None:
        self.now = 0.0
        """CLOCK_BOOTTIME of the daemon's host, and of everybody else."""
        self.slept = 0.0
        """Seconds that the host was suspended: the loop's clock is behind by so much."""
        self._asleep = False
        self.looks = 0
        """How often the clock was looked at in this pass of the loop."""
        self.broken: Exception | None = None
        """What went wrong in the world while the daemon was at work: it is raised in its waiting."""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, moment: float, do: Callable[[], None]) -> None:
        """Let something happen outside of the daemon, at once if its moment has passed."""
        heappush(self._events, (max(moment, self.now), next(self._order), do))

    @property
    def next(self) -> float:
        """Return the moment of the next event; inf: there is none."""
        return self._events[0][0] if self._events else inf

    def boot(self) -> float:
        """Return what CLOCK_BOOTTIME shows. It moves on for who does nothing but look at it."""
        self.looks += 1
        if self.looks > MANY_LOOKS:
            self.now += A_LOOK
        return self.now

    def loop_time(self) -> float:
        """Return what the event loop's clock shows: it stands still in a suspend."""
        return self.now - self.slept

    def advance(self, until: float) -> None:
        """Let time pass until `until`, or until something has happened."""
        if self.next > until:
            self.now = max(self.now, until)
            return
        moment, _, do = heappop(self._events)
        self.now = max(self.now, moment)
        do()

    def judge(self) -> None:
        """Raise what has gone wrong, if anything."""
        if self.broken is not None:
            raise self.broken

    def suspend(self, seconds: float) -> None:
        """Let the host sleep; the world goes on meanwhile. A host that sleeps does no more than that."""
        if self._asleep:
            return
        began, until = self.now, self.now + seconds
        self._asleep = True
        while self.next <= until:
            self.advance(until)
        self._asleep = False
        self.now = max(self.now, until)
        self.slept += self.now - began


class LoopTime(Protocol):
    """What a loop does with the time: its host's."""

    @property
    def now(self) -> float:
        """Return the world's time."""
        ...

    @now.setter
    def now(self, moment: float) -> None: ...

    @property
    def looks(self) -> int:
        """Return how often a clock was looked at in this pass of the loop."""
        ...

    @looks.setter
    def looks(self, count: int) -> None: ...

    @property
    def next(self) -> float:
        """Return the moment of the world's next event; inf: there is none."""
        ...

    def judge(self) -> None:
        """Raise what has gone wrong, if anything."""
        ...

    def advance(self, until: float) -> None:
        """Let time pass until `until`, or until something has happened."""
        ...

    def loop_time(self) -> float:
        """Return what the event loop's clock shows."""
        ...


@final
class Waiting(EpollSelector):
    """Waits for nothing: lets time pass."""

    def __init__(self, time: LoopTime) -> None:
        super().__init__()
        self.passes: Callable[[], object] = bool
        """Is called once in each pass of the loop."""
        self.ready: Sized = ()
        """What the loop has to do already."""
        self._time = time
        self._eye = select.epoll()
        self._seen: dict[int, Callable[[], object]] = {}

    @property
    def eye(self) -> int:
        """Return the descriptor that can be read when something that is watched can."""
        return self._eye.fileno()

    def watch(self, fd: int, seen: Callable[[], object]) -> None:
        """Call `seen` whenever a descriptor can be read."""
        self._seen[fd] = seen
        self._eye.register(fd, select.EPOLLIN)

    def look_away(self, fd: int) -> None:
        """Watch a descriptor no more."""
        if self._seen.pop(fd, None) is not None:
            self._eye.unregister(fd)

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        self._time.now += A_PASS
        self._time.looks = 0
        self._time.judge()
        self.passes()
        while ready := self._eye.poll(0):
            for fd, _events in ready:
                if (seen := self._seen.get(fd)) is not None:
                    seen()
        found = super().select(0)
        if found or self.ready or (timeout is not None and timeout <= 0):
            return found
        until = inf if timeout is None else self._time.now + timeout
        if min(until, self._time.next) == inf:
            raise Stop("nothing will ever happen")
        self._time.advance(until)
        return []

    def close(self) -> None:
        """Close what is watched with."""
        self._eye.close()
        super().close()


@final
class VirtualLoop(ServingLoop):  # type: ignore[misc] # the shipped loop is final, but for a world
    """The daemon's loop, whose waiting takes no time."""

    def __init__(self, time: LoopTime) -> None:
        self.waiting = Waiting(time)
        self._time = time
        asyncio.SelectorEventLoop.__init__(self, self.waiting)
        self._clock_resolution = 1e-6
        self.waiting.ready = vars(self)["_ready"]

    def time(self) -> float:
        """Return the loop's time: it stands still in a suspend."""
        return self._time.loop_time()

    def serve(self, server: Server) -> None:
        """Give a server its turns from now on."""
        self.waiting.watch(_descriptor(server), lambda: server.turn(0))

    def leave(self, server: Server) -> None:
        """Give it none any more."""
        self.waiting.look_away(_descriptor(server))


def _descriptor(server: Any) -> int:  # noqa: ANN401 -- what drives a server doesn't ask for it
    """Return the descriptor that can be read when a server has something to do."""
    return int(server.fileno())
