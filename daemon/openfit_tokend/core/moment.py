"""Time and chance as arguments."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happens, and the one random number it may use.

    `now` is CLOCK_BOOTTIME in seconds; `chance` lies in [0, 1).
    """

    now: float
    chance: float
