"""The client's command as a process, whether or not it is installed."""

import os
import sys
from pathlib import Path

import openfit_token

OPENFIT_TOKEN = [
    sys.executable,
    "-c",
    "import sys; from openfit_token._cli import main; sys.exit(main())",
]


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which a process finds the client as this one does."""
    return os.environ | {"PYTHONPATH": str(Path(openfit_token.__file__).parents[1])} | more
