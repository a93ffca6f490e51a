"""What will go wrong is told in time, and what somebody mended is found: with time made short."""

from pathlib import Path

import pytest

from daemons import profile
from emulators import PASSWORD, running_emulator
from inside import async_await_that, daemon_inside
from openfit_emulator.identity import Rules
from openfit_token._client.health import judge
from openfit_tokend.core import schedule
from openfit_tokend.host import clock
from openfit_tokend.keeping import stored_secret

SHORT = Rules(token_lifetime=3)


async def test_a_session_that_ends_is_told_by_status_and_by_command_until_that_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "WORN", 0.0)  # the login is planned for when the token is due
    told = tmp_path / "told"
    command = f'["/bin/sh", "-c", "echo $OPENFIT_EVENT $OPENFIT_MESSAGE >> {told}"]'
    with running_emulator(rules=SHORT) as emulator:
        table = profile(emulator.url, refresh_before='"2s"', notify_command=command)
        async with daemon_inside(tmp_path, table) as daemon, daemon.client() as tokens:
            await tokens.get_token()
            emulator.set_password("a new one")

            await async_await_that(lambda: told.exists() and bool(told.read_text()), daemon.log)
            status = await tokens.status()
            main = await daemon.profile_status()

            assert told.read_text().startswith("ending the session ends in 29 d 23 h: ")
            assert (main["health"]["condition"], judge(status)) == ("ending", 75)
            assert main["degraded"]["code"] == "LOGIN_REJECTED"
            assert (await tokens.get_token()).degraded is not None
            assert emulator.state().logins_rejected == 1

            (tmp_path / "password").write_text("a new one")
            await tokens.reload()

            keeper = daemon.daemon.profiles.keepers["main"]
            await async_await_that(
                lambda: (
                    emulator.state().logins == 2 and keeper.health(clock.boot()).condition == "well"
                ),
                daemon.log,
            )
            assert judge(await tokens.status()) == 0


async def test_a_right_password_that_was_stored_without_a_reload_is_found_within_the_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_secret, "AGAIN", 0.1)
    with running_emulator() as emulator:
        async with daemon_inside(tmp_path, profile(emulator.url), password="wrong") as daemon:
            keeper = daemon.daemon.profiles.keepers["main"]
            await async_await_that(lambda: keeper.health(clock.boot()).condition == "locked")
            rejected = emulator.state().token_requests

            (tmp_path / "password").write_text(PASSWORD)

            await async_await_that(lambda: keeper.health(clock.boot()).condition == "well")
            assert emulator.state().token_requests == rejected + 1
