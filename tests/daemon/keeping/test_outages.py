"""An outage ends for callers as soon as it is over, at the cost of one attempt in a while."""

import socket
from collections.abc import Generator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Thread

import anyio
import pytest

from daemons import profile
from emulators import running_emulator
from inside import DaemonInside, async_await_that, daemon_inside
from openfit_token.errors import Unavailable
from openfit_tokend.core import schedule
from openfit_tokend.host import clock
from openfit_tokend.keeping import outages
from openfit_tokend.keeping.connecting import NotSent

PROFILES = 20


@pytest.fixture(autouse=True)
def long_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an outage have lasted long: nobody is tried again by schedule."""

    def pause(*_: object) -> float:
        return 600.0

    monkeypatch.setattr(schedule, "retry_pause", pause)


@contextmanager
def nothing_but_hanging_up() -> Generator[tuple[str, list[float]]]:
    """Run a server with which TLS fails; give its URL, and when it was connected to."""
    tries: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                tries.append(clock.boot())
                peer.close()

        thread = Thread(target=accept)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", tries
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


async def wait_for_token(daemon: DaemonInside, name: str, got: dict[str, float]) -> None:
    async with daemon.client(name) as tokens:
        try:
            await tokens.get_token(wait=20)
        except Unavailable:
            return
        got[name] = clock.boot()


async def test_a_caller_who_waits_has_a_token_within_5_s_of_the_servers_return(
    tmp_path: Path,
) -> None:
    with running_emulator() as emulator:
        emulator.stop()
        async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
            keeper = daemon.daemon.profiles.keepers["main"]
            await async_await_that(lambda: keeper.counters.failures == 1)
            got: dict[str, float] = {}
            returned = 0.0
            async with anyio.create_task_group() as callers:
                callers.start_soon(wait_for_token, daemon, "main", got)
                await anyio.sleep(1.5)
                emulator.start()
                returned = clock.boot()

            assert got["main"] - returned < 5.0
            assert (keeper.counters.failures, emulator.state().login_requests) == (1, 1)


async def test_who_does_not_wait_has_it_tried_by_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "PACE", 1.0)
    with running_emulator() as emulator:
        emulator.stop()
        async with (
            daemon_inside(tmp_path, profile(emulator.url)) as daemon,
            daemon.client() as tokens,
        ):
            keeper = daemon.daemon.profiles.keepers["main"]
            await async_await_that(lambda: keeper.counters.failures == 1)
            with pytest.raises(Unavailable) as caught:
                await tokens.get_token(wait=0)
            assert caught.value.retry_after is not None
            assert caught.value.retry_after <= outages.PACE
            emulator.start()

            await async_await_that(lambda: keeper.health(clock.boot()).ready)


async def test_all_profiles_of_a_server_that_cannot_be_reached_try_it_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "PACE", 0.2)
    read = tmp_path / "read"
    command = f'["/bin/sh", "-c", "echo x >> {read}; echo right horse"]'
    names = [f"p{number}" for number in range(PROFILES)]
    with nothing_but_hanging_up() as (url, tries):
        tables = [profile(url, name, password_file="", password_command=command) for name in names]
        async with daemon_inside(tmp_path, *tables) as daemon:
            keepers = daemon.daemon.profiles.keepers.values()
            await async_await_that(lambda: all(each.counters.failures == 1 for each in keepers))
            async with anyio.create_task_group() as callers:
                got: dict[str, float] = {}
                for name in names:
                    callers.start_soon(wait_for_token, daemon, name, got)
                await async_await_that(lambda: len(tries) >= 6, daemon.log)
                callers.cancel_scope.cancel()

            assert min(later - earlier for earlier, later in pairwise(tries)) > 0.18
            assert len(read.read_text().split()) == PROFILES


async def test_what_did_not_get_through_does_not_count_as_sent(tmp_path: Path) -> None:
    with nothing_but_hanging_up() as (url, _):
        async with daemon_inside(tmp_path, profile(url)) as daemon:
            (keeper,) = daemon.daemon.profiles.keepers.values()
            await async_await_that(lambda: keeper.counters.failures == 1, daemon.log)

            assert keeper.counters.logins == 0


async def test_one_that_gets_through_has_all_others_tried_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "PACE", 0.1)  # the logins of one account are tried one by one
    names = [f"p{number}" for number in range(PROFILES)]
    with running_emulator() as emulator:
        emulator.stop()
        tables = [profile(emulator.url, name) for name in names]
        async with daemon_inside(tmp_path, *tables) as daemon:
            keepers = daemon.daemon.profiles.keepers.values()
            await async_await_that(lambda: all(each.counters.failures == 1 for each in keepers))
            emulator.start()

            await wait_for_token(daemon, "p0", {})

            await async_await_that(lambda: all(each.health(clock.boot()).ready for each in keepers))


async def test_nobody_is_held_up_by_an_attempt_that_connected_before_the_server_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may wait for its answer for a minute."""
    monkeypatch.setattr(outages, "PACE", 0.05)
    reach = outages.Reach()

    async with reach.trial():
        reach.connected()
        reach.failed(NotSent("Connection refused", "check the network"))
        with anyio.fail_after(5):
            async with reach.trial() as failure:
                assert failure is None
