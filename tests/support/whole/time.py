"""Simulated time, and event loops of which the world makes one pass at a time."""

import asyncio  # noqa: TID251 -- the loop itself is what is simulated
import select
import signal
from collections.abc import Callable, Sized
from heapq import heappop, heappush
from itertools import count
from math import inf
from selectors import EpollSelector, SelectorKey
from typing import Any, Final, Protocol, final

from openfit_tokend.serving.driver import ServingLoop
from openfit_tokend.serving.server import Server

A_PASS: Final = 1e-6
"""Seconds that a pass of a loop takes: rounded moments are never waited for in vain."""
MANY_LOOKS: Final = 20_000
"""Looks at the clock within one pass: only who waits in a loop of its own has so many."""
A_LOOK: Final = 0.01
"""Seconds that such a look takes."""


@final
class Time:
    """The world's time, and all that is to happen in it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks = 0
        """How often a clock was looked at in this pass of a loop."""
        self.broken: Exception | None = None
        """What went wrong in the world while a daemon was at work: it is raised between two passes."""
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()

    def at(self, moment: float, do: Callable[[], object]) -> None:
        """Let something happen outside of the daemons, at once if its moment has passed."""
        heappush(self._events, (max(moment, self.now), next(self._order), do))

    @property
    def next(self) -> float:
        """Return the moment of the next event; inf: there is none."""
        return self._events[0][0] if self._events else inf

    def look(self) -> float:
        """Return the time to a clock. It moves on for who does nothing but look at it."""
        self.looks += 1
        if self.looks > MANY_LOOKS:
            self.now += A_LOOK
        return self.now

    def happen(self) -> None:
        """Let the next event happen."""
        moment, _, do = heappop(self._events)
        self.now = max(self.now, moment)
        do()

    def judge(self) -> None:
        """Raise what has gone wrong, if anything."""
        if self.broken is not None:
            raise self.broken


class Clock(Protocol):
    """What a loop needs of its host's clock."""

    def loop_time(self) -> float:
        """Return what the event loop's clock shows."""
        ...

    def comes(self, loop_time: float) -> float:
        """Return when, in the world's time, the loop's clock will show this."""
        ...


@final
class Looking(EpollSelector):
    """Looks for what has come, and waits for nothing: the world says when to look."""

    def __init__(self, time: Time, passes: Callable[[], object]) -> None:
        super().__init__()
        self._time = time
        self._passes = passes
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
        del timeout
        self._time.now += A_PASS
        self._time.looks = 0
        self._passes()
        while ready := self._eye.poll(0):
            for fd, _events in ready:
                if (seen := self._seen.get(fd)) is not None:
                    seen()
        return super().select(0)

    def close(self) -> None:
        """Close what is watched with."""
        self._eye.close()
        super().close()


@final
class VirtualLoop(ServingLoop):  # type: ignore[misc] # the shipped loop is final, but for a world
    """The daemon's loop, which never waits."""

    def __init__(self, time: Time, clock: Clock, passes: Callable[[], object]) -> None:
        """`passes` is called once in each pass."""
        self.looking = Looking(time, passes)
        self._clock = clock
        self._minded: dict[int, Callable[[], object]] = {}
        asyncio.SelectorEventLoop.__init__(self, self.looking)
        self._clock_resolution = 1e-6
        self.ready: Sized = vars(self)["_ready"]
        """What there is to do already."""

    def time(self) -> float:
        """Return the loop's time: it stands still in a suspend."""
        return self._clock.loop_time()

    @property
    def due(self) -> float:
        """Return when, in the world's time, its next timer comes; inf: there is none."""
        timers = vars(self)["_scheduled"]
        return self._clock.comes(timers[0].when()) if timers else inf

    def make_a_pass(self) -> None:
        """Look for what has come, once, and do all that there is to do."""
        self.stop()
        self.run_forever()

    def serve(self, server: Server) -> None:
        """Give a server its turns from now on."""
        self.looking.watch(_descriptor(server), lambda: server.turn(0))

    def leave(self, server: Server) -> None:
        """Give it none any more."""
        self.looking.look_away(_descriptor(server))

    # Signals are one host's, not the process's.

    def send(self, sent: signal.Signals) -> None:
        """Let a signal reach the daemon; it is lost to one that doesn't mind it."""
        if (minded := self._minded.get(sent)) is not None:
            self.call_soon(minded)

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: object) -> None:
        """Mind a signal."""
        self._minded[sig] = lambda: callback(*args)

    def remove_signal_handler(self, sig: int) -> bool:
        """Mind it no more."""
        return self._minded.pop(sig, None) is not None


def _descriptor(server: Any) -> int:  # noqa: ANN401 -- what drives a server doesn't ask for it
    """Return the descriptor that can be read when a server has something to do."""
    return int(server.fileno())
