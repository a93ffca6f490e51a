"""The one reader of clocks.

All arithmetic is in CLOCK_BOOTTIME, which counts a suspend; the wall clock only shows.
"""

import random
import time
from typing import Final

from openfit_tokend.core.moment import Moment

_RANDOM: Final = random.SystemRandom()


def boot() -> float:
    """Give the seconds since boot, suspends included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall() -> float:
    """Give the Unix time, which may jump: to show, never to compute with."""
    return time.time()


def moment() -> Moment:
    """Give the present moment for the core."""
    return Moment(boot(), _RANDOM.random())
