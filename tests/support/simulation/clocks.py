"""Whose clock an event waits for, and so what a suspend of the host does to it."""

from enum import Enum, auto, unique
from typing import Final

WATCH: Final = 60.0
"""Seconds after a suspend within which the daemon's timers notice it."""


@unique
class Clock(Enum):
    """Each word says what the event is."""

    OUTSIDE = auto()
    """Something in the world: a suspend does nothing to it."""
    TIMER = auto()
    """The daemon's alarm: it comes up to WATCH late."""
    HOST = auto()
    """What reaches the host: it lies there until the host is awake."""
    LOOP = auto()
    """A time-out of the event loop, which stood still: it comes later by the whole suspend."""
