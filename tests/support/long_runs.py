"""Whether simulations run at length, as before a release, or only as long as a daily run can bear."""

import os
from typing import Final

LONG: Final = "LONG_RUNS" in os.environ
"""`LONG_RUNS=1 pytest tests/core/test_simulation.py tests/daemon/test_whole.py` asks for it."""
