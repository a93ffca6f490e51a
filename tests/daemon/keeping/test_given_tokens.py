"""A refresh token that was obtained elsewhere, and given by an operator: it starts the daemon."""

import httpx
import pytest

from daemons import await_that, profile
from emulators import RunningEmulator, login, running_emulator
from failures import outcome, told
from openfit_emulator.identity import Rules
from openfit_token.errors import ClientRejected, LoginRejected, SecretUnavailable
from service_managers import ManagedDaemon, managed_daemon

pytestmark = pytest.mark.system


def obtained(emulator: RunningEmulator) -> str:
    """Return a refresh token as a person gets one: with a program of their own."""
    with httpx.Client(base_url=emulator.url, trust_env=False) as web:
        return login(web)["refresh_token"]


def give(daemon: ManagedDaemon, token: str, *options: str) -> str:
    done = daemon.run("openfit-token", "login", "--refresh-token", *options, stdin=f"{token}\n")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_starts_a_profile_without_a_password_and_goes_on_over_a_restart_but_no_reboot(
    emulator: RunningEmulator,
) -> None:
    with managed_daemon(profile(emulator.url, password_file="")) as (manager, daemon):
        daemon.is_paced = False
        daemon.start()
        assert isinstance(outcome(lambda: daemon.call("get_token")), SecretUnavailable)

        said = give(daemon, obtained(emulator))
        token = daemon.call("get_token")
        assert "whoever else has it must forget it" in said
        assert told(list(emulator.state().log)) == [("login", "issued"), ("refresh", "issued")]
        assert daemon.profile_status()["counters"]["logins"] == 0
        assert daemon.profile_status()["session_began_at"] is not None

        daemon.restart()
        assert daemon.call("get_token")["id"] == token["id"]
        daemon.call("refuse", id=token["id"])
        assert emulator.state().refreshes == 2

        daemon.kill()
        manager.empty()
        daemon.start()
        lost = outcome(lambda: daemon.call("get_token"))
        assert isinstance(lost, SecretUnavailable)
        assert "again after each reboot" in str(lost.hint)


def test_one_that_is_rejected_says_so_and_the_session_goes_on(emulator: RunningEmulator) -> None:
    with managed_daemon(profile(emulator.url)) as (_, daemon):
        daemon.is_paced = False
        daemon.start()
        before = daemon.call("get_token")
        status = daemon.profile_status()

        for _ in range(4):  # each is sent, and none is counted
            rejected = outcome(lambda: daemon.call("login", refresh_token="never-issued"))
            assert isinstance(rejected, LoginRejected)
            assert rejected.message == (
                "the token server rejected the refresh token that was given: invalid_grant"
            )

        after = daemon.profile_status()
        for same in ("refresh_at", "session_began_at"):
            assert after[same] == pytest.approx(status[same], abs=0.1)
        for same in ("state", "health", "id", "logins_left", "last_error"):
            assert after[same] == status[same]
        assert daemon.call("refuse", id=before["id"])["id"] != before["id"]
        assert emulator.state().logins_rejected == 0
        assert daemon.await_log("event=login_failed", "code=LOGIN_REJECTED")


def test_one_that_is_accepted_replaces_the_session_and_revokes_nothing() -> None:
    rules = Rules(token_lifetime=3600)
    with (
        running_emulator(rules=rules) as emulator,
        managed_daemon(profile(emulator.url)) as (_, daemon),
    ):
        daemon.start()
        old = daemon.call("get_token")
        began = daemon.profile_status()["session_began_at"]

        new = daemon.call("login", refresh_token=obtained(emulator))

        assert new["id"] != old["id"]
        assert daemon.profile_status()["session_began_at"] > began
        assert emulator.state().revocations == 0


@pytest.mark.parametrize("word", ["unauthorized_client", "unsupported_grant_type"])
def test_where_the_server_takes_no_passwords_any_more_it_is_the_way_on_and_nothing_is_counted(
    word: str, emulator: RunningEmulator
) -> None:
    with managed_daemon(profile(emulator.url)) as (_, daemon):
        daemon.start()
        before = daemon.call("get_token")
        token, left = obtained(emulator), daemon.profile_status()["logins_left"]
        emulator.fault(f"{word}@login:1-")

        gone = outcome(lambda: daemon.call("login"))
        assert isinstance(gone, ClientRejected)
        assert gone.message == (
            f"the token server no longer lets this client log in with a password: {word}"
        )
        assert str(gone.hint).endswith("openfit-token login --refresh-token --profile main")
        status = daemon.profile_status()
        assert (status["health"]["condition"], status["logins_left"]) == ("degraded", left)

        give(daemon, token)
        assert daemon.call("get_token")["id"] != before["id"]
        assert daemon.profile_status()["health"]["condition"] == "well"


def test_it_waits_for_a_request_under_way_and_is_sent_once_though_its_answer_is_lost(
    emulator: RunningEmulator,
) -> None:
    with managed_daemon(profile(emulator.url)) as (_, daemon):
        daemon.is_paced = False
        daemon.start()
        daemon.call("get_token")
        token = obtained(emulator)
        emulator.fault("lost-answer@refresh:1")

        lost = outcome(lambda: daemon.call("login", refresh_token=token))

        assert lost is not None
        assert lost.code == "UNAVAILABLE"
        await_that(lambda: emulator.state().refresh_requests == 1, emulator.state)
        assert daemon.profile_status()["state"] == "fresh"
        daemon.call(
            "refuse", id=daemon.call("get_token")["id"]
        )  # the session's own token was never at risk
        assert told(list(emulator.state().log))[-1] == ("refresh", "issued")
