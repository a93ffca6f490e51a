"""`openfit-token doctor --api PATH`: one GET, to the API alone, and its answer in words."""

from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

import diagnosis
from daemons import RunningDaemon, profile, running_daemon
from diagnosis import Diagnosis, Examine
from emulators import RunningEmulator, running_emulator
from failures import secrets_in
from fake_daemon import FakeDaemon, always, token_fields
from openfit_token._cli.doctor import api
from ports import free_port
from raw_server import RawServer, endlessly, raw_server, response, sending, silent

pytestmark = pytest.mark.system

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
STATUSES = {
    "200 OK": (" OK ", 0, "the API takes the token"),
    "302 Found": ("WARN", 0, "this says nothing of the token"),
    "401 Unauthorized": ("FAIL", 77, f"the API refuses the token, x-ms-request-id {ID}"),
    "403 Forbidden": ("FAIL", 77, "the API knows the token, and its user may not do this"),
    "404 Not Found": ("WARN", 0, "nothing is there, so this says nothing of the token"),
    "503 Service Unavailable": ("FAIL", 75, "the API fails or is busy"),
}


doctor = pytest.fixture(diagnosis.doctor)


class Apis:
    """A daemon with a profile for each API: each is a server below HTTP."""

    def __init__(
        self, emulator: RunningEmulator, daemon: RunningDaemon, servers: dict[str, RawServer]
    ) -> None:
        self.emulator = emulator
        self.daemon = daemon
        self.servers = servers

    def examine(self, doctor: Examine, name: str, path: str = "/v1/me") -> Diagnosis:
        """Ask the API of a profile; whatever comes of it, no secret is told, and no request is sent."""
        before = self.emulator.state().token_requests
        found = doctor("--socket", str(self.daemon.socket), "--profile", name, "--api", path)
        assert secrets_in(found.printed) == []
        assert self.emulator.state().token_requests == before
        return found


@pytest.fixture(scope="module")
def apis() -> Generator[Apis]:
    with ExitStack() as stack:
        emulator = stack.enter_context(running_emulator())
        elsewhere = stack.enter_context(raw_server(sending(response("200 OK"))))
        headers = (f"Location: {elsewhere.url}/x", f"X-Ms-Request-Id: {ID}")
        behaviours = {
            status[:3]: sending(response(status, b"", *headers)) for status in STATUSES
        } | {
            "silent": silent,
            "endless": endlessly(b"X-More: 1\r\n", b"HTTP/1.1 200 OK\r\n"),
            "rubbish": sending(b"\0\r\n\r\n"),
        }
        servers = {
            name: stack.enter_context(raw_server(behave)) for name, behave in behaviours.items()
        }
        urls = {name: server.url for name, server in servers.items()}
        urls["gone"] = f"http://127.0.0.1:{free_port()}"
        tables = [profile(emulator.url, name, api_url=f'"{url}"') for name, url in urls.items()]
        daemon = stack.enter_context(
            running_daemon(*tables, profile(emulator.url, "out", password_file=""))
        )
        for name in urls:
            daemon.await_state("fresh", name=name)
        yield Apis(emulator, daemon, servers | {"elsewhere": elsewhere})


@pytest.mark.parametrize("status", STATUSES)
def test_the_apis_answer_is_told_in_words(doctor: Examine, apis: Apis, status: str) -> None:
    kind, exit_status, words = STATUSES[status]

    found = apis.examine(doctor, status[:3])

    assert (found.status, found.of("api").kind) == (exit_status, kind)
    assert found.of("api").text.startswith(
        f"GET {apis.servers[status[:3]].url}/v1/me: {status[:3]}: {words}"
    )
    (request,) = apis.servers[status[:3]].requests
    assert request.startswith(b"GET /v1/me HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer " in request
    assert apis.servers["elsewhere"].requests == []  # no redirect is followed


@pytest.mark.parametrize("name", ["silent", "endless", "rubbish", "gone"])
def test_an_api_that_doesnt_answer_costs_a_bounded_time(
    doctor: Examine, apis: Apis, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_PATIENCE", 0.5)

    found = apis.examine(doctor, name)

    assert (found.status, found.of("api").kind) == (75, "FAIL")


def test_the_token_goes_to_no_other_origin_whatever_the_path_is(
    doctor: Examine, apis: Apis
) -> None:
    other = apis.servers["elsewhere"].url.removeprefix("http:")
    requests = apis.servers["200"].requests
    requests.clear()

    for path in (other, f"/\\{other}", f"/@{other}", "/?a=b#c"):
        assert apis.examine(doctor, "200", path).status == 0

    assert len(requests) == 4
    assert apis.servers["elsewhere"].requests == []


def test_without_a_token_the_api_isnt_asked(doctor: Examine, apis: Apis) -> None:
    found = apis.examine(doctor, "out")

    assert found.of("api").kind == "WARN"
    assert found.of("api").text == "out has no token: its API wasn't asked"


def test_an_id_that_is_the_token_isnt_told(tmp_path: Path) -> None:
    answer = response("401 Unauthorized", b"", f"X-Ms-Request-Id: {ID}")
    with raw_server(sending(answer)) as server:
        behaviour = always(token_fields(access_token=ID, api_url=server.url))
        with FakeDaemon(tmp_path / "s", behaviour) as daemon:
            profile: dict[str, object] = {"expires_in": 60.0, "api_url": server.url}
            (found,) = api.asked_api("main", profile, daemon.path, "/v1/me")

    assert found.text.endswith(": 401: the API refuses the token")


@pytest.mark.parametrize("path", ["v1/me", "@evil.example", "", "/a b", "/ü", "/a\r\nX: y"])
def test_a_path_that_isnt_one_is_wrong_usage(apis: Apis, path: str) -> None:
    done = apis.daemon.run("openfit-token", "doctor", "--api", path)

    assert (done.returncode, done.stdout) == (64, "")
    assert "is not a path such as /v1/me" in done.stderr
