"""Requests that a newer one took the place of: those that weren't sent end at once."""

import gc
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from anyio import CancelScope, get_running_tasks, to_thread

from daemons import Wire, profile, request
from emulators import PASSWORD, running_emulator
from inside import async_await_that, daemon_inside

PAIRS = 300
BATCH = 20
PROFILES = 30
"""The daemon's own tasks have fewer scopes."""
SOME = 40
"""Tasks of a daemon at work, and some more; far fewer than one for each pair."""


async def test_logins_and_logouts_in_turn_leave_none_waiting_for_the_password_but_the_newest(
    tmp_path: Path,
) -> None:
    slow = {"password_file": "", "password_command": '["sleep", "1000"]'}
    with running_emulator() as emulator, ExitStack() as stack:
        async with daemon_inside(tmp_path, profile(emulator.url, **slow)) as daemon:
            wire = stack.enter_context(Wire(daemon.socket))
            pair = request(1, "login", wait=0) + request(2, "logout")
            for _ in range(PAIRS // BATCH):
                wire.send(pair * BATCH)
                await to_thread.run_sync(wire.answers, 2 * BATCH)

            assert len(get_running_tasks()) < SOME
            assert emulator.state().login_requests == 0
        assert "internal_fault" not in daemon.log()


async def test_nothing_of_a_request_is_left_once_it_has_ended(tmp_path: Path) -> None:
    def scopes() -> int:
        gc.collect()
        return sum(isinstance(each, CancelScope) for each in gc.get_objects())

    names, others = [f"p{each}" for each in range(PROFILES)], scopes()
    with running_emulator(users=dict.fromkeys(names, PASSWORD)) as emulator, ExitStack() as stack:
        profiles = [profile(emulator.url, each, username=f'"{each}"') for each in names]
        async with daemon_inside(tmp_path, *profiles) as daemon:
            wire = stack.enter_context(Wire(daemon.socket))
            wire.send(b"".join(request(1, "get_token", profile=each) for each in names))
            await to_thread.run_sync(wire.answers, PROFILES)

            await async_await_that(
                lambda: scopes() < others + PROFILES, lambda: f"{scopes() - others} are left"
            )


async def test_a_login_that_ends_before_its_turn_makes_room_for_the_next(tmp_path: Path) -> None:
    slow = {"client_secret_command": '["sleep", "1000"]'}
    with running_emulator() as emulator, ExitStack() as stack:
        async with daemon_inside(tmp_path, profile(emulator.url, **slow)) as daemon:
            (keeper,) = daemon.daemon.profiles.keepers.values()
            await async_await_that(lambda: bool(keeper.ledger.under_way))
            (first,) = keeper.ledger.under_way

            wire = stack.enter_context(Wire(daemon.socket))
            wire.send(request(1, "logout") + request(2, "login", wait=0))
            await to_thread.run_sync(wire.answers, 2)

            await async_await_that(
                lambda: [each == first for each in keeper.ledger.under_way] == [False],
                lambda: str(keeper.ledger),
            )


async def test_a_login_is_void_once_its_password_was_rejected_before_its_turn(
    tmp_path: Path,
) -> None:
    """It was let go, since the password was proven, and only waits for its client's secret."""
    await_it = f"until [ -e {tmp_path}/secret ]; do sleep 0.05; done; echo secret"
    slow = {"client_secret_command": f'["sh", "-c", "{await_it}"]'}
    with running_emulator() as emulator, ExitStack() as stack:
        tables = profile(emulator.url, "first"), profile(emulator.url, "second", **slow)
        async with daemon_inside(tmp_path, *tables) as daemon:
            second = daemon.daemon.profiles.keepers["second"]
            await async_await_that(lambda: bool(second.ledger.proven and second.ledger.under_way))
            emulator.set_password("another")
            wire = stack.enter_context(Wire(daemon.socket))
            refused = await to_thread.run_sync(partial(wire.call, "login", profile="first"))
            assert refused.code == "LOGIN_REJECTED"

            (tmp_path / "secret").touch()

            await async_await_that(lambda: not second.ledger.under_way)
            await async_await_that(
                lambda: "profile=second code=LOGIN_REJECTED" in daemon.log(), daemon.log
            )
            assert emulator.state().login_requests == 2
