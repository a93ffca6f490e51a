"""The kit for authors of scripts: its fixtures, its handles, and the plugin in a run of theirs."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from daemons import needs_root_to_look
from openfit_token import TokenClient, get_token
from openfit_token.errors import DaemonUnreachable, LoginRejected, TimedOut, Unavailable
from openfit_token.testing import Daemon, Emulator, NotStarted
from processes import Completed, run

pytestmark = pytest.mark.system


def pytest_run(directory: Path, test: str) -> Completed:
    """Run pytest over a file, as its author would."""
    (directory / "test_theirs.py").write_text(dedent(test))
    # As installed: the plugin comes by its entry point.
    options = ["-q", "--strict-markers", "-W", "error", "-p", "no:cacheprovider"]
    return run(sys.executable, "-m", "pytest", *options, directory=directory)


# In a run of pytest: what it is good for is in test_recipes.py


def test_a_run_that_uses_nothing_of_it_starts_nothing(tmp_path: Path) -> None:
    theirs = """\
        import sys

        def test_nothing():
            loaded = {"httpx", "requests", "http.client", "openfit_tokend"}
            assert loaded & set(sys.modules) == set()
        """
    done = pytest_run(tmp_path, theirs)

    assert done.returncode == 0, done.stdout


def test_an_emulator_that_does_not_start_says_why() -> None:
    with pytest.raises(NotStarted, match="'rest' is not a whole number"):
        Emulator(options=["--port=rest"]).start()


def test_a_daemon_that_does_not_start_says_why(emulator: Emulator) -> None:
    daemon = Daemon(emulator, refresh_befor="5m")

    with pytest.raises(NotStarted, match="refresh_befor"), daemon:
        pass
    assert not daemon.directory.exists()


# The fixtures


def test_get_token_finds_the_daemon(openfit_emulator: Emulator, openfit_daemon: Daemon) -> None:
    token = get_token()

    assert (token.profile, token.api_url) == ("main", openfit_emulator.api_url)
    assert openfit_emulator.logins == 1
    assert os.environ["OPENFIT_TOKEN_SOCKET"] == str(openfit_daemon.socket)


@pytest.mark.openfit(token_lifetime=100, faults=["error-503@1", "invalid_client@2"])
def test_the_mark_says_how_long_tokens_live_and_what_the_first_logins_meet(
    openfit_daemon: Daemon,
) -> None:
    with pytest.raises(Exception, match="client_id"):
        get_token()
    assert "invalid_client" in openfit_daemon.log()


def test_a_profile_can_be_set_up_otherwise(emulator: Emulator) -> None:
    emulator.set_password("pässwört 😀", "another@example.org")
    command = ["printf", "%s", "pässwört 😀"]
    with (
        Daemon(
            emulator,
            username="another@example.org",
            password_file=None,
            password_command=command,
            refresh_before=60,
        ) as daemon,
        daemon.client() as client,
    ):
        assert client.get_token().profile == "main"


# The emulator


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def client(emulator: Emulator) -> Iterator[TokenClient]:
    with Daemon(emulator) as daemon, daemon.client() as client:
        yield client


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENFIT_TOKEN_SOCKET", raising=False)


def test_an_outage_ends_with_its_block_and_takes_no_other_fault_along(
    emulator: Emulator, client: TokenClient
) -> None:
    old, before = client.get_token(), emulator.state()
    emulator.fault("slow=0@refresh:999")
    with emulator.outage():
        with pytest.raises(Unavailable):
            client.refresh(wait=0.5)
        assert client.get_token() == old  # it lives on
        assert emulator.refreshes == before.refreshes

    assert client.refresh() != old
    assert list(emulator.state().faults) == ["slow=0@refresh:999"]


def test_an_outage_ends_though_its_block_has_cleared_the_faults(emulator: Emulator) -> None:
    with emulator.outage():
        emulator.clear_faults()
        emulator.fault("slow=0@refresh:999")

    assert list(emulator.state().faults) == ["slow=0@refresh:999"]


def test_an_outage_within_an_outage_does_not_end_it(emulator: Emulator) -> None:
    emulator.clear_faults()
    with emulator.outage():
        with emulator.outage():
            pass
        assert list(emulator.state().faults) == ["error-503@*"]


def test_a_revoked_refresh_token_takes_a_login(emulator: Emulator, client: TokenClient) -> None:
    client.login()
    before = emulator.state()
    emulator.revoke_refresh_tokens()
    client.refresh()
    after = emulator.state()

    assert after.logins == before.logins + 1
    assert after.refreshes_rejected == before.refreshes_rejected + 1


def test_the_next_request_can_be_rejected(emulator: Emulator, client: TokenClient) -> None:
    client.login()
    before = emulator.state()
    emulator.reject_next()
    client.refresh()
    after = emulator.state()

    assert (after.logins, after.refreshes) == (before.logins + 1, before.refreshes)


def test_a_password_can_be_changed(emulator: Emulator, client: TokenClient) -> None:
    before = emulator.state()
    emulator.set_password("another")
    with pytest.raises(LoginRejected):
        client.login()
    assert emulator.state().logins_rejected == before.logins_rejected + 1

    emulator.set_password(emulator.password)
    client.login()


def test_an_account_can_be_locked_and_unlocked(emulator: Emulator, client: TokenClient) -> None:
    emulator.lock()
    with pytest.raises(LoginRejected):
        client.login()
    emulator.unlock()

    client.login()


def test_tokens_can_be_given_another_lifetime(emulator: Emulator, client: TokenClient) -> None:
    emulator.set_token_lifetime(50)
    assert client.refresh().expires_in < 50

    emulator.set_token_lifetime(3600)
    assert client.refresh().expires_in > 50


def test_a_fault_that_is_none_is_told(emulator: Emulator) -> None:
    with pytest.raises(ValueError, match="did you mean lost-answer"):
        emulator.fault("lost-anser")
    emulator.clear_faults()


# The daemon


def test_what_runs_is_not_started_a_second_time(
    openfit_emulator: Emulator, openfit_daemon: Daemon
) -> None:
    for program in (openfit_emulator, openfit_daemon):
        with pytest.raises(RuntimeError, match="it runs already"):
            program.start()

    assert openfit_daemon.log().count("event=started") == 1
    assert openfit_emulator.logins == 1


def test_a_client_outlives_a_restart_and_a_crash(openfit_daemon: Daemon) -> None:
    with openfit_daemon.client() as client:
        client.get_token()
        openfit_daemon.restart()
        client.get_token()
        openfit_daemon.kill()
        with pytest.raises(DaemonUnreachable):
            get_token()
        openfit_daemon.start()
        client.get_token()

    assert openfit_daemon.log().count("event=started") == 3


def test_the_pause_between_tokens_can_be_the_real_one(emulator: Emulator) -> None:
    with Daemon(emulator, pause=10) as daemon, daemon.client() as client:
        token = client.get_token()
        before = emulator.refreshes
        with pytest.raises(TimedOut):
            client.refuse(token, wait=0.5)
        assert emulator.refreshes == before


STRANGERS = {"HTTP_PROXY", "OPENFIT_TOKEND_CONFIG", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY"}


@pytest.fixture
def _strange_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STRANGERS:
        monkeypatch.setenv(name, "/nowhere")


@pytest.mark.usefixtures("_strange_environment")
def test_the_environment_leads_it_nowhere_else_and_nothing_is_left_of_it() -> None:
    with Emulator() as emulator, Daemon(emulator) as daemon, daemon.client() as client:
        assert client.get_token().api_url == emulator.api_url
        process = Path(f"/proc/{client.status()['pid']}")
        assert process.exists()

    assert not process.exists()
    assert not daemon.directory.exists()


@needs_root_to_look
@pytest.mark.usefixtures("_strange_environment")
def test_what_would_lead_it_elsewhere_is_not_in_its_environment() -> None:
    with Emulator() as emulator, Daemon(emulator) as daemon, daemon.client() as client:
        content = Path(f"/proc/{client.status()['pid']}/environ").read_text()

    assert {line.partition("=")[0] for line in content.split("\0")} & STRANGERS == set()
