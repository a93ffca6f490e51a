"""OpenFitAuth for requests: what requests has and httpx hasn't. Prepared requests, say."""

import io
import subprocess
import sys
from collections.abc import Generator, Iterator

import pytest
import requests

from api import Api, Seen
from fake_daemon import FakeDaemon, always, token_fields
from openfit_token.requests_auth import OpenFitAuth
from processes import environment

A, B = "token-a", "token-b"


@pytest.fixture
def session(daemon: FakeDaemon, api: Api) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.auth = OpenFitAuth(socket=daemon.path, origins=[api.url])
        session.trust_env = False
        yield session


def a_generator() -> Generator[bytes]:
    yield b"one"
    yield b"two"


def test_the_history_has_the_request_as_it_was_refused(api: Api, session: requests.Session) -> None:
    api.refused = {A}
    answer = session.get(f"{api.url}/echo")

    sent = [each.request.headers["Authorization"] for each in (*answer.history, answer)]
    assert sent == [f"Bearer {A}", f"Bearer {B}"]


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


def test_a_prepared_request_that_is_sent_again_and_again_follows_its_tokens(
    daemon: FakeDaemon, api: Api, session: requests.Session
) -> None:
    prepared = session.prepare_request(requests.Request("GET", f"{api.url}/echo"))
    api.refused = {A}
    answers = [session.send(prepared).status_code for _ in range(2)]
    assert [method for method, _ in daemon.calls] == ["get_token", "refuse"]

    api.refused = {A, B}
    daemon.behaviour = always(token_fields("c"))
    answers.append(session.send(prepared).status_code)

    assert answers == [200, 200, 200]
    assert api.tokens == [A, B, B, B, "token-c"]


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
