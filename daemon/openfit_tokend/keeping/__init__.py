"""One profile's life: its keeper, and the token endpoint that it asks."""

import sys

# httpx loads its command line, and with it click, rich and pygments, where they are installed: 5 MB
# that the daemon never uses. None: it isn't to be imported. httpx does without.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # typeshed forgot None
