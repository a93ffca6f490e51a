"""A store of several servers goes on when one of them ends, and forgets nothing that it acknowledged."""

from collections.abc import Iterator
from contextlib import suppress
from secrets import token_bytes

import anyio
import pytest
from anyio import fail_after

from daemons import PATIENCE
from openfit_tokend.fleet.store import Store, Tagged, Unreached
from stores.clusters import etcd_cluster, postgresql_primary, synchronous_standby
from stores.connected import connected, heard
from stores.etcd import EtcdServer
from stores.postgresql import PostgreSQLServer

KEY = "ab" * 32
OTHER = "cd" * 32
TABLE = "openfit_fleet"

pytestmark = [pytest.mark.slow, pytest.mark.long]


class Writer:
    """One who writes a row again and again, each time with the tags of all writes before."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.acknowledged: list[bytes] = []

    async def write(self) -> bytes:
        """Write until a write is acknowledged, as often as that takes, and return its tag."""
        with fail_after(PATIENCE):
            while True:
                try:
                    said = await self._store.read(KEY)
                    tag = token_bytes(16)
                    history = (said.data or b"") + tag
                    if await self._store.write(KEY, said.tag, tag, history) is not None:
                        self.acknowledged.append(tag)
                        return tag
                except Unreached:
                    await anyio.sleep(0.1)
                    with suppress(Unreached):
                        await self._store.connect()

    async def forgotten(self) -> list[bytes]:
        """Return what was acknowledged, and isn't in the row's history."""
        history = (await self._store.read(KEY)).data or b""
        tags = {history[at : at + 16] for at in range(0, len(history), 16)}
        return [each for each in self.acknowledged if each not in tags]


@pytest.fixture
def cluster() -> Iterator[list[EtcdServer]]:
    with etcd_cluster(TABLE) as members:
        yield members


async def test_etcd_goes_on_while_any_one_of_three_members_is_down(
    cluster: list[EtcdServer],
) -> None:
    hosts = [each.host for each in cluster]
    async with connected(cluster[0], TABLE, hosts) as store:
        writer = Writer(store)
        for each in cluster:
            await writer.write()
            each.kill()

            await writer.write()

            each.start()

        assert await writer.forgotten() == []
        assert len(writer.acknowledged) == 6


async def test_etcd_goes_on_while_a_member_hangs(cluster: list[EtcdServer]) -> None:
    hosts = [each.host for each in cluster]
    async with connected(cluster[0], TABLE, hosts) as store:
        writer = Writer(store)
        for each in cluster:
            each.stand_still()
            await writer.write()
            each.go_on()
            await writer.write()

        assert await writer.forgotten() == []


async def test_a_member_that_is_cut_off_from_the_others_says_so_at_once(
    cluster: list[EtcdServer],
) -> None:
    async with connected(cluster[0], TABLE) as store:
        for each in cluster[1:]:
            each.kill()

        with fail_after(4):
            with pytest.raises(Unreached):
                await store.news(10)
            with pytest.raises(Unreached, match="too few of its members"):
                await store.read(KEY)


@pytest.fixture
def primary() -> Iterator[PostgreSQLServer]:
    with postgresql_primary(TABLE) as server:
        yield server


@pytest.fixture
def standby(primary: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    with synchronous_standby(primary) as server:
        yield server


async def test_a_promoted_standby_knows_all_that_was_acknowledged(
    primary: PostgreSQLServer, standby: PostgreSQLServer
) -> None:
    async with connected(primary, TABLE, [standby.host, primary.host]) as store:
        writer = Writer(store)
        for _ in range(20):
            await writer.write()
        primary.kill()
        with pytest.raises(Unreached):
            await store.read(KEY)
        standby.promote()

        await writer.write()

        assert await writer.forgotten() == []
        assert len(writer.acknowledged) == 21


async def test_a_standby_is_not_written_to(
    primary: PostgreSQLServer, standby: PostgreSQLServer
) -> None:
    store = primary.store(TABLE, hosts=[standby.host])

    with pytest.raises(Unreached, match="it is a standby, or takes no writes"):
        await store.connect()


async def test_a_write_that_waits_for_its_standby_is_seen_by_nobody_when_it_is_given_up(
    primary: PostgreSQLServer, standby: PostgreSQLServer
) -> None:
    """Else others go on from what the standby, once promoted, never heard of."""
    async with (
        connected(primary, TABLE) as store,
        connected(primary, TABLE) as cancelled,
        connected(primary, TABLE) as other,
    ):
        writer = Writer(store)
        tag = await writer.write()
        standby.stand_still()

        with pytest.raises(Unreached, match="no answer within"):
            await store.write(KEY, tag, b"n" * 16, b"")
        with anyio.move_on_after(0.5):
            await cancelled.write(OTHER, None, b"n" * 16, b"")

        assert (await other.read(KEY)).tag == tag
        assert (await other.read(OTHER)).tag is None
        standby.go_on()
        await store.connect()
        assert await heard(other, Tagged(KEY, b"n" * 16), Tagged(OTHER, b"n" * 16))
