"""A daemon's event loop, of which the world makes one pass at a time."""

import signal
from collections.abc import Callable, Sized
from math import inf
from typing import final

from whole.fleet.clocks import HostClock
from whole.time import VirtualLoop


@final
class Passes:
    """Drives a loop that never waits: the world says when it has something to do."""

    def __init__(self, clock: HostClock) -> None:
        self.loop = VirtualLoop(clock)
        self.ready: Sized = vars(self.loop)["_ready"]
        """What the loop has to do already."""
        self._clock = clock
        self._minded: dict[int, Callable[[], object]] = {}
        # Signals are one host's, not the process's.
        vars(self.loop).update(add_signal_handler=self._mind, remove_signal_handler=self._ignore)

    def make_one(self) -> None:
        """Look for what has come, once, and do all that there is to do."""
        self.loop.stop()
        self.loop.run_forever()

    @property
    def due(self) -> float:
        """Return when, in the world's time, its next timer comes; inf: there is none."""
        timers = vars(self.loop)["_scheduled"]
        return self._clock.comes(timers[0].when()) if timers else inf

    def send(self, sent: signal.Signals) -> None:
        """Let a signal reach the daemon; it is lost to one that doesn't mind it."""
        if (minded := self._minded.get(sent)) is not None:
            self.loop.call_soon(minded)

    def _mind(self, sent: int, callback: Callable[..., object], *args: object) -> None:
        self._minded[sent] = lambda: callback(*args)

    def _ignore(self, sent: int) -> bool:
        return self._minded.pop(sent, None) is not None
