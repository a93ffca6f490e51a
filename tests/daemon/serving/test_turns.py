"""What one turn of the server may do, where others are handled before or behind."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from anyio import to_thread

from daemons import NOBODY, Wire, needs_root, profile, request
from emulators import running_emulator
from inside import DaemonInside, async_await_that, daemon_inside
from openfit_tokend.serving.calls import Calls
from openfit_tokend.serving.connection import Connection
from openfit_tokend.serving.rpc import Rpc
from openfit_tokend.serving.server import CROWD as WATCHED
from openfit_tokend.serving.server import MAX_EVENTS, PASS_TIME, Server
from users import being

NIGHT = 8 * 3600.0
CROWD = 20
AHEAD = 10
"""Requests that a client sends at once."""
AT_ONCE = 2
"""Costly requests in one turn at most: of who was ready or connected, and of who was queued."""
MANY = 300
"""Connections of one user."""
FEW = 2 * AT_ONCE  # it is read in the second pass, since one takes sixteen events
"""Costly requests that are answered before a cheap one which came behind them all."""


@pytest.fixture
def calls() -> list[str]:
    """The methods that were called, but for what went the short way."""
    return []


@pytest.fixture
def at_hello(
    monkeypatch: pytest.MonkeyPatch, calls: list[str]
) -> Iterator[list[Callable[[], None]]]:
    """What is done, from now on, while a `hello` is answered."""
    done: list[Callable[[], None]] = []
    call = Calls.call

    def calling(self: Calls, caller: object, method: str, params: object) -> object:
        calls.append(method)
        if method == "hello":
            for each in done:
                each()
        return call(self, caller, method, params)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(Calls, "call", calling)
    yield done
    done.clear()


async def served(daemon: DaemonInside, stack: ExitStack) -> tuple[Wire, str]:
    """Return a client that is answered the short way, and the id of its token."""
    wire = stack.enter_context(Wire(daemon.socket))
    await to_thread.run_sync(wire.call, "get_token")
    answer = await to_thread.run_sync(wire.call, "get_token")
    assert answer.result is not None
    return wire, str(answer.result["id"])


async def test_who_is_handled_behind_one_during_which_the_host_slept_gets_no_dead_token(
    tmp_path: Path, at_hello: list[Callable[[], None]]
) -> None:
    with running_emulator() as emulator, ExitStack() as stack:
        async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
            other = stack.enter_context(Wire(daemon.socket))
            wire, dead = await served(daemon, stack)
            at_hello.append(lambda: daemon.clocks.suspend(NIGHT))
            other.ask("hello")
            wire.ask("get_token")  # and so it is ready in the same turn

            answer = await to_thread.run_sync(wire.answer)

            assert answer.result is not None
            assert answer.result["id"] != dead
            assert answer.result["expires_in"] > 0


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch, at_hello: list[Callable[[], None]]) -> list[int]:
    """How many times `hello` was answered in each turn."""
    asked, in_a_turn = list[None](), list[int]()
    turn = Server.turn

    def turning(self: Server, timeout: float | None) -> None:
        before = len(asked)
        turn(self, timeout)
        in_a_turn.append(len(asked) - before)

    at_hello.append(lambda: asked.append(None))
    monkeypatch.setattr(Server, "turn", turning)
    return in_a_turn


def make_costly(daemon: DaemonInside, at_hello: list[Callable[[], None]]) -> None:
    """Let `hello` take longer than a pass may, and than what a busy machine adds to others."""
    at_hello.append(lambda: daemon.clocks.suspend(200 * PASS_TIME))


async def test_a_crowd_that_connects_and_asks_for_much_holds_up_nobody_for_long(
    tmp_path: Path, at_hello: list[Callable[[], None]], turns: list[int]
) -> None:
    with running_emulator() as emulator, ExitStack() as stack:
        async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
            make_costly(daemon, at_hello)
            turns.clear()
            crowd = [stack.enter_context(Wire(daemon.socket)) for _ in range(CROWD)]
            for each in crowd:
                each.ask("hello")

            for each in crowd:
                assert (await to_thread.run_sync(each.answer)).code is None

            assert sum(turns) == CROWD
            assert max(turns) <= AT_ONCE


async def test_nor_does_one_that_is_connected_and_asks_again_and_again_ahead(
    tmp_path: Path, at_hello: list[Callable[[], None]], turns: list[int]
) -> None:
    with running_emulator() as emulator, ExitStack() as stack:
        async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
            crowd = [stack.enter_context(Wire(daemon.socket)) for _ in range(CROWD)]
            for each in crowd:
                await to_thread.run_sync(each.call, "hello")
            make_costly(daemon, at_hello)
            turns.clear()
            for each in crowd:
                each.send(request(1, "hello") * AHEAD)

            for each in crowd:
                answers = [await to_thread.run_sync(each.answer) for _ in range(AHEAD)]
                assert {answer.code for answer in answers} == {None}

            assert sum(turns) == CROWD * AHEAD
            assert max(turns) <= AT_ONCE


async def test_who_asks_for_little_overtakes_a_crowd_that_asks_for_much(
    tmp_path: Path, at_hello: list[Callable[[], None]], calls: list[str]
) -> None:
    with running_emulator() as emulator, ExitStack() as stack:
        async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
            wire, _ = await served(daemon, stack)
            crowd = [stack.enter_context(Wire(daemon.socket)) for _ in range(CROWD)]
            make_costly(daemon, at_hello)
            for each in crowd:
                await to_thread.run_sync(each.call, "hello")
            calls.clear()
            for each in crowd:
                each.ask("hello")
            wire.ask("get_token", min_ttl=1)  # not the short way

            for each in (wire, *crowd):
                assert (await to_thread.run_sync(each.answer)).code is None
            assert len(calls) == CROWD + 1
            assert calls.index("get_token") <= FEW


async def test_who_left_while_its_requests_were_queued_is_closed_and_what_it_ordered_is_done(
    tmp_path: Path, at_hello: list[Callable[[], None]]
) -> None:
    with running_emulator() as emulator, ExitStack() as stack:
        async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
            crowd = [stack.enter_context(Wire(daemon.socket)) for _ in range(CROWD)]
            for each in crowd:
                await to_thread.run_sync(each.call, "hello")
            make_costly(daemon, at_hello)
            for each in crowd[:-1]:
                each.ask("hello")
            crowd[-1].ask("logout")
            for each in crowd:
                each.close()

            await async_await_that(lambda: "method=logout" in daemon.log())
            await async_await_that(lambda: daemon.daemon.users.connections == 0)


@needs_root
async def test_who_asks_behind_another_users_crowd_is_answered_among_its_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of requests that go the short way, each of which takes microseconds."""
    asked = list[int]()
    prepared = Rpc.prepared

    def noting(self: Rpc, data: bytes, caller: Connection) -> bytes | None:
        asked.append(data[2])
        return prepared(self, data, caller)

    with running_emulator() as emulator, ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="oft-")))
        async with daemon_inside(directory, profile(emulator.url)) as daemon:
            ours, _ = await served(daemon, stack)
            for path, mode in (
                (directory, 0o711),
                (directory / "run", 0o711),
                (daemon.socket, 0o666),
            ):
                path.chmod(mode)
            crowd = list[Wire]()
            for _ in range(MANY):
                with being(NOBODY):
                    crowd.append(stack.enter_context(Wire(daemon.socket)))
                await to_thread.run_sync(crowd[-1].call, "get_token")
            monkeypatch.setattr(Rpc, "prepared", noting)
            for each in crowd:
                each.send(request(1, "get_token"))
            ours.send(request(2, "get_token"))

            await to_thread.run_sync(ours.answer)
            for each in crowd:
                assert (await to_thread.run_sync(each.answer)).code is None

            assert asked.count(1) == MANY
            assert asked.index(2) <= WATCHED + MAX_EVENTS
