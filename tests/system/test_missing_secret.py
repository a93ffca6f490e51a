"""A secret that isn't there: said, free of cost, and used once it is there, without any help."""

import pytest

from daemons import prepared_daemon, profile, running_daemon
from emulators import PASSWORD, running_emulator
from failures import outcome
from openfit_emulator.identity import Rules
from openfit_token.errors import LoggedOut, SecretUnavailable

pytestmark = [pytest.mark.system, pytest.mark.slow]

SHORT = Rules(token_lifetime=2)


def test_a_secret_that_is_not_there_is_said_costs_nothing_and_is_used_once_it_is_there() -> None:
    with running_emulator() as emulator, prepared_daemon(profile(emulator.url)) as daemon:
        daemon.password.unlink()
        daemon.start()
        error = outcome(lambda: daemon.call("get_token"))
        assert isinstance(error, SecretUnavailable)
        assert str(daemon.password) in error.message
        assert daemon.profile_status()["state"] == "empty"
        assert emulator.state().token_requests == 0

        daemon.write_password(PASSWORD)

        daemon.await_state("fresh")
        assert daemon.profile_status()["logins_left"] == 3


def test_a_secret_that_is_not_stored_is_logged_once_and_the_hint_names_the_profile() -> None:
    hint = (
        "an operator logs in, again after each reboot: openfit-token login --ask --profile other,"
        " or --refresh-token instead of --ask"
    )
    with (
        running_emulator() as emulator,
        running_daemon(
            profile(emulator.url, notify_command=""),
            profile(emulator.url, "other", password_file=""),
        ) as daemon,
    ):
        for _ in range(3):
            error = outcome(lambda: daemon.call("login", profile="other"))
            assert isinstance(error, SecretUnavailable)
            assert error.hint == hint
        assert daemon.profile_status("other")["last_error"]["hint"] == hint
        daemon.await_log("event=login_failed")
        assert daemon.log().count("event=login_failed") == 1
        assert f'hint="{hint}"' in daemon.await_log("event=login_failed")

        daemon.call("login", profile="other", password=PASSWORD)
        daemon.call("logout", profile="other")
        error = outcome(lambda: daemon.call("get_token", profile="other"))
        assert isinstance(error, LoggedOut)
        assert error.hint == "to log it in again: openfit-token login --profile other"
        assert isinstance(outcome(lambda: daemon.call("login", profile="other")), SecretUnavailable)
        assert daemon.log().count("event=login_failed") == 2  # a token came in between
