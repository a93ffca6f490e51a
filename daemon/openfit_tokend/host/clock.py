"""The only module that reads clocks.

All arithmetic uses CLOCK_BOOTTIME, which counts suspends; the wall clock is only for display.
"""

import random
import time
from functools import partial
from typing import Final

from openfit_tokend.core.moment import Moment

_RANDOM: Final = random.SystemRandom()


# No wrapper functions around these two: each request calls them.

boot: Final = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
"""Return the seconds since boot, suspends included."""

wall: Final = time.time
"""Return the Unix time, which may jump: for display, never for arithmetic."""


def monotonic_usec() -> int:
    """Return CLOCK_MONOTONIC in microseconds, which systemd wants to be told on a reload."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def moment() -> Moment:
    """Return the present moment for the core."""
    return Moment(boot(), _RANDOM.random())
