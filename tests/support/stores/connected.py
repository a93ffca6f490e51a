"""Stores that are connected for the length of a block."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio

from openfit_tokend.core.settings.store import Host
from openfit_tokend.fleet.store import Store, Tagged
from stores.server import StoreServer


@asynccontextmanager
async def connected(
    server: StoreServer, table: str, hosts: Sequence[Host] | None = None
) -> AsyncGenerator[Store]:
    """Connect to a table there."""
    store = server.store(table, hosts=hosts)
    async with listening(store):
        yield store


@asynccontextmanager
async def listening(store: Store) -> AsyncGenerator[None]:
    """Connect a store that tells its news."""
    async with anyio.create_task_group() as tasks:
        await store.connect(tasks)
        try:
            yield
        finally:
            await store.close()


async def heard(store: Store, *expected: Tagged) -> list[Tagged]:
    """Return what a store tells until it has told all of this; fail if it doesn't within 10 s."""
    told: list[Tagged] = []
    with anyio.fail_after(10):
        while not set(expected) <= set(told):
            told += await store.news(10)
    return told
