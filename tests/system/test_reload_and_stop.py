"""Reload and stop: what is going on goes on, what is refused is said, what waits is told."""

import re
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

import pytest

from daemons import RunningDaemon, await_that, profile, running_daemon
from emulators import PASSWORD, RunningEmulator, running_emulator
from failures import outcome
from openfit_emulator.identity import Rules
from openfit_token.errors import ConfigRejected, LoggedOut, NoSuchProfile, SecretUnavailable
from openfit_tokend.host import clock
from processes import run

pytestmark = [pytest.mark.system, pytest.mark.slow]

HANGUPS = 200
NOWHERE = profile("http://127.0.0.1:9")
CONFIG_REJECTED = 78
A_MOMENT = 4.0
"""Seconds: many times the half second in which the last answers are sent."""


@contextmanager
def one_daemon(
    *faults: str, names: tuple[str, ...] = ("main",), rules: Rules | None = None
) -> Generator[tuple[RunningEmulator, RunningDaemon]]:
    with (
        running_emulator(*faults, rules=rules) as emulator,
        running_daemon(*(profile(emulator.url, name) for name in names)) as daemon,
    ):
        yield emulator, daemon


def hang_up(daemon: RunningDaemon) -> None:
    """Send SIGHUP, and await that it was heeded."""
    before = daemon.log().count("event=reload")
    daemon.signal(signal.SIGHUP)
    await_that(lambda: daemon.log().count("event=reload") > before, daemon.log)


# Reload


def test_what_changed_changes_and_what_did_not_keeps_its_session_and_its_connections() -> None:
    with one_daemon(names=("kept", "moved")) as (emulator, daemon), daemon.wire() as wire:
        kept = wire.call("get_token", profile="kept").result
        moved = wire.call("get_token", profile="moved").result
        assert kept is not None
        assert moved is not None
        daemon.write_config(
            profile(emulator.url, "kept", api_url='"https://api.example.org"'),
            profile(emulator.url, "moved", scope='"OpenFitApi"'),
        )

        hang_up(daemon)

        after = wire.call("get_token", profile="kept").result
        assert after is not None
        assert (after["id"], after["api_url"]) == (kept["id"], "https://api.example.org")
        logged_in = wire.call("get_token", profile="moved").result
        assert logged_in is not None
        assert logged_in["id"] != moved["id"]
        assert logged_in["scope"] == "OpenFitApi"
        assert emulator.state().login_requests == 3
        assert emulator.state().refresh_requests == 0


def test_another_schedule_moves_the_next_refresh_and_nothing_else() -> None:
    with one_daemon() as (emulator, daemon):
        before = daemon.call("get_token")
        daemon.write_config(profile(emulator.url, refresh_before='"10m"'))

        assert daemon.run("openfit-tokend", "reload").returncode == 0

        after = daemon.call("get_token")
        assert after["id"] == before["id"]
        # 5 to 5.5 minutes before the end, and then 10 to 11:
        assert -360.1 <= after["refresh_at"] - before["refresh_at"] <= -269.9
        assert emulator.state().token_requests == 1


def test_a_command_is_given_the_variables_that_a_reload_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENFIT_TEST_SECRET", PASSWORD)
    command = """["sh", "-c", 'printf %s "$OPENFIT_TEST_SECRET"']"""
    with running_emulator() as emulator:
        without = profile(emulator.url, password_file="", password_command=command)
        named = f'{without}password_environment = ["OPENFIT_TEST_SECRET"]\n'
        with running_daemon(without) as daemon:
            error = outcome(lambda: daemon.call("get_token"))
            assert isinstance(error, SecretUnavailable)
            daemon.write_config(named)
            daemon.call("reload")

            daemon.await_state("fresh")


@pytest.mark.parametrize("rest", ["", "refresh_befor = 1\n"])
@pytest.mark.parametrize("named_by", ["option", "variable"])
def test_the_daemon_is_found_by_its_configuration_faulty_as_that_may_be(
    rest: str, named_by: str
) -> None:
    with one_daemon() as (emulator, daemon):
        daemon.write_config(f'socket = "{daemon.socket}"\n', profile(emulator.url), rest)
        option, variable = ["--config", str(daemon.config)], "/nowhere/config.toml"
        if named_by == "variable":
            option, variable = [], str(daemon.config)

        words = (sys.executable, "-m", "openfit_tokend", "reload", *option)
        variables = {"OPENFIT_TOKEN_SOCKET": "", "OPENFIT_TOKEND_CONFIG": variable}
        done = run(*words, inherited=daemon.environment | variables)

        assert done.returncode == (CONFIG_REJECTED if rest else 0), done.stderr
        assert ("refresh_befor" in done.stderr) == bool(rest), "the daemon says what is wrong"


def test_a_faulty_file_is_refused_whole_and_named_in_the_log_and_the_status() -> None:
    with one_daemon() as (emulator, daemon):
        token = daemon.call("get_token")
        daemon.write_config(
            profile(emulator.url, api_url='"https://api.example.org"'),
            profile(emulator.url, "other", refresh_befor='"5m"'),
        )

        hang_up(daemon)

        daemon.await_log("reload_refused", "level=error", f"{daemon.config}:", "refresh_befor")
        assert "refresh_befor" in daemon.call("status")["config_error"]
        command = daemon.run("openfit-tokend", "reload")
        assert command.returncode == CONFIG_REJECTED
        assert "refresh_befor" in command.stderr
        assert isinstance(outcome(lambda: daemon.call("reload")), ConfigRejected)
        after = daemon.call("get_token")
        assert (after["id"], after["api_url"]) == (token["id"], token["api_url"])
        assert isinstance(outcome(lambda: daemon.call("get_token", profile="other")), NoSuchProfile)

        daemon.write_config(profile(emulator.url))
        done = daemon.run("openfit-tokend", "reload")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert daemon.call("status")["config_error"] is None
        assert emulator.state().token_requests == 1


def test_a_file_that_is_gone_changes_nothing() -> None:
    with one_daemon() as (emulator, daemon):
        token = daemon.call("get_token")
        daemon.config.unlink()

        hang_up(daemon)

        assert str(daemon.config) in daemon.call("status")["config_error"]
        assert str(daemon.config) in daemon.run("openfit-tokend", "reload").stderr
        assert daemon.call("get_token")["id"] == token["id"]
        assert emulator.state().token_requests == 1


def test_a_socket_setting_is_said_to_need_a_restart_as_long_as_another_is_in_force() -> None:
    with running_daemon(NOWHERE) as daemon:
        for changed in ("0660", "0660", "", "0666"):
            top = f'socket_mode = "{changed}"' if changed else ""
            daemon.write_config(top, NOWHERE)
            daemon.call("reload")

        # A thread writes the log: the answer to a reload may come before its lines.
        expected = (
            ["reloaded", "restart_needed"] * 2 + ["reloaded"] + ["reloaded", "restart_needed"]
        )
        await_that(lambda: re.findall(r"event=(re\w+ed)", daemon.log()) == expected, daemon.log)


def test_many_hangups_in_a_row_do_no_harm_and_send_a_rejected_password_not_once_more() -> None:
    with (
        running_emulator() as emulator,
        running_daemon(
            'default_profile = "main"',
            profile(emulator.url),
            profile(emulator.url, "rejected", username='"nobody@example.org"'),
        ) as daemon,
        daemon.wire() as wire,
    ):
        token = daemon.call("get_token")
        daemon.await_state("locked", name="rejected")
        for _ in range(HANGUPS):
            daemon.signal(signal.SIGHUP)
            assert wire.call("get_token", wait=0).error is None
        daemon.call("reload")

        assert daemon.call("get_token")["id"] == token["id"]
        daemon.await_state("locked", name="rejected")
        assert emulator.state().token_requests == 2
        assert daemon.memory() < 60 * 1024 * 1024
        errors = [line for line in daemon.log().splitlines() if "level=error" in line]
        assert [line for line in errors if "profile=rejected code=LOGIN_REJECTED" not in line] == []


def test_a_reload_cancels_no_request_and_spends_no_refresh_token() -> None:
    with one_daemon("slow=1@refresh:1", rules=Rules(token_lifetime=2)) as (emulator, daemon):
        token = daemon.call("get_token")
        await_that(lambda: emulator.state().refresh_requests == 1)

        for _ in range(5):
            daemon.call("reload")

        await_that(lambda: daemon.call("get_token")["id"] != token["id"])
        assert emulator.state().login_requests == 1
        assert emulator.state().refreshes_rejected == 0


def test_a_password_that_an_operator_gave_for_one_server_is_sent_to_no_other() -> None:
    with (
        one_daemon("hang@refresh:1", rules=Rules(token_lifetime=2)) as (old, daemon),
        running_emulator() as new,
        daemon.wire() as operator,
    ):
        daemon.call("get_token")
        await_that(lambda: old.state().refresh_requests == 1)
        operator.ask("login", password="of the old one")  # waits for the refresh
        daemon.await_log("operator_call", "method=login")
        daemon.write_config(profile(new.url))

        daemon.call("reload")

        assert daemon.call("get_token")["api_url"] == f"{new.url}/api"
        assert (new.state().logins, new.state().logins_rejected) == (1, 0)


def test_a_session_that_nobody_waits_for_any_more_is_given_back_to_the_server_it_came_from() -> (
    None
):
    with one_daemon("slow=1@login:1") as (old, daemon), running_emulator() as new:
        await_that(lambda: old.state().login_requests == 1)
        daemon.write_config(profile(new.url))

        daemon.call("reload")

        await_that(lambda: old.state().revocations == 1, daemon.log)
        assert new.state().revocations == 0


def test_a_profile_can_be_added_removed_and_added_again() -> None:
    with one_daemon() as (emulator, daemon):
        main, other = profile(emulator.url), profile(emulator.url, "other")
        token = daemon.call("get_token", profile="main")
        for tables in ([main, other], [main], [main, other]):
            daemon.write_config(*tables)
            daemon.call("reload")
            served = daemon.call("hello")["profiles"]
            assert len(served) == len(tables)
            for name in served:
                assert daemon.call("get_token", profile=name)["profile"] == name

        assert daemon.call("get_token", profile="main")["id"] == token["id"]
        assert emulator.state().login_requests == 3
        assert emulator.state().logins == 3


def test_what_a_removed_profile_still_hears_changes_nothing_for_the_one_that_came_after() -> None:
    with one_daemon("slow=1@refresh:1", rules=Rules(token_lifetime=2)) as (emulator, daemon):
        daemon.call("get_token")
        emulator.set_lifetime(3600)
        await_that(lambda: emulator.state().refresh_requests == 1)
        daemon.write_config(profile(emulator.url, "other"))
        daemon.call("reload")
        daemon.write_config(profile(emulator.url), profile(emulator.url, "other"))
        daemon.call("reload")
        daemon.call("get_token", profile="main")
        daemon.call("logout", profile="main")

        await_that(lambda: emulator.state().refreshes == 1)  # the first one's
        daemon.await_log("token_replaced")

        daemon.stop()
        daemon.start()
        assert isinstance(outcome(lambda: daemon.call("get_token", profile="main")), LoggedOut)


# Stop


def test_a_refresh_under_way_is_finished_before_the_end() -> None:
    with one_daemon("slow=0.7@refresh:1", rules=Rules(token_lifetime=2)) as (emulator, daemon):
        daemon.call("get_token")
        await_that(lambda: emulator.state().refresh_requests == 1)
        emulator.set_lifetime(3600)

        assert daemon.stop() == 0

        assert emulator.state().refreshes == 1
        line = daemon.log().splitlines()[-2]
        assert "event=token_" in line  # replaced; or obtained, on a slow machine
        assert "expires_in=35" in line


def test_a_client_that_does_not_read_its_answers_hardly_holds_up_a_stop() -> None:
    with running_daemon(NOWHERE) as daemon, daemon.wire() as wire:
        wire.socket.settimeout(0.5)
        with suppress(TimeoutError):  # the answers fill the socket, and it isn't read any more
            while True:
                wire.ask("status")
        before = clock.boot()

        assert daemon.stop() == 0

        assert clock.boot() - before < A_MOMENT


def test_a_stop_sends_nothing_that_only_waits() -> None:
    with one_daemon("hang=1@login:1", names=("first", "second")) as (emulator, daemon):
        await_that(lambda: emulator.state().login_requests == 1)

        assert daemon.stop() == 0  # after a second, and then it would be the other one's turn

        assert emulator.state().login_requests == 1
