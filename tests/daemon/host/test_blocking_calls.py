"""Blocking calls: what hangs holds up nobody else."""

import threading
from collections.abc import Iterator
from functools import partial

import anyio
import pytest

from openfit_tokend.host import blocking_calls
from openfit_tokend.host.blocking_calls import BlockingCalls

pytestmark = pytest.mark.anyio

LONG = 30.0


class Hung:
    """A thing that hangs until it is mended."""

    def __init__(self) -> None:
        self.mended = threading.Event()
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        self.mended.wait()
        return "mended"


@pytest.fixture
def hung() -> Iterator[Hung]:
    thing = Hung()
    yield thing
    thing.mended.set()


@pytest.fixture
def calls() -> BlockingCalls:
    return BlockingCalls("test", at_once=2)


async def given_up(calls: BlockingCalls, key: str, thing: Hung) -> None:
    with pytest.raises(TimeoutError):
        await calls.run(key, thing, 0.01)


async def test_the_result_comes_from_another_thread(calls: BlockingCalls) -> None:
    assert await calls.run("a", threading.get_ident, LONG) != threading.get_ident()


async def test_what_the_call_raises_is_raised(calls: BlockingCalls) -> None:
    with pytest.raises(FileNotFoundError):
        await calls.run("a", partial(open, "/nowhere"), LONG)
    assert await calls.run("a", lambda: 1, LONG) == 1


async def test_a_hanging_key_has_one_thread_however_often_it_is_asked_for(
    calls: BlockingCalls, hung: Hung
) -> None:
    for _ in range(20):
        await given_up(calls, "dead", hung)

    assert hung.asked == 1
    assert calls.threads == 1


async def test_any_number_of_hanging_keys_leaves_the_others_their_turn(
    calls: BlockingCalls, hung: Hung, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking_calls, "PATIENCE", 0.01)
    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(calls.run, f"dead {number}", hung, LONG)
        await anyio.wait_all_tasks_blocked()
        assert await calls.run("well", lambda: "answer", LONG) == "answer"
        hung.mended.set()


async def test_a_key_that_is_mended_is_asked_again(calls: BlockingCalls, hung: Hung) -> None:
    await given_up(calls, "dead", hung)
    hung.mended.set()

    assert await calls.run("dead", lambda: "new", LONG) == "new"


async def test_calls_of_one_key_run_one_after_the_other(calls: BlockingCalls) -> None:
    running, most = 0, 0

    def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        threading.Event().wait(0.001)
        running -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(calls.run, "a", work, LONG)

    assert most == 1


async def test_who_shares_gets_the_result_of_the_call_under_way(
    calls: BlockingCalls, hung: Hung
) -> None:
    results: list[str] = []

    async def ask() -> None:
        results.append(await calls.share("host", hung, LONG))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        hung.mended.set()

    assert results == ["mended"] * 5
    assert hung.asked == 1


async def test_who_shares_with_one_that_was_cancelled_before_it_began_asks_itself(
    hung: Hung,
) -> None:
    calls = BlockingCalls("test", at_once=1)
    results: list[str] = []

    async def ask() -> None:
        results.append(await calls.share("host", lambda: "answer", LONG))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calls.run, "dead", hung, LONG)
        await anyio.wait_all_tasks_blocked()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as first:
                first.start_soon(calls.share, "host", lambda: "never", LONG)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        hung.mended.set()

    assert results == ["answer"]


async def test_one_more_than_may_hang_fails_at_once_with_the_reason(
    calls: BlockingCalls, hung: Hung, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking_calls, "MAX_THREADS", 3)
    for number in range(3):
        await given_up(calls, f"dead {number}", hung)

    with pytest.raises(OSError, match="3 earlier calls hang"):
        await calls.run("another", lambda: 1, LONG)


async def test_a_system_without_threads_is_an_error_of_the_system(
    calls: BlockingCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    with pytest.raises(OSError, match="no more threads"):
        await calls.run("a", lambda: 1, LONG)
    assert calls.threads == 0


def test_a_call_that_ends_after_the_loop_is_forgotten() -> None:
    hung = Hung()

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            await BlockingCalls("test").run("dead", hung, 0.01)

    anyio.run(ask)
    hung.mended.set()
    for thread in threading.enumerate():
        if thread.name == "test":
            thread.join(LONG)
