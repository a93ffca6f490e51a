"""What a daemon of a fleet tells and takes while its store can't be reached, and between restarts."""

import re
from pathlib import Path

import pytest

from daemons import RunningDaemon, await_that, prepared_daemon, profile, running_daemon
from emulators import running_emulator
from openfit_token.errors import Unavailable
from service_managers import managed_daemon

pytestmark = pytest.mark.system

FLEET = """
[fleet]
store = "etcd+http://127.0.0.1:9"
key_file = "fleet.key"
member = "here"
"""
NOWHERE = profile("http://127.0.0.1:9")


def write_key(directory: Path, key: str = "ab" * 32) -> None:
    path = directory / "fleet.key"
    path.touch(mode=0o600)
    path.write_text(key)


def store(daemon: RunningDaemon) -> str:
    """Return what a status says of the store."""
    problem = daemon.call("status")["fleet"]["store"]
    return "" if problem is None else str(problem["message"])


def test_the_status_has_nothing_of_a_fleet_where_there_is_none() -> None:
    with running_daemon(NOWHERE) as daemon:
        assert "fleet" not in daemon.call("status")
        assert "fleet" not in daemon.profile_status()


def test_a_store_that_cant_be_reached_is_told_to_whoever_asks() -> None:
    with prepared_daemon(FLEET, NOWHERE) as daemon:
        write_key(daemon.directory)
        daemon.start()

        await_that(lambda: "can't be reached" in store(daemon), daemon.log)
        await_that(lambda: daemon.profile_status()["last_error"] is not None, daemon.log)
        with pytest.raises(Unavailable, match="the fleet's store can't be reached"):
            daemon.call("get_token", wait=0)
        assert daemon.call("status")["fleet"]["member"] == "here"
        assert daemon.profile_status()["fleet"] is None
        assert daemon.log().count("event=fleet_not_reached") == 1


def test_keys_are_read_again_at_a_reload() -> None:
    with prepared_daemon(FLEET, NOWHERE) as daemon:
        write_key(daemon.directory, "no key")
        daemon.start()
        await_that(lambda: "something else than keys" in store(daemon), daemon.log)

        write_key(daemon.directory)
        daemon.call("reload")
        await_that(lambda: "something else than keys" not in store(daemon), daemon.log)
        assert store(daemon)  # there still is no store

        write_key(daemon.directory, "no key")
        daemon.call("reload")
        daemon.await_log("fleet_keys_kept")
        assert "something else than keys" not in store(daemon)


def test_another_store_takes_a_restart() -> None:
    with prepared_daemon(FLEET, NOWHERE) as daemon:
        write_key(daemon.directory)
        daemon.start()

        daemon.write_config(FLEET.replace(":9", ":10"), NOWHERE)
        daemon.call("reload")

        assert "fleet changed" in daemon.await_log("restart_needed")


def test_check_sends_no_login_that_the_fleet_doesnt_count() -> None:
    with running_emulator() as emulator, prepared_daemon(FLEET, profile(emulator.url)) as daemon:
        write_key(daemon.directory)
        config = str(daemon.config)

        done = daemon.run("openfit-tokend", "check", "--login", "--config", config)

        assert done.returncode == 64
        assert "[ OK ] fleet          has 1 key, not readable by others" in done.stdout
        assert "the logins of a fleet are counted in its store" in done.stdout
        assert emulator.state().token_requests == 0


def test_a_new_key_is_printed_as_the_file_takes_it() -> None:
    with prepared_daemon(NOWHERE) as daemon:
        first, second = (daemon.run("openfit-tokend", "fleet-key").stdout for _ in range(2))

    assert re.fullmatch("[0-9a-f]{64}\n", first)
    assert first != second


@pytest.mark.parametrize("joins", [True, False], ids=["joins", "leaves"])
def test_a_session_is_not_taken_into_a_fleet_nor_out_of_one(joins: bool) -> None:  # noqa: FBT001 -- a column of the table
    """Its refresh token would be used by two."""
    with running_emulator() as emulator, managed_daemon() as (manager, daemon):
        alone, together = (profile(emulator.url),), (FLEET, profile(emulator.url))
        write_key(daemon.directory)
        daemon.write_config(*(alone if joins else together))
        daemon.start()
        if joins:
            daemon.call("get_token")
        else:
            await_that(lambda: bool(manager.names), daemon.log)
        daemon.write_config(*(together if joins else alone))
        daemon.restart()

        line = daemon.await_log("stored_session_dropped")
        assert ("from before a fleet" in line) is joins
