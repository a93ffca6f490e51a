from collections.abc import Iterator
from itertools import count
from typing import Final

import pytest

from stores.etcd import EtcdServer
from stores.postgresql import PostgreSQLServer
from stores.server import StoreServer

ENGINES: Final[dict[str, type[EtcdServer | PostgreSQLServer]]] = {
    "postgresql": PostgreSQLServer,
    "etcd": EtcdServer,
}
_tables: Final = count(1)


@pytest.fixture(scope="session", params=ENGINES)
def shared_server(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    """A server that many tests use, each with its own table."""
    server = ENGINES[request.param]()
    try:
        server.set_up()
        yield server
    finally:
        server.remove()


@pytest.fixture(params=ENGINES)
def new_server(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    """A server of a test's own, which isn't set up yet."""
    server = ENGINES[request.param]()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture
def own_server(new_server: StoreServer) -> StoreServer:
    """A server of a test's own, which it may kill."""
    new_server.set_up()
    return new_server


@pytest.fixture
def table() -> str:
    """The name of a table that no other test uses."""
    return f"fleet_{next(_tables)}"
