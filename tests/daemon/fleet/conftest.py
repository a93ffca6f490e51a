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
    yield from _running(ENGINES[request.param])


@pytest.fixture(params=ENGINES)
def own_server(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    """A server of a test's own, which it may kill."""
    yield from _running(ENGINES[request.param])


@pytest.fixture
def table() -> str:
    """The name of a table that no other test uses."""
    return f"fleet_{next(_tables)}"


def _running(make: type[EtcdServer | PostgreSQLServer]) -> Iterator[StoreServer]:
    server = make()
    try:
        server.set_up()
        yield server
    finally:
        server.remove()
