"""Every store keeps the same promises: these tests run against a real server of each engine."""

import socket
from collections.abc import Awaitable
from contextlib import suppress

import anyio
import pytest
from anyio import create_task_group, fail_after, move_on_after

from openfit_tokend.core.settings.store import Host
from openfit_tokend.fleet.store import EXCHANGE, RowTrouble, Store, Tagged, Unreached
from openfit_tokend.host import clock
from openfit_tokend.serving.driver import running_loop
from ports import LOOPBACK
from stores.connected import connected, heard, listening
from stores.server import PASSWORD, StoreServer

KEY = "ab" * 32
OTHER = "cd" * 32
A, B, C = (bytes([each]) * 16 for each in b"\x00A\xff")
DATA = bytes(range(256))
LATE = EXCHANGE + 1.0


@pytest.fixture
def server(shared_server: StoreServer, table: str) -> StoreServer:
    shared_server.make_table(table)
    return shared_server


@pytest.fixture
def own(own_server: StoreServer, table: str) -> StoreServer:
    own_server.make_table(table)
    return own_server


async def row(store: Store, key: str = KEY) -> tuple[bytes | None, bytes | None]:
    said = await store.read(key)
    return said.tag, said.data


# Rows


async def test_a_row_that_nobody_wrote_is_none(server: StoreServer, table: str) -> None:
    async with connected(server, table) as store:
        assert await row(store) == (None, None)
        assert await store.tags([KEY]) == []


async def test_what_was_written_is_read_by_all_byte_by_byte(
    server: StoreServer, table: str
) -> None:
    async with connected(server, table) as one, connected(server, table) as other:
        for tag, data in ((A, b""), (B, DATA), (C, DATA * 400)):
            old, _ = await row(one)
            said = await one.write(KEY, old, tag, data)

            assert said is not None
            assert (said.tag, said.data) == (tag, data)
            assert await row(other) == (tag, data)


async def test_a_write_replaces_exactly_the_row_with_the_old_tag(
    server: StoreServer, table: str
) -> None:
    async with connected(server, table) as store:
        await store.write(KEY, None, A, DATA)

        assert await store.write(KEY, None, B, b"created again") is None
        assert await store.write(KEY, C, B, b"over another") is None
        assert await store.write(OTHER, A, B, b"of another row") is None
        assert await row(store) == (A, DATA)
        assert await row(store, OTHER) == (None, None)


async def test_a_tag_that_was_there_once_replaces_nothing(server: StoreServer, table: str) -> None:
    async with connected(server, table) as store:
        await store.write(KEY, None, A, DATA)
        await store.write(KEY, A, B, DATA)

        assert await store.write(KEY, A, C, b"stale") is None
        assert await row(store) == (B, DATA)


async def test_of_writes_at_once_exactly_one_is_taken(server: StoreServer, table: str) -> None:
    rounds, racers = 20, 4
    stores = [server.store(table) for _ in range(racers)]
    for each in stores:
        await each.connect()
    old: bytes | None = None
    for number in range(rounds):
        taken: list[bytes] = []

        async def race(
            racer: int, old: bytes | None, number: int = number, taken: list[bytes] = taken
        ) -> None:
            tag = bytes([number, racer]) * 8
            if await stores[racer].write(KEY, old, tag, tag) is not None:
                taken.append(tag)

        async with create_task_group() as tasks:
            for racer in range(racers):
                tasks.start_soon(race, racer, old)

        assert len(taken) == 1
        assert await row(stores[0]) == (taken[0], taken[0])
        (old,) = taken
    for each in stores:
        await each.close()


async def test_tables_and_rows_are_apart(server: StoreServer, table: str) -> None:
    neighbour = f"{table}x"
    server.make_table(neighbour)
    async with connected(server, table) as here, connected(server, neighbour) as there:
        await here.write(KEY, None, A, b"here")
        await here.write(OTHER, None, B, b"other")
        await there.write(KEY, None, C, b"there")

        assert await row(here) == (A, b"here")
        assert await row(there) == (C, b"there")
        assert sorted(await here.tags([KEY, OTHER])) == [(KEY, A), (OTHER, B)]
        assert await here.tags([OTHER, "ef" * 32]) == [(OTHER, B)]
        assert await there.tags([KEY, OTHER]) == [(KEY, C)]


# Its clock


async def test_the_clock_is_told_between_two_moments_of_this_host(
    server: StoreServer, table: str
) -> None:
    async with connected(server, table) as store:
        begun, offset = clock.boot(), clock.wall() - clock.boot()
        written = await store.write(KEY, None, A, DATA)
        for said in (written, await store.read(KEY), await store.read(OTHER)):
            assert said is not None

            assert begun - 1.0 <= said.before <= said.after <= clock.boot()
            assert said.clock - said.after - 0.01 <= offset <= said.clock - said.before + 0.01


# News


async def test_each_write_is_told_to_all(server: StoreServer, table: str) -> None:
    async with connected(server, table) as one, connected(server, table) as other:
        await one.write(KEY, None, A, DATA)
        await one.write(OTHER, None, B, DATA)

        for store in (one, other):
            assert await heard(store, Tagged(KEY, A), Tagged(OTHER, B))


async def test_a_write_that_isnt_taken_is_told_to_nobody(server: StoreServer, table: str) -> None:
    async with connected(server, table) as one, connected(server, table) as other:
        await one.write(KEY, C, A, DATA)
        await one.write(OTHER, None, B, DATA)

        assert await heard(other, Tagged(OTHER, B)) == [(OTHER, B)]


async def test_who_waits_is_told_soon(server: StoreServer, table: str) -> None:
    async with connected(server, table) as one, connected(server, table) as other:
        delays: list[float] = []
        old: bytes | None = None
        for number in range(9):
            tag = bytes([number]) * 16
            begun = clock.boot()
            async with create_task_group() as tasks:
                tasks.start_soon(one.write, KEY, old, tag, DATA)
                assert await other.news(10) == [(KEY, tag)]
            delays.append(clock.boot() - begun)
            old = tag

        assert sorted(delays)[4] < 0.1


async def test_no_news_end_after_their_time(server: StoreServer, table: str) -> None:
    async with connected(server, table) as store:
        begun = clock.boot()

        assert await store.news(0.2) == []
        assert clock.boot() - begun < 2.0


async def test_what_comes_while_a_wait_is_cancelled_is_told_by_the_next(
    server: StoreServer, table: str
) -> None:
    async with connected(server, table) as one, connected(server, table) as other:
        tags = [bytes([each]) * 16 for each in range(1, 40)]
        told: list[Tagged] = []
        old: bytes | None = None
        for tag in tags:
            async with create_task_group() as tasks:
                tasks.start_soon(one.write, KEY, old, tag, DATA)
                with move_on_after(0.001):  # somewhere in the middle of it
                    told += await other.news(10)
            old = tag

        with fail_after(10):
            while len(told) < len(tags):
                told += await other.news(10)
        assert told == [(KEY, tag) for tag in tags]


async def test_a_thousand_cancelled_waits_cost_no_connection(
    server: StoreServer, table: str
) -> None:
    async with connected(server, table) as one, connected(server, table) as other:
        for _ in range(1000):
            with move_on_after(0):
                await other.news(10)
        await one.write(KEY, None, A, DATA)

        assert await other.news(10) == [(KEY, A)]


# Trouble


async def given_up(call: Awaitable[object]) -> None:
    """Check that an exchange fails in time."""
    begun = clock.boot()
    with pytest.raises(Unreached):
        await call
    assert clock.boot() - begun < LATE


@pytest.mark.slow
async def test_a_server_that_hangs_is_given_up_in_time_and_holds_up_nobody(
    own: StoreServer, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(own, table) as store:
        for module in ("store", "engines.etcd", "engines.postgresql"):
            monkeypatch.setattr(f"openfit_tokend.fleet.{module}.EXCHANGE", 1.0)
        longest = 0.0

        async def watch() -> None:
            nonlocal longest
            while True:
                begun = clock.boot()
                await anyio.sleep(0.01)
                longest = max(longest, clock.boot() - begun)

        own.stand_still()
        async with create_task_group() as tasks:
            tasks.start_soon(watch)
            await given_up(store.write(KEY, None, A, DATA))
            await given_up(store.read(KEY))
            await given_up(store.connect())
            tasks.cancel_scope.cancel()

        assert longest < 1.0
        monkeypatch.undo()
        own.go_on()
        await store.connect()
        assert (await row(store))[0] in {None, A}  # nobody knows whether it was taken


async def test_a_write_that_is_refused_costs_no_connection(own: StoreServer, table: str) -> None:
    async with connected(own, table) as store:
        await store.write(KEY, None, A, DATA)
        await heard(store, Tagged(KEY, A))
        own.refuse_writes(table)

        with pytest.raises(RowTrouble):
            await store.write(KEY, A, B, DATA)

        assert await row(store) == (A, DATA)
        assert await store.tags([KEY]) == [(KEY, A)]
        assert await store.news(0) == []


async def test_a_server_that_ended_is_reached_again_with_all_it_was_told(
    own: StoreServer, table: str
) -> None:
    async with connected(own, table) as store:
        await store.write(KEY, None, A, DATA)
        await heard(store, Tagged(KEY, A))
        own.kill()

        await given_up(store.news(10))
        await given_up(store.read(KEY))
        await given_up(store.news(10))
        await given_up(store.connect())
        await given_up(store.news(10))
        own.start()
        async with listening(store):
            assert await row(store) == (A, DATA)
            await store.write(KEY, A, B, DATA)
            assert await heard(store, Tagged(KEY, B))


async def test_a_store_that_an_administrator_disconnected_is_used_again(
    own: StoreServer, table: str
) -> None:
    async with connected(own, table) as store:
        await store.write(KEY, None, A, DATA)
        own.end_connections()

        with suppress(Unreached):
            await store.read(KEY)
        await store.connect()

        assert await row(store) == (A, DATA)


async def test_a_cancelled_exchange_leaves_nothing_behind(server: StoreServer, table: str) -> None:
    """Its answer isn't taken for that of the next."""
    async with connected(server, table) as store:
        await store.write(KEY, None, A, DATA)
        await store.write(OTHER, None, B, b"other")
        for _ in range(30):
            with move_on_after(0.0005):
                await store.read(OTHER)
            try:
                found = await row(store)
            except Unreached:
                await store.connect()
            else:
                assert found == (A, DATA)


async def test_a_wrong_password_is_told_without_itself(server: StoreServer, table: str) -> None:
    wrong = "hunter2-hunter2"
    store = server.store(table, password=wrong)

    with pytest.raises(Unreached) as raised:
        await store.connect()

    assert "it refuses the user or the password" in raised.value.message
    assert "store_password_file" in (raised.value.hint or "")
    for text in (str(raised.value), repr(raised.value), repr(vars(raised.value))):
        assert wrong not in text
        assert PASSWORD not in text


async def test_rights_that_are_missing_are_named(shared_server: StoreServer, table: str) -> None:
    store = shared_server.store(table)  # which nobody has made

    async def use() -> None:
        await store.connect()
        await store.read(KEY)

    with pytest.raises(Unreached, match=r"may not use|no such table"):
        await use()
    await store.close()


async def test_nobody_is_reached_where_nobody_listens(server: StoreServer, table: str) -> None:
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        store = server.store(table, hosts=[Host(LOOPBACK, free.getsockname()[1])])

        with pytest.raises(Unreached, match="Connection refused"):
            await store.connect()


async def test_the_next_host_is_taken_if_the_first_refuses_or_hangs(
    server: StoreServer, table: str
) -> None:
    with socket.socket() as refusing, socket.create_server((LOOPBACK, 0)) as silent:
        refusing.bind((LOOPBACK, 0))
        hosts = [Host(LOOPBACK, each.getsockname()[1]) for each in (refusing, silent)]
        begun = clock.boot()

        async with connected(server, table, [*hosts, server.host]) as store:
            assert await store.write(KEY, None, A, DATA)

        assert clock.boot() - begun < LATE


async def test_names_are_looked_up_where_one_that_hangs_harms_no_other(
    server: StoreServer, table: str
) -> None:
    async with connected(server, table, [Host("localhost", server.host.port)]) as store:
        assert await row(store) == (None, None)

    assert running_loop()._default_executor is None  # type: ignore[attr-defined]  # asyncio's own
