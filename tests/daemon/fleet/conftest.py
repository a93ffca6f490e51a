from collections.abc import Iterator
from itertools import count
from typing import Final

import pytest

from stores.engines import ENGINES, prepared, running
from stores.server import StoreServer

_tables: Final = count(1)


@pytest.fixture(scope="session", params=ENGINES)
def shared_server(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    """A server that many tests use, each with its own table."""
    with running(request.param) as server:
        yield server


@pytest.fixture(params=ENGINES)
def new_server(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    """A server of a test's own, which isn't set up yet."""
    with prepared(request.param) as server:
        yield server


@pytest.fixture
def own_server(new_server: StoreServer) -> StoreServer:
    """A server of a test's own, which it may kill."""
    new_server.set_up()
    return new_server


@pytest.fixture
def table() -> str:
    """The name of a table that no other test uses."""
    return f"fleet_{next(_tables)}"


@pytest.fixture
def unpaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace a token that is refused a second after the last, and not ten."""
    monkeypatch.setattr("openfit_tokend.core.schedule.RECENT", 1.0)
