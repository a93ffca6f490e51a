"""Run the real daemon through many seeds, and tell the story of the first broken promise.

In tests/support, or with that directory in PYTHONPATH:

    python -m whole --seeds 3000 --from 0     # a quarter of an hour each, with short tokens
    python -m whole week --seeds 10           # as many weeks, with tokens of an hour
    python -m whole --faults                  # with faults that are known: each must be found

Exit status: 0 all promises held, or all faults were found; 1 otherwise.
"""

import sys

from whole.command import run
from whole.simulation import DAEMON

if __name__ == "__main__":
    sys.exit(run("whole", __doc__, DAEMON))
