"""Other programs that the tests talk to, as installed by `.ci/install_peers`."""

import os
from pathlib import Path

import pytest

PEERS = Path(os.environ.get("OPENFIT_PEERS", Path(__file__).parents[2] / ".peers"))


def peer(name: str) -> Path:
    """Return the path of one; skip the test if it isn't installed."""
    path = PEERS / name
    if not path.exists():
        pytest.skip(f"{name} isn't installed: run .ci/install_peers")
    return path
