"""Clocks that jump: the wall clock changes nothing, and a suspend is noticed."""

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from daemons import PATIENCE, Fields, needs_root, profile
from emulators import client, running_emulator
from failures import api
from inside import DaemonInside, async_await_that, daemon_inside
from openfit_emulator.identity import Rules
from openfit_token.errors import TimedOut
from openfit_tokend.host import alarm

DAY = 86_400.0
NIGHT = 8 * 3600.0
TIMES = ("obtained_at", "expires_at", "refresh_at", "session_began_at", "session_ends_at")


async def times(daemon: DaemonInside) -> dict[str, float]:
    status: Fields = await daemon.profile_status()
    return {name: status[name] for name in TIMES}


@pytest.mark.parametrize("step", [DAY, -DAY])
async def test_a_step_of_the_wall_clock_changes_the_shown_times_and_nothing_else(
    tmp_path: Path, step: float
) -> None:
    with running_emulator() as emulator:
        async with (
            daemon_inside(tmp_path, profile(emulator.url)) as daemon,
            daemon.client() as tokens,
        ):
            before, shown = await tokens.get_token(), await times(daemon)

            daemon.clocks.set_wall(step)
            daemon.clocks.suspend(0.1)  # for so long a prepared answer may show what was

            after = await tokens.get_token()
            assert after.id == before.id
            assert after.expires_in == pytest.approx(before.expires_in, abs=20)
            assert after.expires_at == pytest.approx(before.expires_at + step, abs=1)
            moved = {name: at + step for name, at in shown.items()}
            assert await times(daemon) == pytest.approx(moved, abs=1)
        assert emulator.state().token_requests == 1


@pytest.mark.parametrize("step", [DAY, -DAY])
async def test_a_step_of_the_wall_clock_neither_delays_nor_hastens_a_refresh(
    tmp_path: Path, step: float
) -> None:
    with running_emulator(rules=Rules(token_lifetime=2)) as emulator:
        async with (
            daemon_inside(tmp_path, profile(emulator.url)) as daemon,
            daemon.client() as tokens,
        ):
            await tokens.get_token()
            daemon.clocks.set_wall(step)

            await async_await_that(lambda: emulator.state().refreshes >= 1)

        login, refresh = emulator.state().log[:2]
        assert refresh.at - login.at == pytest.approx(1.5, abs=0.75)


async def test_a_call_right_after_a_suspend_gets_a_new_token_that_was_asked_for_once(
    tmp_path: Path,
) -> None:
    with running_emulator() as emulator, client(emulator) as web:
        async with (
            daemon_inside(tmp_path, profile(emulator.url)) as daemon,
            daemon.client() as tokens,
        ):
            before = await tokens.get_token()

            daemon.clocks.suspend(NIGHT)

            after = await tokens.get_token()
            assert api(web, before) == 401
            assert api(web, after) == 200
            assert (await tokens.get_token()).id == after.id
        assert [each.grant for each in emulator.state().log] == ["login", "refresh"]


async def test_a_call_after_a_short_suspend_gets_the_live_token_and_has_a_due_one_replaced(
    tmp_path: Path,
) -> None:
    with running_emulator() as emulator:
        async with (
            daemon_inside(tmp_path, profile(emulator.url)) as daemon,
            daemon.client() as tokens,
        ):
            before = await tokens.get_token()

            daemon.clocks.suspend(3500)  # of 3,600, and it was due after 3,300

            assert (await tokens.get_token()).id == before.id
            await async_await_that(lambda: emulator.state().refreshes == 1)
            await async_await_that(lambda: "token_replaced" in daemon.log())
            assert (await tokens.get_token()).id != before.id
        assert emulator.state().token_requests == 2


async def test_the_watch_notices_a_suspend_without_any_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm, "WATCH", 0.2)
    with running_emulator() as emulator:
        async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
            async with daemon.client() as tokens:
                before = await tokens.get_token()

            daemon.clocks.suspend(NIGHT)

            await async_await_that(lambda: emulator.state().refreshes == 1)
            async with daemon.client() as tokens:
                assert (await tokens.get_token()).id != before.id
        assert emulator.state().token_requests == 2


async def test_a_wait_ends_by_the_clock_that_counts_a_suspend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm, "WATCH", 0.2)
    with running_emulator("hang=20@login:*") as emulator:
        async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
            keeper = daemon.daemon.profiles.keepers["main"]

            async def suspend_once_it_waits() -> None:
                await async_await_that(lambda: keeper.waiting == 1)
                daemon.clocks.suspend(NIGHT)

            async with anyio.create_task_group() as tasks, daemon.client() as tokens:
                tasks.start_soon(suspend_once_it_waits)
                with anyio.fail_after(PATIENCE), pytest.raises(TimedOut):
                    await tokens.get_token(wait=300)
            emulator.stop()


@needs_root
def test_moments_count_the_time_that_the_host_was_suspended() -> None:
    """A host can't be suspended here, but a time namespace tells the two clocks apart as it would."""
    code = (
        "import time; from openfit_tokend.host import clock;"
        "print(clock.boot() - time.clock_gettime(time.CLOCK_MONOTONIC))"
    )
    apart = ("unshare", "--time", "--boottime", "100000", "--monotonic", "0")

    done = subprocess.run(
        [*apart, sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    if "unshare" in done.stderr:
        pytest.skip(f"no time namespace: {done.stderr.strip()}")

    assert float(done.stdout) > 90_000
