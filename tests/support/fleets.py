"""A fleet in one process: hosts with the real keepers, over a store in memory.

async with fleet_of(3, tmp_path, emulator.url) as fleet:
    first, second, third = fleet.hosts
    ... await fleet.agreed(), first.keeper.session, fleet.database.down = True ...
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint

from daemons import write_secret
from emulators import CLIENT_ID, PASSWORD, SCOPE, USERNAME
from inside import async_await_that
from openfit_tokend.config.passwords import Passwords
from openfit_tokend.core.callers.answers import LoginEnded
from openfit_tokend.core.callers.rights import Rights
from openfit_tokend.core.events import NewTokenWanted
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import Stopped, live
from openfit_tokend.core.settings.values import Identity, PasswordFile, Profile
from openfit_tokend.fleet.fleet import Fleet
from openfit_tokend.fleet.row_form import Keys
from openfit_tokend.fleet.store import Said, Tagged, Unreached
from openfit_tokend.host import clock
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.host.service_manager import NO_SERVICE, ServiceManager
from openfit_tokend.keeping.endpoint import Endpoint
from openfit_tokend.keeping.keeper import Keeper, Tools
from openfit_tokend.keeping.outages import Outages
from openfit_tokend.keeping.queue import Queue
from openfit_tokend.storage.accounts import Accounts
from openfit_tokend.storage.ledger_file import LedgerFile
from openfit_tokend.storage.stored_sessions import StoredSessions

EPOCH: Final = 1e9
"""Seconds that the store's clock shows beyond this host's."""


@dataclass(slots=True)
class Database:
    """What all hosts share."""

    rows: dict[str, tuple[bytes | None, bytes | None]] = field(
        default_factory=dict[str, tuple[bytes | None, bytes | None]]
    )
    stores: list["MemoryStore"] = field(default_factory=list["MemoryStore"])
    down: bool = False
    """Nobody reaches it."""
    writes: int = 0
    refused: str | None = None
    """The row of which no write is taken."""
    exchanges: int = 0


class MemoryStore:
    """One host's way to the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._news: list[Tagged] = []
        self._woken = anyio.Event()
        self.cut = False
        """This host doesn't reach it."""
        self.gate = anyio.Event()
        """Its exchanges wait for it."""
        self.gate.set()

    async def connect(self, tasks: TaskGroup | None = None) -> None:
        del tasks
        await self._exchange()
        if self not in self._database.stores:
            self._database.stores.append(self)

    async def read(self, key: str) -> Said:
        before = clock.boot()
        await self._exchange()
        tag, data = self._database.rows.get(key, (None, None))
        return Said(tag, data, self._clock(), before, clock.boot())

    async def write(self, key: str, old_tag: bytes | None, tag: bytes, data: bytes) -> Said | None:
        before = clock.boot()
        await self._exchange()
        if key == self._database.refused:
            return None
        if self._database.rows.get(key, (None, b""))[0] != old_tag:
            return None
        self._database.rows[key] = tag, data
        self._database.writes += 1
        for store in self._database.stores:
            store.tell(Tagged(key, tag))
        return Said(tag, data, self._clock(), before, clock.boot())

    async def tags(self, keys: Iterable[str]) -> list[Tagged]:
        await self._exchange()
        rows = self._database.rows
        tags = {key: rows[key][0] for key in keys if key in rows}
        return [Tagged(key, tag) for key, tag in tags.items() if tag is not None]

    async def news(self, seconds: float) -> list[Tagged]:
        with anyio.move_on_after(seconds):
            while not self._news:
                self._judge()
                await self._woken.wait()
                self._woken = anyio.Event()
        news, self._news = self._news, []
        return news

    async def close(self) -> None:
        self._news = []

    def tell(self, news: Tagged) -> None:
        if not self.cut:
            self._news.append(news)
            self._woken.set()

    def disturb(self) -> None:
        """Let whoever waits for news find that the store is gone."""
        self._woken.set()

    async def _exchange(self) -> None:
        self._database.exchanges += 1
        await checkpoint()
        await self.gate.wait()
        self._judge()

    def _judge(self) -> None:
        if self._database.down or self.cut:
            raise Unreached("it is down")

    def _clock(self) -> float:
        return clock.boot() + EPOCH


@dataclass(slots=True, eq=False)
class Host:
    """One daemon's keepers, and all that they need."""

    name: str
    store: MemoryStore
    fleet: Fleet
    accounts: Accounts
    tools: Tools
    password: Path
    keepers: list[Keeper]
    running: anyio.CancelScope
    keys: tuple[bytes, ...] = (bytes(32),)
    ended: list[LoginEnded] = field(default_factory=list[LoginEnded])

    @property
    def keeper(self) -> Keeper:
        return self.keepers[0]

    def kill(self) -> None:
        """End it at once: nobody hears of what it had begun."""
        self.store.cut = True
        self.tools.endpoint.abandon()
        self.running.cancel()

    @property
    def token(self) -> str | None:
        """Return the id of the token that is served."""
        access = live(self.keeper.session, clock.boot())
        return None if access is None else access.id


class RunningFleet:
    """Hosts, and their database."""

    def __init__(self, directory: Path, url: str, tasks: TaskGroup) -> None:
        self.database = Database()
        self.hosts: list[Host] = []
        self._directory = directory
        self._url = url
        self._tasks = tasks
        self._numbers = count()

    def profile(self, password: Path, name: str, username: str, scope: str) -> Profile:
        return Profile(
            name=name,
            environment="custom",
            identity=Identity(self._url, CLIENT_ID, scope, username),
            api_url=self._url,
            policy=Policy(),
            password=PasswordFile(str(password)),
        )

    async def add(self, *usernames: str) -> Host:
        """Start one more host, with a profile for each of these users, else one of the usual."""
        tasks = await self._tasks.start(_run)
        name = f"host-{next(self._numbers)}"
        directory = self._directory / name
        directory.mkdir(mode=0o700)
        password = write_secret(directory / "password", PASSWORD)
        accounts, alarm, passwords = (
            Accounts(LedgerFile(directory / "ledger")),
            Alarm(),
            Passwords(),
        )
        store = MemoryStore(self.database)

        async def keys() -> Keys:
            await checkpoint()
            return Keys(host.keys)

        fleet = Fleet(name, store, keys, accounts, alarm)
        manager = ServiceManager(NO_SERVICE.notify_socket, alarm)
        sessions = StoredSessions(NO_SERVICE, manager, {}, shared=True)
        endpoint = Endpoint(passwords)
        tools = Tools(
            endpoint,
            accounts,
            alarm,
            sessions,
            tasks,
            Queue(tasks, alarm),
            passwords,
            Outages(endpoint, tasks, alarm),
            fleet.join,
        )
        host = Host(name, store, fleet, accounts, tools, password, [], tasks.cancel_scope)

        for username in usernames or (USERNAME,):
            self.add_profile(host, username)
        tasks.start_soon(alarm.run)
        tasks.start_soon(fleet.run)
        self.hosts.append(host)
        return host

    def add_profile(self, host: Host, username: str = USERNAME, scope: str = SCOPE) -> Keeper:
        """Start one more profile of a host, as a reload does."""

        def changed(keeper: Keeper, ended: LoginEnded | None) -> None:
            del keeper
            if ended is not None:
                host.ended.append(ended)

        profile = self.profile(host.password, f"p{len(host.keepers)}", username, scope)
        keeper = Keeper(profile, Rights(), host.tools, changed)
        host.keepers.append(keeper)
        return keeper

    async def agreed(self) -> str:
        """Wait until all serve the same token, and return its id."""

        def tokens() -> set[str | None]:
            return {host.token for host in self.hosts}

        await async_await_that(lambda: None not in tokens() and len(tokens()) == 1, tokens)
        (token,) = tokens()
        assert token is not None
        return token


async def _run(*, task_status: TaskStatus[TaskGroup]) -> None:
    async with anyio.create_task_group() as tasks:
        task_status.started(tasks)
        await anyio.sleep_forever()


@asynccontextmanager
async def fleet_of(size: int, directory: Path, url: str) -> AsyncGenerator[RunningFleet]:
    """Run a fleet."""
    async with anyio.create_task_group() as tasks:
        fleet = RunningFleet(directory, url, tasks)
        for _ in range(size):
            await fleet.add()
        try:
            yield fleet
        finally:
            for host in fleet.hosts:
                host.tools.endpoint.abandon()
            tasks.cancel_scope.cancel()


def refuse(host: Host) -> None:
    """Let a client of a host refuse its token."""
    host.keeper.feed(NewTokenWanted())


async def stopped(*hosts: Host) -> None:
    """Wait until hosts ask no more."""
    await async_await_that(
        lambda: all(isinstance(host.keeper.session.doing, Stopped) for host in hosts)
    )
