"""OpenFitAuth for requests: what the API and the daemon see."""

import io
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from api import Api, Seen, running_api, tls
from fake_daemon import FakeDaemon, always, failing, token_fields
from openfit_token._client.held import Held
from openfit_token.errors import ForeignOrigin, LoggedOut, TimedOut
from openfit_token.requests_auth import OpenFitAuth
from openfit_token.testing import Daemon, Emulator
from processes import environment

A, B = "token-a", "token-b"
THREADS = 50


@pytest.fixture
def session(daemon: FakeDaemon, api: Api) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.auth = OpenFitAuth(socket=daemon.path, origins=[api.url])
        session.trust_env = False
        yield session


def a_generator() -> Generator[bytes]:
    yield b"one"
    yield b"two"


def not_at_all(*_: object) -> None:
    """Do nothing."""


# The token


def test_each_request_has_the_token_and_the_daemon_is_asked_once(
    daemon: FakeDaemon, api: Api, session: requests.Session
) -> None:
    answers = [session.get(f"{api.url}/echo").status_code for _ in range(5)]

    assert answers == [200] * 5
    assert api.tokens == [A] * 5
    assert daemon.calls == [("get_token", {"wait": 30.0})]


def test_a_token_past_its_refresh_at_is_asked_for_again(
    daemon: FakeDaemon, api: Api, session: requests.Session
) -> None:
    daemon.behaviour = always(token_fields("a", refresh_at=1893456000.5 - 3600))
    session.get(f"{api.url}/echo")
    daemon.behaviour = always(token_fields("b"))
    session.get(f"{api.url}/echo")

    assert api.tokens == [A, B]


def test_the_api_url_is_the_tokens(daemon: FakeDaemon) -> None:
    assert OpenFitAuth(socket=daemon.path).api_url() == "https://api.openfit.care"


def test_an_error_of_the_daemon_is_raised_as_what_it_is(
    daemon: FakeDaemon, api: Api, session: requests.Session
) -> None:
    daemon.behaviour = failing(LoggedOut("an operator logged main out"))
    with pytest.raises(LoggedOut):
        session.get(f"{api.url}/echo")

    assert api.seen == []


# A 401


def test_a_401_has_the_very_token_replaced_and_the_request_repeated_once(
    daemon: FakeDaemon, api: Api, session: requests.Session
) -> None:
    api.refused = {A}
    answer = session.post(f"{api.url}/echo", data=b"whole")

    assert (answer.status_code, answer.content) == (200, b"whole")
    assert [
        (each.status_code, each.request.headers["Authorization"]) for each in answer.history
    ] == [(401, f"Bearer {A}")]
    assert answer.request.headers["Authorization"] == f"Bearer {B}"
    assert api.seen == [Seen("POST", "/echo", A, b"whole"), Seen("POST", "/echo", B, b"whole")]
    assert daemon.calls[1:] == [("refuse", {"id": "id-a", "wait": 30.0})]
    assert api.connections == 1


def test_a_second_401_is_the_answer(
    daemon: FakeDaemon, api: Api, session: requests.Session
) -> None:
    assert session.get(f"{api.url}/refuse").status_code == 401

    assert api.tokens == [A, B]
    assert [method for method, _ in daemon.calls] == ["get_token", "refuse"]


def test_a_401_is_the_answer_if_there_is_no_other_token_and_the_live_one_goes_on(
    daemon: FakeDaemon, api: Api, session: requests.Session
) -> None:
    daemon.script = [always(token_fields("a")), failing(TimedOut("replaced a moment ago"))]

    assert session.get(f"{api.url}/refuse").content == b"no"
    assert session.get(f"{api.url}/echo").status_code == 200

    assert api.tokens == [A, A]
    assert [method for method, _ in daemon.calls] == ["get_token", "refuse"]


def test_the_refused_token_is_not_sent_twice_even_if_another_thread_has_put_it_back(
    api: Api, session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Held, "refuse", not_at_all)
    api.refused = {A}

    assert session.get(f"{api.url}/echo").status_code == 200


def test_a_generator_is_not_repeated_but_the_next_request_has_a_new_token(
    api: Api, session: requests.Session
) -> None:
    api.refused = {A}
    assert session.post(f"{api.url}/echo", data=a_generator()).status_code == 401
    assert session.get(f"{api.url}/echo").status_code == 200

    assert api.seen == [Seen("POST", "/echo", A, b"onetwo"), Seen("GET", "/echo", B, b"")]


def test_a_file_is_repeated_from_where_it_stood(api: Api, session: requests.Session) -> None:
    file = io.BytesIO(b"header and body")
    file.seek(7)
    api.refused = {A}

    assert session.post(f"{api.url}/echo", data=file).content == b"and body"
    assert [each.body for each in api.seen] == [b"and body"] * 2


def test_a_form_is_repeated_whole(api: Api, session: requests.Session) -> None:
    api.refused = {A}
    session.post(f"{api.url}/echo", files={"f": ("f.bin", io.BytesIO(b"file"))})

    assert api.tokens == [A, B]
    assert all(b"\r\nfile\r\n" in each.body for each in api.seen)


def test_a_prepared_request_may_be_sent_again(
    daemon: FakeDaemon, api: Api, session: requests.Session
) -> None:
    prepared = session.prepare_request(requests.Request("GET", f"{api.url}/echo"))
    api.refused = {A}
    answers = [session.send(prepared).status_code for _ in range(2)]

    assert answers == [200, 200]
    assert [method for method, _ in daemon.calls] == ["get_token", "refuse"]


# Redirects


def test_a_redirect_on_the_same_host_keeps_the_token(api: Api, session: requests.Session) -> None:
    session.get(f"{api.url}/hop", params={"to": "/echo"})

    assert api.tokens == [A, A]


def test_a_redirect_to_another_host_goes_without_the_token_and_its_401_is_not_ours(
    daemon: FakeDaemon, api: Api, session: requests.Session
) -> None:
    with running_api() as other:
        answer = session.get(f"{api.url}/hop", params={"to": f"{other.url}/refuse"})

    assert answer.status_code == 401
    assert (api.tokens, other.tokens) == ([A], [None])
    assert [method for method, _ in daemon.calls] == ["get_token"]


def test_a_redirect_of_a_repeated_request_goes_without_the_token_too(
    api: Api, session: requests.Session
) -> None:
    api.refused = {A}
    with running_api() as other:
        session.get(f"{api.url}/hop", params={"to": f"{other.url}/echo"})

    assert (api.tokens, other.tokens) == ([A, B], [None])


def test_a_redirect_of_a_repeated_request_on_the_same_host_succeeds(
    daemon: FakeDaemon, api: Api, session: requests.Session
) -> None:
    """And with the token that the repeated one had: the refused one is never sent again."""
    api.refused = {A}
    assert session.get(f"{api.url}/hop", params={"to": "/echo"}).status_code == 200

    assert api.tokens == [A, B, B]
    assert [method for method, _ in daemon.calls] == ["get_token", "refuse"]


def test_a_redirect_of_a_redirect_keeps_the_new_token_too(
    api: Api, session: requests.Session
) -> None:
    api.refused = {A}
    session.get(f"{api.url}/hop", params={"to": "/hop?to=/echo"})

    assert api.tokens == [A, B, B, B]


def test_a_prepared_request_that_is_sent_again_and_again_follows_its_tokens(
    daemon: FakeDaemon, api: Api, session: requests.Session
) -> None:
    prepared = session.prepare_request(requests.Request("GET", f"{api.url}/echo"))
    api.refused = {A}
    session.send(prepared)
    api.refused = {A, B}
    daemon.behaviour = always(token_fields("c"))

    assert session.send(prepared).status_code == 200
    assert api.tokens == [A, B, B, "token-c"]


# Where a token may go


def test_who_asks_another_origin_is_told_so_and_nothing_is_sent(
    session: requests.Session,
) -> None:
    with running_api() as other, pytest.raises(ForeignOrigin, match="this request goes to http"):
        session.get(f"{other.url}/echo")

    assert other.seen == []


def test_a_token_goes_to_the_origin_of_its_api_url_without_more_words(
    daemon: FakeDaemon, api: Api
) -> None:
    daemon.behaviour = always(token_fields("a", api_url=f"{api.url}/base"))
    requests.get(f"{api.url}/echo", auth=OpenFitAuth(socket=daemon.path), timeout=20)

    assert api.tokens == [A]


def test_a_repeated_request_gets_no_token_that_is_for_another_api(
    daemon: FakeDaemon, api: Api
) -> None:
    """The profile was given another environment meanwhile."""
    daemon.script = [always(token_fields("a", api_url=api.url))]
    daemon.behaviour = always(token_fields("b"))
    api.refused = {A}
    with pytest.raises(ForeignOrigin):
        requests.get(f"{api.url}/echo", auth=OpenFitAuth(socket=daemon.path), timeout=20)

    assert api.tokens == [A]


def test_a_redirect_from_https_to_http_goes_without_the_token(
    daemon: FakeDaemon, api: Api, session: requests.Session, tmp_path: Path
) -> None:
    served, trusted = tls(tmp_path)
    with running_api(served) as secure:
        session.auth = OpenFitAuth(socket=daemon.path, origins=[secure.url])
        to = {"to": f"{api.url}/echo"}
        session.get(f"{secure.url}/hop", params=to, verify=str(trusted))

    assert (secure.tokens, api.tokens) == ([A], [None])


def test_what_was_done_before_a_redirect_is_not_repeated(
    api: Api, session: requests.Session
) -> None:
    """POST, then 303 to a GET that answers 401: it's the GET that is repeated."""
    session.post(f"{api.url}/hop", params={"to": "/refuse", "status": "303"}, data=b"once")

    assert [(each.method, each.token) for each in api.seen] == [
        ("POST", A),
        ("GET", A),
        ("GET", B),
    ]


# Secrets, crowds


def test_the_token_shows_in_no_text(daemon: FakeDaemon, api: Api) -> None:
    auth = OpenFitAuth(socket=daemon.path, origins=[api.url])
    answer = requests.get(f"{api.url}/echo", auth=auth, timeout=20)

    assert A not in f"{auth} {vars(auth)} {vars(vars(auth)['_held'])} {answer!r} {answer.request!r}"


class AwaitingOthers(HTTPAdapter):
    """Gives a 401 to its thread when the other threads have theirs."""

    refused = threading.Barrier(THREADS, timeout=20)

    def send(self, *args: Any, **options: Any) -> requests.Response:  # noqa: ANN401 -- requests' own, passed on
        response = super().send(*args, **options)
        if response.status_code == 401:
            self.refused.wait()
        return response


@pytest.mark.system
def test_it_loads_no_event_loop_and_no_test_kit() -> None:
    program = "import sys, openfit_token.requests_auth; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )

    assert {"anyio", "asyncio", "httpx", "openfit_token.testing"} & set(
        done.stdout.split()
    ) == set()


@pytest.mark.system
def test_fifty_threads_that_get_a_401_with_one_token_cause_one_refresh_and_all_succeed() -> None:
    """With the real daemon, and the emulator's API."""
    with (
        Emulator() as emulator,
        Daemon(emulator) as daemon,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        auth = OpenFitAuth(socket=str(daemon.socket))
        url = auth.api_url()
        emulator.revoke_access_tokens()

        def work(number: int) -> int:
            with requests.Session() as session:
                session.mount("http://", AwaitingOthers())
                return session.get(f"{url}/{number}", auth=auth).status_code

        answers = list(threads.map(work, range(THREADS)))
        told = emulator.state()

    assert answers == [200] * THREADS
    assert (told.api_refused, told.logins, told.refreshes) == (THREADS, 1, 1)
