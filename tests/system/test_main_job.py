"""The main job, as a user meets it: the installed commands as processes, against the emulator."""

import http.client
import json
import signal
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

import forked
from daemons import (
    RunningDaemon,
    await_that,
    prepared_daemon,
    profile,
    running_daemon,
)
from emulators import USERNAME, RunningEmulator, running_emulator
from openfit_emulator.identity import Rules
from openfit_token import Token, TokenClient
from openfit_tokend.host import clock

pytestmark = pytest.mark.system

CLIENTS = 20
SECONDS = 9.0
"""How long they ask: two tokens of 8 seconds."""
PROMPT = 0.5
"""Seconds from asking for a token to the API's answer, on a machine that is well. Slower ones tell
nothing: a token has a second at least when it is handed out, and may end on the way."""


@pytest.fixture(autouse=True)
def _as_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: object) -> bool:
        return False

    monkeypatch.setattr(forked, "is_possible", never)


@pytest.fixture
def daemon(emulator: RunningEmulator) -> Iterator[RunningDaemon]:
    with running_daemon(profile(emulator.url)) as daemon:
        daemon.await_state("fresh")
        yield daemon


# The job


class Script:
    """A client that asks for a token and uses it, all the time."""

    def __init__(self, daemon: RunningDaemon, emulator: RunningEmulator) -> None:
        self.prompt = 0
        """Calls of the API that were answered soon."""
        self.refused: list[Token] = []
        """Tokens that the API refused soon after they were given."""
        self.ids: set[str] = set()
        self._daemon = daemon
        self._api = http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=20)

    def work(self, until: float) -> None:
        with self._daemon.client() as client:
            while clock.boot() < until:
                for _ in range(20):
                    self.ids.add(client.get_token().id)
                self._use(client)
        self._api.close()

    def _use(self, client: TokenClient) -> None:
        asked = clock.boot()
        token = client.get_token()
        self._api.request("GET", "/api/me", headers={"Authorization": token.authorization})
        answer = self._api.getresponse()
        answer.read()
        if clock.boot() - asked < PROMPT:
            self.prompt += 1
            if answer.status != 200:
                self.refused.append(token)


@pytest.mark.slow
def test_twenty_clients_share_one_login_and_never_meet_a_dead_token() -> None:
    with (
        running_emulator(rules=Rules(token_lifetime=8)) as emulator,
        running_daemon(profile(emulator.url)) as daemon,
    ):
        scripts = [Script(daemon, emulator) for _ in range(CLIENTS)]
        until = clock.boot() + SECONDS
        threads = [threading.Thread(target=each.work, args=(until,)) for each in scripts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        told, counters = emulator.state(), daemon.profile_status()["counters"]

    assert [script.refused for script in scripts] == [[]] * CLIENTS
    assert min(script.prompt for script in scripts) > 5
    assert (told.logins, told.logins_rejected, told.refreshes_rejected) == (1, 0, 0)
    assert told.max_concurrent == {USERNAME: 1}
    # Due from 6 s less a tenth of the margin after the last, and soon after that.
    sent = [request.at for request in told.log]
    assert len(sent) == 2
    assert 5.7 <= sent[1] - sent[0] < 8
    assert len({each for script in scripts for each in script.ids}) == len(sent)
    assert (counters["failures"], counters["uncertain"]) == (0, 0)
    assert counters["served"] > CLIENTS * 100


# What a user does


def test_get_prints_the_token(daemon: RunningDaemon) -> None:
    token = daemon.call("get_token")["access_token"]

    for words in (["get"], []):
        found = daemon.run("openfit-token", *words)
        assert (found.returncode, found.stdout, found.stderr) == (0, f"{token}\n", "")
    header = daemon.run("openfit-token", "get", "--format", "header").stdout
    assert header == f"Authorization: Bearer {token}\n"


def test_status_of_a_daemon_that_is_well_exits_with_0(daemon: RunningDaemon) -> None:
    text, fields = (daemon.run("openfit-token", "status", *more) for more in ([], ["--json"]))

    assert (text.returncode, fields.returncode) == (0, 0)
    assert "main     custom       fresh" in text.stdout
    assert json.loads(fields.stdout)["v"] == 1


def test_logout_revokes_and_holds_until_login(
    daemon: RunningDaemon, emulator: RunningEmulator
) -> None:
    out = daemon.run("openfit-token", "logout")
    refused = daemon.run("openfit-token", "get")
    status = daemon.run("openfit-token", "status")

    assert out.returncode == 0
    assert refused.returncode == 77
    assert "logged this profile out" in refused.stderr
    assert status.returncode == 77
    assert "logged_out" in status.stdout
    await_that(lambda: emulator.state().revocations == 1)
    assert emulator.state().users[USERNAME].sessions == 0

    back = daemon.run("openfit-token", "login")

    assert (back.returncode, back.stderr) == (0, "")
    assert daemon.run("openfit-token", "get").returncode == 0


# What can be wrong


def test_no_daemon_is_named_with_exit_69() -> None:
    with prepared_daemon("") as daemon:
        for command in (
            ["openfit-token"],
            ["openfit-token", "status"],
            ["openfit-tokend", "reload"],
        ):
            found = daemon.run(*command)
            assert found.returncode == 69
            assert "no daemon" in found.stderr


# The end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_removes_the_socket_and_exits_with_0(
    number: signal.Signals, daemon: RunningDaemon
) -> None:
    daemon.signal(number)

    assert daemon.wait() == 0
    assert list(daemon.socket.parent.iterdir()) == []
    assert "Traceback" not in daemon.log()
    assert "event=stopped" in daemon.log().splitlines()[-1]
