"""What will go wrong is told while it can be kept from it, and what was mended is used by itself."""

import pytest

from daemons import RunningDaemon, await_that, prepared_daemon, profile, running_daemon
from disks import broken
from emulators import PASSWORD, RunningEmulator
from failures import outcome
from openfit_token.errors import LoginRejected, SecretUnavailable

pytestmark = [pytest.mark.system, pytest.mark.slow]


def condition(daemon: RunningDaemon) -> str:
    return str(daemon.profile_status()["health"]["condition"])


def exits(daemon: RunningDaemon) -> list[int]:
    """Return the exit statuses of status and doctor."""
    return [daemon.run("openfit-token", word).returncode for word in ("status", "doctor")]


def test_a_stored_password_that_was_rejected_or_vanished_is_told_though_the_session_goes_on(
    emulator: RunningEmulator,
) -> None:
    with running_daemon(profile(emulator.url)) as daemon:
        daemon.call("get_token")
        config = ("--config", str(daemon.config), "--socket", str(daemon.socket))
        for text, error, told in (
            ("wrong", LoginRejected, "rejected this user name and password"),
            (None, SecretUnavailable, str(daemon.password)),
        ):
            daemon.password.unlink()
            if text is not None:
                daemon.write_password(text)
            assert isinstance(outcome(lambda: daemon.call("login")), error)
            await_that(lambda: condition(daemon) == "degraded", daemon.log)
            daemon.call("reload")  # it announces another secret, but there is none

            assert exits(daemon) == [75, error.exit_status]
            (problem,) = daemon.profile_status()["health"]["problems"]
            assert told in problem["message"]
            checked = daemon.run("openfit-tokend", "check", *config, "--network")
            assert checked.returncode == (77 if text else 78), checked.stdout

        daemon.write_password(PASSWORD)
        daemon.call("login")

        await_that(lambda: exits(daemon) == [0, 0], daemon.log)


def test_a_token_file_and_a_ledger_that_cannot_be_written_are_told_until_they_can(
    emulator: RunningEmulator,
) -> None:
    with prepared_daemon() as daemon:
        file = daemon.directory / "token"
        file.write_text("somebody else's")
        daemon.write_config(profile(emulator.url, token_file=f'"{file}"'))
        daemon.start()
        await_that(lambda: condition(daemon) == "degraded", daemon.log)
        assert exits(daemon) == [75, 75]
        assert str(file) in daemon.run("openfit-token", "status").stdout

        file.unlink()
        daemon.call("login")
        await_that(lambda: condition(daemon) == "well", daemon.log)

        with broken("a directory for the file", daemon.state) as mend:
            daemon.call("login")
            await_that(lambda: condition(daemon) == "degraded", daemon.log)
            assert exits(daemon) == [75, 75]
            assert "the ledger" in daemon.run("openfit-token", "status").stdout
            mend()
            await_that(lambda: exits(daemon) == [0, 0], daemon.log)


def test_a_password_that_an_operator_mistyped_keeps_the_stored_one_from_nothing(
    emulator: RunningEmulator,
) -> None:
    with running_daemon(profile(emulator.url), paced=False) as daemon:
        token = daemon.call("get_token")
        assert isinstance(outcome(lambda: daemon.call("login", password="mistyped")), LoginRejected)
        emulator.revoke_refresh()

        renewed = daemon.call("refuse", id=token["id"], wait=20)

        assert renewed["id"] != token["id"]
        assert exits(daemon) == [0, 0]


def test_a_refresh_never_prints_the_token_of_a_moment_ago_as_a_new_one(
    emulator: RunningEmulator,
) -> None:
    with running_daemon(profile(emulator.url)) as daemon:
        old = daemon.call("get_token")["access_token"]

        soon = daemon.run("openfit-token", "refresh", "--wait", "2s")
        assert (soon.returncode, soon.stdout) == (75, "")
        assert "isn't replaced again so soon" in soon.stderr

        waited = daemon.run("openfit-token", "refresh")
        assert waited.returncode == 0
        assert waited.stdout.strip() not in {"", old}
        assert emulator.state().refreshes == 1


def test_a_password_that_an_operator_gave_is_used_for_that_login_alone(
    emulator: RunningEmulator,
) -> None:
    with running_daemon(profile(emulator.url), password="wrong", paced=False) as daemon:
        daemon.await_state("locked")
        token = daemon.call("login", password=PASSWORD)
        emulator.revoke_refresh()

        refused = outcome(lambda: daemon.call("refuse", id=token["id"], wait=15))

        assert isinstance(refused, LoginRejected)
        assert (emulator.state().logins, emulator.state().login_requests) == (1, 2)
