"""The outside world, one file for each part of it."""

import sys

# httpx loads its command line, and so click, rich and pygments, wherever they are installed: 5 MB
# that the daemon would never use. None says: not to be imported; httpx does without.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # typeshed forgot None
