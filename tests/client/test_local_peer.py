"""Who is at the other end of a connection within this machine: real connections, and other users."""

import os
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import sleep

import anyio
import pytest

from daemons import needs_root
from listeners import listener_of
from namespaces import inside_namespace, needs_namespaces
from openfit_token._shared import local_peer
from openfit_token._shared.local_peer import Stranger, in_threads, judging
from openfit_token._shared.origin import ANYBODY
from others import EVE
from processes import environment

pytestmark = pytest.mark.system

JUDGE = """
import socket, sys, time
from openfit_token._shared.local_peer import Stranger, judging
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as own:
    try:
        for pause in judging(own, {65534}):
            time.sleep(pause)
        print("believed")
    except Stranger as stranger:
        print(stranger.message, stranger.hint, sep="\\n")
"""


def judge(own: socket.socket, user: str | int | None = None) -> None:
    for pause in judging(own, {user}):
        sleep(pause)


@contextmanager
def connected(host: str, port: int) -> Generator[socket.socket]:
    with socket.create_connection((host, port), 10) as own:
        yield own


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@needs_root
@pytest.mark.parametrize(
    ("listens", "connects"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")]
)
def test_the_kernel_says_who_accepted_whatever_the_family(listens: str, connects: str) -> None:
    with listener_of(EVE, host=listens) as eve, connected(connects, eve.port) as own:
        judge(own, EVE)
        with pytest.raises(Stranger) as raised:
            judge(own)

    assert raised.value.message == f"{EVE} (uid {EVE}) is at the other end, not root"
    assert f"loopback_user = {EVE};" in str(raised.value.hint)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_ones_own_server_is_believed(host: str) -> None:
    with listener_of(os.geteuid(), host=host) as mine, connected(host, mine.port) as own:
        judge(own)


def test_a_connection_that_nobody_has_accepted_is_nobodys(listener: socket.socket) -> None:
    """Some kernels show it as root's, others as the listener's."""
    with connected(*listener.getsockname()) as own:
        looks = judging(own, ())
        assert [next(looks) for _ in range(8)][:4] == [0.0, 0.001, 0.002, 0.004]
        accepted, _ = listener.accept()
        with accepted:
            assert list(looks) == []


async def test_a_table_that_takes_long_to_read_holds_up_no_other_task(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any user may open so many connections that it does."""
    table, others_ran = tmp_path / "tcp", Event()
    os.mkfifo(table)

    def deliver() -> bool:
        with table.open("wb") as slow:  # once it is being read
            ran = others_ran.wait(10)
            slow.write(Path("/proc/self/net/tcp6").read_bytes())
            return ran

    with connected(*listener.getsockname()) as own, ThreadPoolExecutor(1) as disk:
        listener.accept()[0].close()
        monkeypatch.setattr(local_peer, "_TCP", str(table))
        delivered = disk.submit(deliver)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_threads, judging(own, ()))
            await anyio.wait_all_tasks_blocked()
            others_ran.set()
            tasks.cancel_scope.cancel()

        assert delivered.result()


def test_an_end_that_was_closed_receives_nothing_and_needs_no_judgement(
    listener: socket.socket,
) -> None:
    with connected(*listener.getsockname()) as own:
        listener.accept()[0].close()

        judge(own)


def test_an_end_that_the_kernel_does_not_show_is_not_believed() -> None:
    class Translated(socket.socket):
        """As behind a rule of the packet filter that leads connections elsewhere."""

        def getpeername(self) -> tuple[str, int]:
            return "127.0.0.9", 9

    with Translated() as own, pytest.raises(Stranger, match="the kernel doesn't show") as raised:
        judge(own)

    assert f'loopback_user = "{ANYBODY}"' in str(raised.value.hint)
    with Translated() as own:
        judge(own, ANYBODY)


@needs_namespaces
def test_a_number_that_may_be_anybody_is_not_believed_even_if_it_is_named() -> None:
    with listener_of(EVE) as eve:
        inside = inside_namespace("0 0 1000,65534 65534 1", uid=0)
        command = [*inside, sys.executable, "-c", JUDGE, str(eve.port)]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment()
        )

    assert "uid 65534 is at the other end, and in this user namespace" in done.stdout
