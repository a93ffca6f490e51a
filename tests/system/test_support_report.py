"""`openfit-token doctor --report`: what a support ticket needs, and no secret, whoever asks and answers."""

import json
from collections.abc import Generator

import pytest

from daemons import NOBODY, RunningDaemon, needs_root, prepared_daemon, profile
from emulators import CLIENT_ID, SCOPE, USERNAME
from openfit_token import __version__
from openfit_token._cli import run as run_words
from openfit_tokend.keeping.token_requests import MOST_REMEMBERED
from raw_server import RawServer, raw_server, response, sending
from users import being

pytestmark = pytest.mark.system

DATE = "Wed, 02 Dec 2026 08:35:04 GMT"
ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PASSWORD = "d9428888-122b-11e1-b85c-61cd3cbb3210"
REFRESH = "1234567890ABCDEF" * 4
IN_ARGUMENT = "hunter2-in-an-argument"
SECRETS = (PASSWORD, REFRESH, IN_ARGUMENT, "access-1")
GRANT = json.dumps({"access_token": "access-1", "refresh_token": REFRESH, "expires_in": 3600})
GRANTED = response(
    "200 OK", GRANT.encode(), f"Date: {DATE}", f"Traceparent: {TRACE}", f"X-Ms-Request-Id: {ID}"
)
ECHOED = response(
    "200 OK",
    GRANT.encode(),
    f"Date: {DATE}",
    f"Traceparent: 00-{REFRESH[:32]}-{'0' * 16}-01",
    f"X-Ms-Request-Id: {PASSWORD.upper()}",
)
MADE_UP = response(
    "400 Bad Request",
    b'{"error": "invalid_grant"}',
    f"Date: {PASSWORD}",
    f"Traceparent: {TRACE}\x1b[2J",
    f"X-Ms-Request-Id: {ID * 100}",
)
"""What a server says of a request that isn't an id or a date."""


@pytest.fixture(scope="module")
def server() -> Generator[RawServer]:
    with raw_server(sending(GRANTED)) as server:
        yield server


@pytest.fixture(scope="module")
def daemon(server: RawServer) -> Generator[RunningDaemon]:
    """A daemon that everybody may ask; its users each have a budget of their own."""
    with (
        raw_server(sending(ECHOED)) as echoing,
        raw_server(sending(MADE_UP)) as inventive,
        raw_server(sending(b"")) as silent,
        prepared_daemon() as daemon,
    ):
        daemon.directory.chmod(0o711)
        daemon.password.write_text(PASSWORD)
        command = f'["/bin/echo", "{IN_ARGUMENT}"]'
        daemon.write_config(
            'socket_mode = "0666"',
            profile(server.url, "main"),
            profile(echoing.url, "echoed"),
            profile(inventive.url, "made-up"),
            profile(silent.url, "lost", password_file="", password_command=command),
        )
        daemon.start()
        for name in ("main", "echoed"):
            daemon.await_state("fresh", name=name)
        for name in ("made-up", "lost"):
            daemon.await_state("locked", "down", name=name)
        yield daemon


@pytest.fixture
def report(daemon: RunningDaemon, capsys: pytest.CaptureFixture[str]) -> "Reporting":
    return Reporting(daemon, capsys)


class Reporting:
    """Makes reports."""

    def __init__(self, daemon: RunningDaemon, capsys: pytest.CaptureFixture[str]) -> None:
        self._daemon = daemon
        self._capsys = capsys

    def __call__(self, name: str) -> list[str]:
        """Return what a report says of a profile; it has no secret in it, whatever comes of it."""
        words = ["doctor", "--report", "--profile", name, "--socket", str(self._daemon.socket)]
        run_words(words)
        printed = self._capsys.readouterr().out
        assert [secret for secret in SECRETS if secret in printed] == []
        assert printed.replace("\n", "").isprintable()
        return printed.partition("\n\n")[2].splitlines()


def sent(lines: list[str]) -> list[str]:
    """Return what was said of the requests, without their times."""
    return [line.split(" ", 4)[4] for line in lines if line.startswith("  sent: ")]


def test_it_has_the_versions_the_configuration_and_the_last_requests_with_the_servers_ids(
    report: Reporting, server: RawServer
) -> None:
    first, client, daemon, profile, configured, *rest = report("main")

    assert first.startswith("Report of 20")
    assert client.startswith(f"client: openfit-token {__version__}, Python 3.")
    assert daemon.startswith(f"daemon: openfit-tokend {__version__}, started 20")
    assert profile == (
        f"profile main: environment custom, id_server {server.url}, api_url {server.url}/api,"
        f" state fresh, username {USERNAME}"
    )
    assert configured == (
        f"  configured: client_id {CLIENT_ID}, scope {SCOPE}, password password_file,"
        " refresh_before 300.0, refresh_token_lifetime 2592000.0"
    )
    assert sent(rest) == [
        f"login: 200, a token; date {DATE}, traceparent {TRACE}, x-ms-request-id {ID}"
    ]


def test_what_has_the_form_of_an_id_and_a_piece_of_a_secret_in_it_is_left_out(
    report: Reporting,
) -> None:
    assert sent(report("echoed")) == [f"login: 200, a token; date {DATE}"]


def test_what_hasnt_the_form_of_an_id_is_left_out(report: Reporting) -> None:
    rejected = "login: 400, the token server rejected user name or password: invalid_grant"

    assert sent(report("made-up")) == [rejected]


def test_a_request_without_a_response_is_told_as_that(report: Reporting) -> None:
    (told, *_) = sent(report("lost"))

    assert told.startswith("login: no response, the token server's answer was cut off")


@needs_root
def test_who_only_may_use_a_profile_is_told_the_requests_and_not_what_is_configured(
    report: Reporting,
) -> None:
    with being(NOBODY):
        lines = report("main")

    assert [line for line in lines if "configured" in line or "username" in line] == []
    assert len(sent(lines)) == 1


def test_a_daemon_that_isnt_there_is_told_in_the_report(
    daemon: RunningDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    run_words(["doctor", "--report", "--socket", f"{daemon.socket}-none"])

    told = capsys.readouterr().out.partition("\n\n")[2].splitlines()
    assert [line.partition(":")[0] for line in told[1:]] == ["client", "daemon"]


def test_only_the_last_requests_are_remembered(daemon: RunningDaemon, report: Reporting) -> None:
    for _ in range(MOST_REMEMBERED + 1):
        daemon.call("login", profile="main")

    assert (
        sent(report("main"))
        == [f"login: 200, a token; date {DATE}, traceparent {TRACE}, x-ms-request-id {ID}"]
        * MOST_REMEMBERED
    )
