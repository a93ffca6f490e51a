"""The one timer, on a loop whose time passes only while it sleeps."""

import asyncio  # noqa: TID251 -- the loop itself is what is looked at
from itertools import pairwise
from selectors import EpollSelector, SelectorKey

import anyio
import anyio.lowlevel
import pytest

from openfit_tokend.host import clock
from openfit_tokend.host.alarm import CALL_TIME, Alarm

MINUTE = 60.0
FAR = 1000.0
CROWD = 1000


class Sleeper(EpollSelector):
    """Sleeps in no time, and remembers how long each sleep was meant to be."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.sleeps = list[float]()

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if timeout:
            self.now += timeout
            self.sleeps.append(timeout)
        return super().select(0)


class DreamLoop(asyncio.SelectorEventLoop):
    """A loop whose clock is its sleeper's."""

    def __init__(self, sleeper: Sleeper) -> None:
        self._sleeper = sleeper
        super().__init__(sleeper)

    def time(self) -> float:
        return self._sleeper.now


def test_it_looks_at_the_clocks_once_a_minute_though_nothing_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So a moment that passed while the host slept is noticed that soon."""
    sleeper = Sleeper()
    monkeypatch.setattr(clock, "boot", lambda: sleeper.now)

    async def wait() -> None:
        alarm, due = Alarm(), anyio.Event()
        alarm.at(FAR, due.set)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(alarm.run)
            await due.wait()
            tasks.cancel_scope.cancel()

    anyio.run(wait, backend_options={"loop_factory": lambda: DreamLoop(sleeper)})

    assert sleeper.now == pytest.approx(FAR)
    assert max(sleeper.sleeps) == pytest.approx(MINUTE)


def test_a_crowd_that_is_due_at_once_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper, taken, passes = Sleeper(), 0.0, list[int]()

    def boot() -> float:
        return sleeper.now + taken

    monkeypatch.setattr(clock, "boot", boot)

    async def wait() -> None:
        alarm, begun, due, called = Alarm(), anyio.Event(), anyio.Event(), 0

        def call() -> None:
            nonlocal called, taken
            called, taken = called + 1, taken + CALL_TIME / 10
            begun.set()

        async def watch() -> None:
            while True:
                passes.append(called)
                await anyio.lowlevel.checkpoint()

        for _ in range(CROWD):
            alarm.at(1.0, call)
        alarm.at(1.0, due.set)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(alarm.run)
            await begun.wait()
            tasks.start_soon(watch)
            await due.wait()
            tasks.cancel_scope.cancel()

    anyio.run(wait, backend_options={"loop_factory": lambda: DreamLoop(sleeper)})

    steps = [after - before for before, after in pairwise(passes)]
    assert max(steps) <= 12
    assert sum(steps) >= CROWD - 24
