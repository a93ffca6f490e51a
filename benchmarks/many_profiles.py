"""What must hold with 1,000 profiles."""

import time
from collections.abc import Generator
from statistics import median
from typing import Final

from benchmarks.bars import Bar
from benchmarks.measure import Loads, Server, cpu_time, memory, pin, ratio
from benchmarks.peers import Means
from benchmarks.places import daemon, issuer
from benchmarks.measure import Load
from benchmarks.table import Effort
from openfit_token import TokenClient
from openfit_tokend.io.endpoint import MAX_REQUESTS

MANY: Final = 1000
DELAY: Final = 0.1
"""Seconds that the token server takes for each."""
LEAST: Final = MANY / MAX_REQUESTS * DELAY
"""Seconds to log all in, if the daemon cost nothing."""
