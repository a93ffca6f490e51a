"""OpenFitAuth for httpx: what the API and the daemon see. The blocking and the async client alike."""

import io
import ssl
import threading
from collections.abc import AsyncGenerator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from api import Api, Seen, running_api, tls
from fake_daemon import FakeDaemon, always, failing, silent, token_fields
from openfit_token._client.held import Held
from openfit_token.errors import DaemonUnreachable, ForeignOrigin, LoggedOut, TimedOut, Unavailable
from openfit_token.httpx_auth import OpenFitAuth
from openfit_token.testing import Daemon, Emulator

A, B = "token-a", "token-b"
THREADS = 50


@contextmanager
def blocking(daemon: FakeDaemon, api: Api) -> Generator[httpx.Client]:
    auth = OpenFitAuth(socket=daemon.path, origins=[api.url])
    with httpx.Client(
        auth=auth, base_url=api.url, trust_env=False, follow_redirects=True
    ) as client:
        yield client


def a_generator() -> Generator[bytes]:
    yield b"one"
    yield b"two"


class Unseekable(io.BytesIO):
    """A pipe, say."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation


def not_at_all(*_: object) -> None:
    """Do nothing."""


# The token


def test_each_request_has_the_token_and_the_daemon_is_asked_once(
    daemon: FakeDaemon, api: Api
) -> None:
    with blocking(daemon, api) as client:
        answers = [client.get("/echo").status_code for _ in range(5)]

    assert answers == [200] * 5
    assert api.tokens == [A] * 5
    assert daemon.calls == [("get_token", {"wait": 30.0})]


async def test_async_requests_have_it_too(daemon: FakeDaemon, api: Api) -> None:
    auth = OpenFitAuth(socket=daemon.path, origins=[api.url])
    async with httpx.AsyncClient(auth=auth, base_url=api.url, trust_env=False) as client:
        answers = [(await client.get("/echo")).status_code for _ in range(5)]

    assert answers == [200] * 5
    assert api.tokens == [A] * 5
    assert daemon.calls == [("get_token", {"wait": 30.0})]


def test_a_token_past_its_refresh_at_is_asked_for_again(daemon: FakeDaemon, api: Api) -> None:
    due = token_fields("a", refresh_at=1893456000.5 - 3600)
    daemon.behaviour = always(due)
    with blocking(daemon, api) as client:
        client.get("/echo")
        daemon.behaviour = always(token_fields("b"))
        client.get("/echo")
        client.get("/echo")

    assert api.tokens == [A, B, B]
    assert daemon.calls == [("get_token", {"wait": 30.0}), ("get_token", {"wait": 0.0})]


@pytest.mark.parametrize("trouble", ["no daemon", "not now"])
def test_a_token_that_is_due_is_used_while_no_other_can_be_had(
    daemon: FakeDaemon, api: Api, trouble: str
) -> None:
    daemon.behaviour = always(token_fields("a", refresh_at=1893456000.5 - 3600))
    with blocking(daemon, api) as client:
        client.get("/echo")
        daemon.behaviour = failing(Unavailable("the token server is down"))
        if trouble == "no daemon":
            daemon.stop()
        client.get("/echo")

    assert api.tokens == [A, A]


def test_the_api_url_is_the_tokens(daemon: FakeDaemon) -> None:
    assert OpenFitAuth(socket=daemon.path).api_url() == "https://api.openfit.care"


async def test_the_api_url_can_be_awaited(daemon: FakeDaemon) -> None:
    assert await OpenFitAuth(socket=daemon.path).async_api_url() == "https://api.openfit.care"


def test_the_profile_and_the_wait_are_passed_on(daemon: FakeDaemon) -> None:
    OpenFitAuth("import", socket=daemon.path, wait=5).api_url()

    assert daemon.calls == [("get_token", {"profile": "import", "wait": 5})]


def test_an_error_of_the_daemon_is_raised_as_what_it_is(daemon: FakeDaemon, api: Api) -> None:
    daemon.behaviour = failing(LoggedOut("an operator logged main out"))
    with blocking(daemon, api) as client, pytest.raises(LoggedOut):
        client.get("/echo")

    assert api.seen == []


async def test_so_it_is_in_async_programs(daemon: FakeDaemon, api: Api) -> None:
    daemon.remove()
    auth = OpenFitAuth(socket=daemon.path, origins=[api.url])
    async with httpx.AsyncClient(auth=auth, base_url=api.url, trust_env=False) as client:
        with pytest.raises(DaemonUnreachable):
            await client.get("/echo")


# A 401


def test_a_401_has_the_very_token_replaced_and_the_request_repeated_once(
    daemon: FakeDaemon, api: Api
) -> None:
    api.refused = {A}
    with blocking(daemon, api) as client:
        answer = client.post("/echo", content=b"whole")

    assert (answer.status_code, answer.content) == (200, b"whole")
    assert [each.status_code for each in answer.history] == [401]
    assert api.seen == [Seen("POST", "/echo", A, b"whole"), Seen("POST", "/echo", B, b"whole")]
    assert daemon.calls[1:] == [("refuse", {"id": "id-a", "wait": 30.0})]
    assert api.connections == 1


async def test_async_requests_are_repeated_too(daemon: FakeDaemon, api: Api) -> None:
    api.refused = {A}
    auth = OpenFitAuth(socket=daemon.path, origins=[api.url])
    async with httpx.AsyncClient(auth=auth, base_url=api.url, trust_env=False) as client:
        answer = await client.post("/echo", content=b"whole")

    assert (answer.status_code, answer.content) == (200, b"whole")
    assert api.tokens == [A, B]
    assert daemon.calls[1:] == [("refuse", {"id": "id-a", "wait": 30.0})]


def test_a_second_401_is_the_answer(daemon: FakeDaemon, api: Api) -> None:
    with blocking(daemon, api) as client:
        assert client.get("/refuse").status_code == 401

    assert api.tokens == [A, B]
    assert [method for method, _ in daemon.calls] == ["get_token", "refuse"]


async def test_so_it_is_for_async_requests(daemon: FakeDaemon, api: Api) -> None:
    auth = OpenFitAuth(socket=daemon.path, origins=[api.url])
    async with httpx.AsyncClient(auth=auth, base_url=api.url, trust_env=False) as client:
        assert (await client.get("/refuse")).status_code == 401

    assert api.tokens == [A, B]


def test_a_401_is_the_answer_if_there_is_no_other_token_and_the_live_one_goes_on(
    daemon: FakeDaemon, api: Api
) -> None:
    daemon.script = [always(token_fields("a")), failing(TimedOut("replaced a moment ago"))]
    with blocking(daemon, api) as client:
        assert client.get("/refuse").status_code == 401
        assert client.get("/echo").status_code == 200

    assert api.tokens == [A, A]
    assert [method for method, _ in daemon.calls] == ["get_token", "refuse"]


async def test_so_it_is_in_async_programs_that_have_one_path_which_always_answers_401(
    daemon: FakeDaemon, api: Api
) -> None:
    daemon.script = [always(token_fields("a")), failing(TimedOut("replaced a moment ago"))]
    auth = OpenFitAuth(socket=daemon.path, origins=[api.url])
    async with httpx.AsyncClient(auth=auth, base_url=api.url, trust_env=False) as client:
        assert (await client.get("/refuse")).status_code == 401
        assert (await client.get("/echo")).status_code == 200

    assert api.tokens == [A, A]


def test_nobody_waits_for_another_requests_401(daemon: FakeDaemon, api: Api) -> None:
    """While the daemon takes its time for a token in place of the one that the API refused."""
    daemon.script = [always(token_fields("a")), silent]
    with blocking(daemon, api) as client, ThreadPoolExecutor(1) as other:
        refused = other.submit(client.get, "/refuse")
        daemon.next_request()
        asked = daemon.next_request()

        assert client.get("/echo").status_code == 200
        assert [method for method, _ in daemon.calls] == ["get_token", "refuse"]

        asked.result(token_fields("b"))
        assert refused.result(20).status_code == 401


def test_the_refused_token_is_not_sent_twice_even_if_another_thread_has_put_it_back(
    daemon: FakeDaemon, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Held, "refuse", not_at_all)
    api.refused = {A}
    with blocking(daemon, api) as client:
        assert client.get("/echo").status_code == 200


async def test_so_it_is_for_tasks(
    daemon: FakeDaemon, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Held, "refuse", not_at_all)
    api.refused = {A}
    auth = OpenFitAuth(socket=daemon.path, origins=[api.url])
    async with httpx.AsyncClient(auth=auth, base_url=api.url, trust_env=False) as client:
        assert (await client.get("/echo")).status_code == 200


@pytest.mark.parametrize("content", [a_generator(), io.BytesIO(b"onetwo")])
def test_a_stream_is_not_repeated_but_the_next_request_has_a_new_token(
    daemon: FakeDaemon, api: Api, content: Iterator[bytes]
) -> None:
    """httpx doesn't rewind files: repeated, they would be empty."""
    api.refused = {A}
    with blocking(daemon, api) as client:
        assert client.post("/echo", content=content).status_code == 401
        assert client.get("/echo").status_code == 200

    assert api.seen == [Seen("POST", "/echo", A, b"onetwo"), Seen("GET", "/echo", B, b"")]


async def test_an_async_stream_is_not_repeated(daemon: FakeDaemon, api: Api) -> None:
    async def chunks() -> AsyncGenerator[bytes]:
        yield b"one"

    api.refused = {A}
    auth = OpenFitAuth(socket=daemon.path, origins=[api.url])
    async with httpx.AsyncClient(auth=auth, base_url=api.url, trust_env=False) as client:
        assert (await client.post("/echo", content=chunks())).status_code == 401
        assert (await client.get("/echo")).status_code == 200

    assert api.tokens == [A, B]


@pytest.mark.parametrize(
    ("file", "status"), [(io.BytesIO(b"file"), 200), (b"file", 200), (Unseekable(b"file"), 401)]
)
def test_a_form_is_repeated_whole_if_its_files_can_be(
    daemon: FakeDaemon, api: Api, file: io.BytesIO | bytes, status: int
) -> None:
    api.refused = {A}
    with blocking(daemon, api) as client:
        answer = client.post("/echo", data={"name": "x"}, files={"f": ("f.bin", file)})

    assert answer.status_code == status
    assert all(b"\r\nfile\r\n" in each.body for each in api.seen)
    assert api.tokens == ([A, B] if status == 200 else [A])


def test_a_streamed_answer_is_not_read_before_the_caller_does(daemon: FakeDaemon, api: Api) -> None:
    api.refused = {A}
    with (
        blocking(daemon, api) as client,
        client.stream("POST", "/echo", content=b"x" * 100) as answer,
    ):
        assert not answer.is_stream_consumed
        assert answer.read() == b"x" * 100


# Redirects


def test_a_redirect_on_the_same_host_keeps_the_token(daemon: FakeDaemon, api: Api) -> None:
    with blocking(daemon, api) as client:
        client.get("/hop", params={"to": "/echo"})

    assert api.tokens == [A, A]


def test_a_redirect_to_another_host_goes_without_the_token_and_its_401_is_not_ours(
    daemon: FakeDaemon, api: Api
) -> None:
    with running_api() as other, blocking(daemon, api) as client:
        answer = client.get("/hop", params={"to": f"{other.url}/refuse"})

    assert answer.status_code == 401
    assert (api.tokens, other.tokens) == ([A], [None])
    assert [method for method, _ in daemon.calls] == ["get_token"]


async def test_so_it_does_in_async_programs(daemon: FakeDaemon, api: Api) -> None:
    auth = OpenFitAuth(socket=daemon.path, origins=[api.url])
    with running_api() as other:
        async with httpx.AsyncClient(auth=auth, trust_env=False, follow_redirects=True) as client:
            await client.get(f"{api.url}/hop", params={"to": f"{other.url}/echo"})

    assert (api.tokens, other.tokens) == ([A], [None])


def test_a_redirect_from_https_to_http_goes_without_the_token(
    daemon: FakeDaemon, api: Api, tmp_path: Path
) -> None:
    served, trusted = tls(tmp_path)
    with (
        running_api(served) as secure,
        httpx.Client(
            auth=OpenFitAuth(socket=daemon.path, origins=[secure.url]),
            verify=ssl.create_default_context(cafile=trusted),
            follow_redirects=True,
        ) as client,
    ):
        client.get(f"{secure.url}/hop", params={"to": f"{api.url}/echo"})

    assert (secure.tokens, api.tokens) == ([A], [None])


def test_what_was_done_before_a_redirect_is_not_repeated(daemon: FakeDaemon, api: Api) -> None:
    """POST, then 303 to a GET that answers 401: it's the GET that is repeated."""
    with blocking(daemon, api) as client:
        client.post("/hop", params={"to": "/refuse", "status": 303}, content=b"once")

    assert [(each.method, each.token) for each in api.seen] == [
        ("POST", A),
        ("GET", A),
        ("GET", B),
    ]


def test_a_redirect_of_a_repeated_request_has_the_new_token(daemon: FakeDaemon, api: Api) -> None:
    api.refused = {A}
    with blocking(daemon, api) as client:
        client.get("/hop", params={"to": "/echo"})

    assert api.tokens == [A, B, B]


# Where a token may go


def test_who_asks_another_origin_is_told_so_and_nothing_is_sent(
    daemon: FakeDaemon, api: Api
) -> None:
    with (
        running_api() as other,
        blocking(daemon, api) as client,
        pytest.raises(ForeignOrigin, match="this request goes to http"),
    ):
        client.get(f"{other.url}/echo")

    assert other.seen == []


async def test_so_it_is_in_async_programs_too(daemon: FakeDaemon, api: Api) -> None:
    auth = OpenFitAuth(socket=daemon.path, origins=[api.url])
    with running_api() as other:
        async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
            with pytest.raises(ForeignOrigin):
                await client.get(f"{other.url}/echo")

    assert other.seen == []


def test_a_token_goes_to_the_origin_of_its_api_url_without_more_words(
    daemon: FakeDaemon, api: Api
) -> None:
    daemon.behaviour = always(token_fields("a", api_url=f"{api.url}/base"))
    httpx.get(f"{api.url}/echo", auth=OpenFitAuth(socket=daemon.path), trust_env=False)

    assert api.tokens == [A]


# Secrets, crowds


def test_the_token_shows_in_no_text(daemon: FakeDaemon, api: Api) -> None:
    auth = OpenFitAuth(socket=daemon.path, origins=[api.url])
    with httpx.Client(auth=auth, trust_env=False) as client:
        answer = client.get(f"{api.url}/echo")

    shown = f"{auth} {vars(auth)} {vars(vars(auth)['_held'])} {answer!r} {answer.request.headers!r}"
    assert A not in shown


@pytest.mark.system
def test_fifty_threads_that_get_a_401_with_one_token_cause_one_refresh_and_all_succeed() -> None:
    """With the real daemon, and the emulator's API."""
    refused = threading.Barrier(THREADS, timeout=20)

    def await_the_others(response: httpx.Response) -> None:
        if response.status_code == 401:
            refused.wait()

    with (
        Emulator() as emulator,
        Daemon(emulator) as daemon,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        auth = OpenFitAuth(socket=str(daemon.socket))
        with httpx.Client(
            auth=auth,
            base_url=auth.api_url(),
            event_hooks={"response": [await_the_others]},
            trust_env=False,
            timeout=30,
        ) as client:
            emulator.revoke_access_tokens()
            answers = list(threads.map(client.get, [f"/{n}" for n in range(THREADS)]))
        told = emulator.state()

    assert [answer.status_code for answer in answers] == [200] * THREADS
    assert (told.api_refused, told.logins, told.refreshes) == (THREADS, 1, 1)
