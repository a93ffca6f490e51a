"""What one turn of the server may do, where others are handled before or behind."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from anyio import to_thread

from daemons import Wire, profile
from emulators import running_emulator
from inside import DaemonInside, daemon_inside
from openfit_tokend.serving.calls import Calls
from openfit_tokend.serving.server import ACCEPT_TIME, Server

NIGHT = 8 * 3600.0
CROWD = 20


@pytest.fixture
def at_hello(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], None]]]:
    """What is done, from now on, while a `hello` is answered."""
    done: list[Callable[[], None]] = []
    call = Calls.call

    def calling(self: Calls, caller: object, method: str, params: object) -> object:
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


async def test_a_crowd_that_connects_and_asks_for_much_holds_up_nobody_for_long(
    tmp_path: Path, at_hello: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, in_a_turn = list[str](), list[int]()
    turn = Server.turn

    def turning(self: Server, timeout: float | None) -> None:
        before = len(asked)
        turn(self, timeout)
        in_a_turn.append(len(asked) - before)

    with running_emulator() as emulator, ExitStack() as stack:
        async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
            at_hello.append(lambda: asked.append("hello"))
            at_hello.append(lambda: daemon.clocks.suspend(2 * ACCEPT_TIME))  # it is costly
            monkeypatch.setattr(Server, "turn", turning)
            crowd = [stack.enter_context(Wire(daemon.socket)) for _ in range(CROWD)]
            for each in crowd:
                each.ask("hello")

            for each in crowd:
                assert (await to_thread.run_sync(each.answer)).code is None

            assert len(asked) == CROWD
            assert max(in_a_turn) == 1
