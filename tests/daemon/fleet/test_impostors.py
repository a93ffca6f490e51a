"""Who listens where the store should be, and isn't the store, is told no password."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from daemons import needs_root
from listeners import listener_of
from openfit_tokend.core.settings.etcd import EtcdPlace
from openfit_tokend.core.settings.postgresql import PostgreSQLPlace
from openfit_tokend.core.settings.store import Host
from openfit_tokend.fleet.engines.etcd import Etcd
from openfit_tokend.fleet.engines.postgresql import PostgreSQL
from openfit_tokend.fleet.store import Unreached
from others import EVE
from ports import LOOPBACK
from stores.engines import running
from stores.postgresql import DATABASE
from stores.server import OWNER, PASSWORD, USER, right_password

pytestmark = [pytest.mark.system, needs_root]

ASKS_FOR_IT = b"R\x00\x00\x00\x08\x00\x00\x00\x03"
"""PostgreSQL's AuthenticationCleartextPassword."""


def postgresql(*hosts: Host, user: str | int | None = None, table: str = "t") -> PostgreSQL:
    place = PostgreSQLPlace(
        hosts=hosts, tls=False, user=USER, database=DATABASE, table=table, loopback_user=user
    )
    return PostgreSQL(place, right_password)


async def test_another_user_at_the_port_of_postgresql_is_told_nothing() -> None:
    with listener_of(EVE, answer=ASKS_FOR_IT) as eve:
        with pytest.raises(Unreached, match=f"{EVE} .* is at the other end, not root"):
            await postgresql(Host(LOOPBACK, eve.port)).connect()

        assert PASSWORD.encode() not in eve.told


async def test_not_even_a_user_who_is_named_is_told_the_password_in_the_clear() -> None:
    with listener_of(EVE, answer=ASKS_FOR_IT) as eve:
        with pytest.raises(Unreached, match="it asks for the password in a way that gives it away"):
            await postgresql(Host(LOOPBACK, eve.port), user=EVE).connect()

        assert b"user\0openfit" in eve.told
        assert PASSWORD.encode() not in eve.told


@pytest.fixture
def everybodys() -> Iterator[str]:
    """A directory like /tmp."""
    with TemporaryDirectory(prefix="oft-") as directory:
        Path(directory).chmod(0o1777)
        yield directory


async def test_another_user_at_a_socket_in_a_sticky_directory_is_told_nothing(
    everybodys: str,
) -> None:
    path = f"{everybodys}/.s.PGSQL.5432"
    with listener_of(EVE, 5432, host=path, answer=ASKS_FOR_IT) as eve:
        with pytest.raises(Unreached, match=f"{EVE} .* is at the other end, not root"):
            await postgresql(Host(everybodys, 5432)).connect()

        assert PASSWORD.encode() not in eve.told


async def test_the_owner_of_a_sockets_directory_may_listen_there_unnamed() -> None:
    with running("postgresql") as server:
        server.make_table("t")
        assert server.directory.stat().st_uid == OWNER != os.geteuid()
        store = postgresql(Host(str(server.directory), server.host.port))

        await store.connect()
        await store.close()


async def test_a_libpq_that_cannot_be_told_how_to_prove_a_password_sends_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("psycopg.pq.version", lambda: 150_000)
    with listener_of(os.geteuid(), answer=ASKS_FOR_IT) as mine:
        with pytest.raises(Unreached, match="this libpq would tell the password"):
            await postgresql(Host(LOOPBACK, mine.port)).connect()

        assert mine.told == b""


async def test_another_user_at_the_port_of_etcd_is_told_nothing() -> None:
    with listener_of(EVE) as eve:
        hosts = (Host(LOOPBACK, eve.port),)
        place = EtcdPlace(hosts=hosts, tls=False, user=USER, table="t")
        with pytest.raises(Unreached, match=f"{EVE} .* is at the other end, not root"):
            await Etcd(place, right_password).connect()

        assert eve.told == b""
