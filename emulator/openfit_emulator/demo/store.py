"""The store of the demo's fleet: an etcd or a PostgreSQL of its own, whichever is installed."""

import os
import shutil
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final, NamedTuple

from openfit_emulator.demo.stage import Stage
from openfit_token.testing._processes import NotStarted, not_started
from openfit_tokend.config.fleet_keys import new_key
from openfit_tokend.core.settings.etcd import EtcdPlace
from openfit_tokend.core.settings.postgresql import PostgreSQLPlace

_LOOPBACK: Final = "127.0.0.1"
_USER: Final = "openfit"
_SERVERS: Final = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs that $PATH doesn't find."""
_TABLE: Final = (
    "CREATE TABLE openfit_fleet (key text PRIMARY KEY, tag bytea NOT NULL, data bytea NOT NULL);\n"
)


class Store(NamedTuple):
    """A store that can be started: its name, and how. `extra`, `packages`: what daemons need for it."""

    name: str
    start: Callable[[Stage], str]
    extra: str
    packages: tuple[str, ...]


def find_store() -> Store:
    """Return a store whose program is installed.

    Raises:
        NotStarted: there is none.
    """
    etcd, initdb = shutil.which("etcd"), _initdb()
    if etcd is not None:
        return Store("etcd", partial(_start_etcd, etcd), EtcdPlace.extra, ("cryptography",))
    if initdb is None:
        raise NotStarted("it needs an etcd or a PostgreSQL: apt-get install etcd-server")
    if os.geteuid() == 0:
        raise NotStarted(
            "PostgreSQL doesn't run as root: apt-get install etcd-server, or be another user"
        )
    packages = ("cryptography", "psycopg")
    return Store("PostgreSQL", partial(_start_postgresql, initdb), PostgreSQLPlace.extra, packages)


def start_store(store: Store, stage: Stage) -> str:
    """Start a store; return the table [fleet] that leads to it.

    Raises:
        NotStarted: it doesn't start.
    """
    url, key = store.start(stage), stage.directory / "fleet.key"
    key.touch(mode=0o600)
    key.write_text(f"{new_key()}\n")
    return f'[fleet]\nstore = "{url}"\nkey_file = "{key}"\n'


def _start_etcd(program: str, stage: Stage) -> str:
    clients, peers = (f"http://{_LOOPBACK}:{port}" for port in _free_ports(2))
    options = {
        "name": "demo",
        "data-dir": str(stage.directory / "etcd"),
        "listen-client-urls": clients,
        "advertise-client-urls": clients,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"demo={peers}",
    }
    server = stage.start_store([program, *(f"--{key}={value}" for key, value in options.items())])
    address = clients.removeprefix("http://")
    for _ in stage.attempts(server):
        if _is_well(address):
            return f"etcd+http://{address}"
    raise not_started("etcd", server.log())


def _is_well(address: str) -> bool:
    connection = HTTPConnection(address, timeout=1)
    with suppress(OSError, HTTPException):
        connection.request("GET", "/health")
        return b'"true"' in connection.getresponse().read()
    return False


def _start_postgresql(initdb: Path, stage: Stage) -> str:
    data, postgres = str(stage.directory / "postgresql"), str(initdb.with_name("postgres"))
    options = ("--username", _USER, "--auth=trust", "--no-sync", "--encoding=UTF8")
    stage.run("PostgreSQL", [str(initdb), "--pgdata", data, *options])
    stage.run("PostgreSQL", [postgres, "--single", "-D", data, "postgres"], _TABLE)
    place = str(stage.directory)
    words: Sequence[str] = ("-k", place, "-c", "listen_addresses=", "-c", "fsync=off")
    server = stage.start_store([postgres, "-D", data, *words])
    for _ in stage.attempts(server):
        if "ready to accept connections" in server.log():
            return f"postgresql://{_USER}@{place.replace('/', '%2F')}/postgres"
    raise not_started("PostgreSQL", server.log())


def _initdb() -> Path | None:
    """Return PostgreSQL's initdb, the newest one; None: it isn't installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found)
    programs = sorted(_SERVERS.glob("*/bin/initdb"))
    return programs[-1] if programs else None


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody uses at the moment."""
    sockets = [socket.create_server((_LOOPBACK, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
