"""The ledger on a disk that doesn't take it: no rejected password is sent again by itself."""

import json
from collections.abc import Callable

import pytest

from daemons import RunningDaemon, await_that, prepared_daemon, profile
from disks import broken, slow
from emulators import PASSWORD, RunningEmulator
from failures import outcome
from openfit_token.errors import LoggedOut, LoginRejected, Unavailable

pytestmark = [pytest.mark.system, pytest.mark.slow]

Ending = Callable[[RunningDaemon], object]


@pytest.mark.parametrize("end", [RunningDaemon.kill, RunningDaemon.stop])
def test_a_wrong_password_is_not_sent_by_itself_before_it_is_written_and_then_once(
    end: Ending, emulator: RunningEmulator
) -> None:
    with (
        prepared_daemon(profile(emulator.url), password="wrong") as daemon,
        broken("a file for the directory", daemon.state) as mend,
    ):
        for _ in range(2):
            daemon.start()
            daemon.await_state("down")
            error = outcome(lambda: daemon.call("get_token", wait=0))
            assert isinstance(error, Unavailable)
            assert "the ledger of rejected logins can't be written" in str(error)
            end(daemon)
        assert emulator.state().token_requests == 0

        mend()
        for _ in range(2):
            daemon.start()
            daemon.await_state("locked")
            end(daemon)

        assert emulator.state().token_requests == 1


def test_what_an_operators_login_came_to_is_written_once_the_disk_is_mended(
    emulator: RunningEmulator,
) -> None:
    with (
        prepared_daemon(profile(emulator.url), password="wrong") as daemon,
        broken("a directory for the file", daemon.state) as mend,
    ):
        daemon.start()
        daemon.await_state("down")
        assert isinstance(outcome(lambda: daemon.call("login")), LoginRejected)
        mend()

        daemon.await_log("level=info", "state_written")
        daemon.kill()
        daemon.start()

        daemon.await_state("locked")
        assert emulator.state().token_requests == 1


def test_what_could_not_be_written_is_written_when_the_daemon_stops(
    emulator: RunningEmulator,
) -> None:
    with (
        prepared_daemon(profile(emulator.url), password="wrong") as daemon,
        broken("a directory for the file", daemon.state) as mend,
    ):
        daemon.start()
        daemon.await_state("down")
        assert isinstance(outcome(lambda: daemon.call("login")), LoginRejected)
        mend()
        assert daemon.stop() == 0

        assert json.loads(daemon.state.read_bytes())["accounts"][0]["clear"] == 1


def test_a_profile_is_logged_in_as_soon_as_the_ledger_can_be_written(
    emulator: RunningEmulator,
) -> None:
    with (
        prepared_daemon(profile(emulator.url)) as daemon,
        broken("a file for the directory", daemon.state) as mend,
    ):
        daemon.start()
        daemon.await_state("down")
        mend()

        daemon.await_state("fresh")


def test_a_session_goes_on_while_nothing_can_be_written(emulator: RunningEmulator) -> None:
    with prepared_daemon(profile(emulator.url)) as daemon:
        daemon.is_paced = False
        daemon.start()
        token = daemon.call("get_token")
        with broken("a directory for the file", daemon.state):
            emulator.fault("invalid_grant@refresh:*")

            renewed = daemon.call("refuse", id=token["id"])

        assert renewed["id"] != token["id"]
        assert emulator.state().login_requests == 2


def test_who_is_told_of_a_rejection_may_rely_on_it_being_written(
    emulator: RunningEmulator,
) -> None:
    with prepared_daemon(profile(emulator.url), password="wrong") as daemon:
        emulator.fault("slow=1@login:1")
        daemon.start()
        await_that(lambda: emulator.state().login_requests == 1)
        with slow(daemon.state) as let_go_on, daemon.wire() as wire:
            wire.ask("get_token", wait=60)
            await_that(
                lambda: daemon.profile_status()["logins_left"] == 2
            )  # it is known, not written
            assert wire.is_silent()
            let_go_on()
            assert wire.answer().code == "LOGIN_REJECTED"
        daemon.kill()
        daemon.start()

        daemon.await_state("locked")
        assert emulator.state().token_requests == 1


def test_a_logout_holds_over_a_change_of_the_scope(emulator: RunningEmulator) -> None:
    with prepared_daemon(profile(emulator.url)) as daemon:
        daemon.start()
        daemon.call("get_token")
        daemon.call("logout")
        daemon.stop()
        daemon.write_config(profile(emulator.url, scope='"OpenFitApi"'))

        daemon.start()

        assert isinstance(outcome(lambda: daemon.call("get_token")), LoggedOut)


def test_one_account_has_one_ledger_however_it_is_spelled(emulator: RunningEmulator) -> None:
    other = emulator.url.replace("127.0.0.1", "localhost")
    assert other != emulator.url
    with prepared_daemon(
        profile(emulator.url, "one", username='"Caf\u00e9@example.org"'),
        profile(other, "other", username='"CAFE\u0301@example.org"'),
        password=PASSWORD,
    ) as daemon:
        daemon.start()
        daemon.await_state("locked", name="one")
        daemon.await_state("locked", name="other")

        assert emulator.state().token_requests == 1
