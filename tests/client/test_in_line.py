"""A client waits in the kernel's line while more connect than the daemon accepts."""

import signal
import socket
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType

import anyio
import pytest
from anyio import to_thread

from openfit_token import AsyncTokenClient
from openfit_token._client.paths import connect
from openfit_token._shared.protocol import encode_result


@contextmanager
def full(path: Path) -> Generator[socket.socket]:
    """Listen at a path where one more connection has to wait until one is accepted."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(0)
        first = stack.enter_context(socket.socket(socket.AF_UNIX))
        first.connect(str(path))
        yield listener


def test_a_client_waits_in_line_and_not_by_trying_again(tmp_path: Path) -> None:
    with full(tmp_path / "s") as listener, ThreadPoolExecutor(1) as other:
        waiting = other.submit(connect, str(tmp_path / "s"))
        assert not waiting.done()
        listener.accept()[0].close()

        with closing(waiting.result(20)) as channel:
            assert channel.getpeername() == str(tmp_path / "s")
            assert channel.gettimeout() == 0


def nothing(_number: int, _frame: FrameType | None) -> None:
    """Do nothing, when a signal comes."""


def test_a_signal_in_the_meantime_is_not_taken_for_a_connection(tmp_path: Path) -> None:
    """Python does: its `connect` then returns, and nobody is at the other end."""
    before = signal.signal(signal.SIGALRM, nothing)
    try:
        with full(tmp_path / "s"):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(BlockingIOError):
                connect(str(tmp_path / "s"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def test_while_an_async_client_waits_there_its_program_goes_on(tmp_path: Path) -> None:
    went_on = threading.Event()

    def serve(listener: socket.socket) -> None:
        went_on.wait(20)
        listener.accept()[0].close()  # the one that was there before
        with listener.accept()[0] as channel:
            channel.recv(65536)
            channel.sendall(encode_result(1, {"pid": 7}))

    with full(tmp_path / "s") as listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, serve, listener)
            tasks.start_soon(to_thread.run_sync, went_on.set)

            async with AsyncTokenClient(socket=str(tmp_path / "s")) as client:
                assert await client.hello() == {"pid": 7}
