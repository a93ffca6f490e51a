"""The one reader of clocks.

All arithmetic is in CLOCK_BOOTTIME, which counts a suspend; the wall clock only shows.
"""

import random
import time
from functools import partial
from typing import Final

from openfit_tokend.core.moment import Moment

_RANDOM: Final = random.SystemRandom()


# No functions of ours around these two: each request calls them.

boot: Final = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
"""Return the seconds since boot, suspends included."""

wall: Final = time.time
"""Return the Unix time, which may jump: to show, never to compute with."""


def monotonic_usec() -> int:
    """Return CLOCK_MONOTONIC in microseconds: what systemd wants to know of a reload."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def moment() -> Moment:
    """Return the present moment for the core."""
    return Moment(boot(), _RANDOM.random())
