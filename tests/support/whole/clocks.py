"""The clocks of hosts and of the store: they drift, stand still, and are set."""

from enum import Enum, auto, unique
from typing import final

from whole.time import Time


@unique
class Pause(Enum):
    """What stands still while a daemon doesn't run."""

    STOPPED = auto()
    """SIGSTOP, a hanging disk: all clocks go on."""
    SUSPENDED = auto()
    """The host sleeps: CLOCK_BOOTTIME goes on, the event loop's clock stands."""
    FROZEN = auto()
    """The hypervisor holds the host: all its clocks stand, and it doesn't know."""


@final
class HostClock:
    """CLOCK_BOOTTIME and the event loop's clock of one host."""

    def __init__(self, time: Time, start: float, rate: float) -> None:
        self._time = time
        self._rate = rate
        self._boot = self._loop = start
        self._since = time.now
        self.paused: Pause | None = None

    def boot(self) -> float:
        """Return what CLOCK_BOOTTIME shows. It moves on for who does nothing but look at it."""
        return self._shown(self._boot, stands=self.paused is Pause.FROZEN, now=self._time.look())

    def loop_time(self) -> float:
        """Return what the event loop's clock shows."""
        stands = self.paused in {Pause.FROZEN, Pause.SUSPENDED}
        return self._shown(self._loop, stands=stands, now=self._time.now)

    def change(self, paused: Pause | None) -> None:
        """Stand still, or go on."""
        self._boot, self._loop = self.boot(), self.loop_time()
        self._since = self._time.now
        self.paused = paused

    def reboot(self, start: float) -> None:
        """Begin anew."""
        self.change(None)
        self._boot = self._loop = start

    def comes(self, loop_time: float) -> float:
        """Return when, in the world's time, the loop's clock will show this, if nothing stands still."""
        return self._time.now + max(0.0, loop_time - self.loop_time()) / self._rate

    def _shown(self, value: float, *, stands: bool, now: float) -> float:
        return value if stands else value + (now - self._since) * self._rate


@final
class StoreClock:
    """The store's clock, in seconds since 1970: it drifts, and somebody may set it."""

    def __init__(self, start: float, rate: float) -> None:
        self._start = start
        self._rate = rate

    def at(self, now: float) -> float:
        """Return what it shows."""
        return self._start + now * self._rate

    def step(self, seconds: float) -> None:
        """Set it."""
        self._start += seconds
