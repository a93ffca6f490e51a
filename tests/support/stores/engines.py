"""The engines by name, for tests that run against each."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from stores.etcd import EtcdServer
from stores.postgresql import PostgreSQLServer
from stores.server import StoreServer

ENGINES: Final[dict[str, type[EtcdServer | PostgreSQLServer]]] = {
    "postgresql": PostgreSQLServer,
    "etcd": EtcdServer,
}


@contextmanager
def prepared(engine: str) -> Generator[StoreServer]:
    """Prepare a server that isn't set up; it is removed at the end."""
    server = ENGINES[engine]()
    try:
        yield server
    finally:
        server.remove()


@contextmanager
def running(engine: str) -> Generator[StoreServer]:
    """Run a server; it is removed at the end."""
    with prepared(engine) as server:
        server.set_up()
        yield server
