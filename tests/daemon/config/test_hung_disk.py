"""A disk that hangs: who needs it is told so, and nobody else notices."""

import grp
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from daemons import profile
from emulators import PASSWORD, RunningEmulator
from hung_disk import HungDisk, hung_disk
from inside import async_await_that, daemon_inside
from openfit_token import AsyncTokenClient
from openfit_token.errors import ConfigRejected, SecretUnavailable
from openfit_tokend.config import config_file, passwords
from openfit_tokend.host import blocking_calls

MORE = 48
"""Profiles whose passwords are on the dead disk: more than a pool has threads."""


@pytest.fixture
def disk() -> Iterator[HungDisk]:
    """A disk with all files that are called `dead`."""
    with hung_disk("dead") as disk:
        yield disk


async def test_passwords_on_a_dead_disk_hold_up_no_other_profile_and_cost_a_thread_each(
    tmp_path: Path, emulator: RunningEmulator, disk: HungDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "TIME_LIMIT", 5.0)
    monkeypatch.setattr(blocking_calls, "PATIENCE", 0.2)
    (tmp_path / "dead").write_text(PASSWORD)
    (tmp_path / "dead").chmod(0o600)
    dead = profile(emulator.url, "dead", password_file=f'"{tmp_path}/dead"')
    more = [
        profile(
            f"http://127.0.0.{number // 12 + 2}", f"dead{number}", password_file=f'"{number}/dead"'
        )
        for number in range(MORE)
    ]
    async with daemon_inside(tmp_path, dead, *more, profile(emulator.url)) as daemon:
        async with daemon.client("main") as tokens:
            assert (await tokens.get_token(wait=4.0)).expires_in > 0
        async with daemon.client("dead") as tokens:
            monkeypatch.setattr(passwords, "TIME_LIMIT", 0.1)
            for _ in range(6):
                with pytest.raises(SecretUnavailable, match="no answer within 0 s"):
                    await tokens.login()
            assert disk.asked <= MORE + 1

            monkeypatch.setattr(passwords, "TIME_LIMIT", 5.0)
            disk.mend()
            await tokens.login()


async def test_a_reload_with_a_dead_include_is_refused_in_time_and_done_once_it_is_mended(
    tmp_path: Path, emulator: RunningEmulator, disk: HungDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_file, "LOAD_TIME", 0.3)
    config = tmp_path / "config.toml"
    async with (
        daemon_inside(tmp_path, profile(emulator.url)) as daemon,
        daemon.client("main") as tokens,
    ):
        config.write_text(f'include = "dead"\n{config.read_text()}')
        (tmp_path / "dead").write_text(profile(emulator.url, "other", password_file=""))
        for _ in range(3):
            with pytest.raises(ConfigRejected, match="no answer within 0 s from its disk"):
                await tokens.reload()
        assert disk.asked == 1
        assert (await tokens.get_token()).expires_in > 0

        disk.mend()
        monkeypatch.undo()
        await tokens.reload()
        assert await daemon.profile_status("other")


async def test_a_file_that_hangs_holds_up_no_reload_that_doesnt_name_it(
    tmp_path: Path, emulator: RunningEmulator, disk: HungDisk
) -> None:
    refused = list[ConfigRejected]()

    async def reload(tokens: AsyncTokenClient) -> None:
        with pytest.raises(ConfigRejected) as caught:
            await tokens.reload()
        refused.append(caught.value)

    async with (
        daemon_inside(tmp_path, profile(emulator.url)) as daemon,
        daemon.client("main") as tokens,
        anyio.create_task_group() as tasks,
    ):
        config = tmp_path / "config.toml"
        before = config.read_text()
        config.write_text(f'include = "dead"\n{before}')
        (tmp_path / "dead").write_text(profile(emulator.url, "other", password_file=""))
        tasks.start_soon(reload, tokens)
        await async_await_that(lambda: disk.asked == 1)

        config.write_text(before)
        with anyio.fail_after(config_file.LOAD_TIME / 3):
            await tokens.reload()

        assert [error.hint for error in refused] == [
            f"{tmp_path}/dead hangs: fix that, or take it out, then reload again"
        ]


async def test_a_reload_whose_groups_have_no_answer_is_refused_in_time(
    tmp_path: Path, emulator: RunningEmulator, disk: HungDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def far_away(name: str) -> grp.struct_group:  # as NSS does it, with LDAP
        disk.open()
        raise KeyError(name)

    async with (
        daemon_inside(tmp_path, profile(emulator.url)) as daemon,
        daemon.client("main") as tokens,
    ):
        monkeypatch.setattr(config_file, "LOAD_TIME", 0.3)
        monkeypatch.setattr(grp, "getgrnam", far_away)
        config = tmp_path / "config.toml"
        config.write_text(f'admin_groups = ["far-away"]\n{config.read_text()}')

        with pytest.raises(ConfigRejected, match="or to a question for a user or group"):
            await tokens.reload()
