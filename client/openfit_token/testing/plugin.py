"""The pytest plugin: the fixtures `openfit_emulator` and `openfit_daemon`, and the mark `openfit`.

Every run of pytest loads this file if the package is installed, so it loads nothing else.
"""

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from openfit_token.testing._daemon import Daemon
    from openfit_token.testing._emulator import Emulator

_MARK = "openfit(token_lifetime=3600, faults=[]): how the fixture openfit_emulator is started"


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    config.addinivalue_line("markers", _MARK)


@pytest.fixture
def openfit_emulator(request: pytest.FixtureRequest) -> "Iterator[Emulator]":
    """An emulated OpenFIT for this test: token server and API, with injected faults."""
    from openfit_token.testing._emulator import Emulator  # noqa: PLC0415 -- only where it is used

    node: pytest.Item = request.node
    mark = node.get_closest_marker("openfit")
    with Emulator(**mark.kwargs if mark else {}) as emulator:
        yield emulator


@pytest.fixture
def openfit_daemon(
    openfit_emulator: "Emulator", monkeypatch: pytest.MonkeyPatch
) -> "Iterator[Daemon]":
    """A daemon for this test, logged in at `openfit_emulator`; `get_token()` finds it."""
    from openfit_token.testing._daemon import Daemon  # noqa: PLC0415 -- only where it is used

    with Daemon(openfit_emulator) as daemon:
        monkeypatch.setenv("OPENFIT_TOKEN_SOCKET", str(daemon.socket))
        monkeypatch.delenv("OPENFIT_PROFILE", raising=False)
        # For tests that run `openfit-token`, where pytest's environment isn't an activated one.
        places = [os.environ.get("PATH", os.defpath), os.path.dirname(sys.executable)]  # noqa: PTH120 -- no link is followed
        monkeypatch.setenv("PATH", os.pathsep.join(places))
        yield daemon
