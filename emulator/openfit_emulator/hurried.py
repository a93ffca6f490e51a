"""The daemon with other pauses between two tokens, for tests of scripts: `openfit_token.testing` starts it.

    python -m openfit_emulator.hurried SECONDS run --config=... --socket=...

SECONDS are from one token to the next that a client wants; in production they are RECENT.
"""

import sys
from typing import Final

from openfit_tokend.core import schedule

_LEAST: Final = 0.01
"""Seconds between two requests, whatever was wanted."""

if __name__ == "__main__":
    pause = float(sys.argv[1])
    schedule.__dict__.update(RECENT=pause, PAUSE=min(schedule.PAUSE, max(_LEAST, pause)))
    # After that, since other modules take over these values when they are imported.
    from openfit_tokend.cli import main

    main(sys.argv[2:])
