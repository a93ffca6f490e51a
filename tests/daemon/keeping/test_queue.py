from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import pytest

from openfit_tokend.host.alarm import Alarm
from openfit_tokend.keeping import queue
from openfit_tokend.keeping.queue import AT_ONCE, Queue

SERVER, OTHER = "https://one.example", "https://other.example"

Body = Callable[[Queue], Awaitable[None]]


async def with_queue(body: Body) -> None:
    alarm = Alarm()
    async with anyio.create_task_group() as services:
        services.start_soon(alarm.run)
        async with anyio.create_task_group() as tasks:
            await body(Queue(tasks, alarm))
            tasks.cancel_scope.cancel()
        services.cancel_scope.cancel()


async def begins_behind_those_that_hang(server: str) -> None:
    """Start as many as may run at SERVER, which hang, and one at this server; await that it begins."""
    begun = anyio.Event()

    async def begin() -> None:
        begun.set()

    async def body(logins: Queue) -> None:
        for _ in range(AT_ONCE):
            logins.start(SERVER, anyio.sleep_forever)
        logins.start(server, begin)

        with anyio.fail_after(5):
            await begun.wait()

    await with_queue(body)


async def test_logins_begin_in_their_order_and_only_so_many_at_once() -> None:
    begun, ends = list[int](), [anyio.Event() for _ in range(AT_ONCE + 2)]

    async def login(number: int) -> None:
        begun.append(number)
        await ends[number].wait()

    async def body(logins: Queue) -> None:
        for number in range(len(ends)):
            logins.start(SERVER, partial(login, number))
        await anyio.wait_all_tasks_blocked()
        assert begun == list(range(AT_ONCE))

        ends[3].set()
        await anyio.wait_all_tasks_blocked()

        assert begun == list(range(AT_ONCE + 1))

    await with_queue(body)


async def test_each_server_has_a_line_of_its_own() -> None:
    await begins_behind_those_that_hang(OTHER)


async def test_logins_that_hang_hold_up_the_next_one_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue, "HOLD", 0.05)

    await begins_behind_those_that_hang(SERVER)


async def test_one_that_hung_and_ended_makes_room_once(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = list[int](), anyio.Event()
    monkeypatch.setattr(queue, "HOLD", 0.0)

    async def body(logins: Queue) -> None:
        for _ in range(AT_ONCE):
            logins.start(SERVER, ended.wait)
        await anyio.wait_all_tasks_blocked()
        ended.set()
        await anyio.wait_all_tasks_blocked()
        monkeypatch.setattr(queue, "HOLD", 60.0)

        async def login(number: int) -> None:
            begun.append(number)
            await anyio.sleep_forever()

        for number in range(2 * AT_ONCE):
            logins.start(SERVER, partial(login, number))
        await anyio.wait_all_tasks_blocked()

        assert len(begun) == AT_ONCE

    await with_queue(body)
