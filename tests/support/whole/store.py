"""The store: real rows with real tags, behind a network that loses and delays.

Each exchange happens at one moment, or never. The answer to it may get lost, and it may happen when
nobody waits for it any more.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from math import floor, inf
from typing import TYPE_CHECKING, Final, TypeVar, final

import anyio
from anyio.abc import TaskGroup

from openfit_tokend.fleet.store import EXCHANGE, RowTrouble, Said, Tagged, Unreached
from openfit_tokend.host import clock
from whole.clocks import StoreClock

if TYPE_CHECKING:  # the world is made of this module
    from whole.fleet_witness import FleetWitness
    from whole.host import Host
    from whole.world import World

T = TypeVar("T")

MEMBERS_APART: Final = 1.0
"""Seconds by which the clocks of etcd's members may differ: what docs/fleet.md asks for."""
MEMORY: Final = 6
"""Writes that the store can forget."""
AT_ONCE: Final = 0.001
"""Seconds after which a connection that is refused is refused."""
Value = tuple[bytes, bytes]
"""A row as it lies there: its tag, and its sealed data."""


@dataclass(frozen=True, slots=True)
class Writer:
    """A daemon, by its host and by the number of its life there: it may be gone when its write comes."""

    host: "Host"
    life: int


@final
class Store:
    """Linearizable rows, and a clock."""

    def __init__(self, world: "World", witness: "FleetWitness") -> None:
        self._world = world
        self._witness = witness
        rng = world.rng
        self.clock = StoreClock(
            1.7e9 + rng.uniform(-5e3, 5e3), 1 + rng.uniform(-1, 1) * world.plan.drift
        )
        self._off = [rng.uniform(-MEMBERS_APART, 0.0) for _ in range(3)]
        self.rows: dict[str, Value] = {}
        self._before: list[dict[str, Value]] = []
        self.down_until = self.slow_until = self.refuses_until = self.locked_until = -inf
        self.writes = self.exchanges = 0

    def write(self, writer: Writer, key: str, old_tag: bytes | None, value: Value) -> bool:
        """Replace a row if it has this tag; return whether it was."""
        there = self.rows.get(key)
        if self._world.time.now < self.refuses_until:
            self._witness.refused(writer)
            return False
        if (None if there is None else there[0]) != old_tag:
            return False
        self._before = [*self._before[-MEMORY + 1 :], dict(self.rows)]
        self.rows[key] = value
        self.writes += 1
        self._witness.written(writer, key, value)
        for each in self._world.hosts:
            each.link.notice(Tagged(key, value[0]), self._delay())
        return True

    def lose(self, writes: int) -> None:
        """Be as it was some writes ago: an asynchronous replica took over, or a backup was restored."""
        for _ in range(min(writes, len(self._before))):
            self.rows = self._before.pop()
        self._witness.store_lost()

    def mend(self) -> None:
        """Be there for everybody from now on."""
        self.down_until = self.slow_until = self.refuses_until = self.locked_until = -inf

    def reaches(self, host: "Host") -> bool:
        """Return whether a message to or from a host gets through now."""
        world = self._world
        if world.time.now < max(self.down_until, host.no_store_until):
            return False
        return world.calm or world.rng.random() >= world.plan.store_loss

    def _delay(self) -> float:
        low, high = self._world.plan.store_latency
        if self._world.time.now < self.slow_until:
            low, high = 0.5, 4.0
        return self._world.rng.uniform(low, high)

    @property
    def _tick(self) -> float:
        """Return for how many seconds the clock shows the same."""
        return float(self._world.plan.engine == "etcd")

    def _shown(self, host: "Host") -> float:
        shown = self.clock.at(self._world.time.now)
        return floor(shown + self._off[host.link.member]) if self._tick else shown

    async def exchange(self, host: "Host", act: Callable[[], T]) -> tuple[T, float, float, float]:
        """Let `act` happen there; return what it returned, the store's clock, and ours around it.

        Raises:
            Unreached: no answer came.
        """
        world, before, life = self._world, clock.boot(), host.life
        came = anyio.Event()
        said: list[tuple[T, float]] = []

        def come() -> None:
            if host.life == life:
                came.set()

        def happen() -> None:
            if world.time.now < self.down_until:
                return
            self.exchanges += 1
            done = act()
            if self.reaches(host):
                said.append((done, self._shown(host)))
                world.time.at(world.time.now + self._delay(), come)

        with anyio.move_on_after(EXCHANGE):
            if self.reaches(host):
                late = (
                    0.0 if world.calm or world.rng.random() >= world.plan.store_late else EXCHANGE
                )
                world.time.at(world.time.now + self._delay() + late, happen)
            elif world.rng.random() < 0.5:  # it is refused at once; else it hangs
                await anyio.sleep(AT_ONCE)
                raise Unreached("the connection was refused", "see that the store runs")
            await came.wait()
            done, shown = said[0]
            return done, shown, before - self._tick, clock.boot()
        raise Unreached(f"no answer within {EXCHANGE:.0f} s")


@final
class Link:
    """One daemon's connection to the store: a `Store` of the daemon's."""

    def __init__(self, world: "World", host: "Host") -> None:
        self._world = world
        self._host = host
        self._connected = False
        self._connection = 0
        self.member = host.index % 3
        """The member of the cluster that it is connected to."""
        self._noticed: list[Tagged] = []
        self._news: anyio.Event | None = None

    # What happens to it

    def notice(self, tagged: Tagged, delay: float) -> None:
        """Let a notice come, unless it gets lost."""
        world, host, connection = self._world, self._host, self._connection
        if not self._connected or not world.store.reaches(host) or world.time.now < host.deaf_until:
            return

        def come() -> None:
            if connection == self._connection:
                self._noticed.append(tagged)
                self._tell()

        world.time.at(world.time.now + delay, come)

    def cut(self) -> None:
        """Break the connection."""
        self._connected = False
        self._connection += 1
        self.member = self._world.rng.randrange(3)
        self._noticed.clear()
        self._tell()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()

    # What the daemon asks

    async def connect(self, tasks: TaskGroup | None = None) -> None:
        """Connect, or connect anew."""
        del tasks  # it needs none
        self.cut()
        await self._world.store.exchange(self._host, bool)
        self._connected = True

    async def read(self, key: str) -> Said:
        """Return a row as it is."""
        store = self._store(of_a_row=True)
        value, shown, before, after = await store.exchange(self._host, lambda: store.rows.get(key))
        tag, data = (None, None) if value is None else value
        return Said(tag, data, shown, before, after)

    async def write(self, key: str, old_tag: bytes | None, tag: bytes, data: bytes) -> Said | None:
        """Replace a row."""
        store = self._store(of_a_row=True)
        writer = Writer(self._host, self._host.life)
        act = partial(store.write, writer, key, old_tag, (tag, data))
        taken, shown, before, after = await store.exchange(self._host, act)
        return Said(tag, data, shown, before, after) if taken else None

    async def tags(self, keys: Iterable[str]) -> list[Tagged]:
        """Return the tags of rows."""
        store, wanted = self._store(), tuple(keys)
        there, *_ = await store.exchange(
            self._host,
            lambda: [Tagged(key, store.rows[key][0]) for key in wanted if key in store.rows],
        )
        return there

    async def news(self, seconds: float) -> list[Tagged]:
        """Wait for notices."""
        self._store()
        if not self._noticed:
            news = self._news = anyio.Event()
            with anyio.move_on_after(seconds):
                await news.wait()
            self._news = None
        self._store()
        noticed, self._noticed = self._noticed, []
        return noticed

    async def close(self) -> None:
        """Disconnect."""
        self.cut()

    def _store(self, *, of_a_row: bool = False) -> Store:
        if not self._connected:
            raise Unreached("the connection broke", "see that the store runs")
        if of_a_row and self._world.time.now < self._world.store.locked_until:
            raise RowTrouble("the row is locked", "see who holds its lock")
        return self._world.store
