"""No traceback shows a password or a token, even where it is shown with the values in its frames.

pytest's `--showlocals` prints them, and error trackers send them away.
"""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
import httpx
import pytest
import requests
from requests.adapters import HTTPAdapter

import openfit_token
from fake_daemon import (
    Behaviour,
    FakeDaemon,
    Request,
    always,
    dropping,
    failing,
    silent,
    token_fields,
)
from openfit_token import AsyncTokenClient, TokenClient, httpx_auth, requests_auth
from openfit_token._client import connection
from openfit_token._shared.protocol import encode_result
from openfit_token.errors import BadRequest, TokenError, Unavailable

PASSWORD = "hunter2hunter2"
TOKEN = "abcdefghijklmnop"
GIVEN = token_fields(access_token=TOKEN)
OURS = str(Path(openfit_token.__file__).parent)


def sending(*parts: bytes) -> Behaviour:
    """Send bytes, and hang up."""

    def send(request: Request) -> None:
        for part in parts:
            request.peer.send(part)
        request.peer.hang_up()

    return send


WHOLE = encode_result(1, GIVEN)
TROUBLES: dict[str, Behaviour] = {
    "lost": dropping,
    "silent": silent,
    "refused": failing(Unavailable("no token now")),
    "half": sending(WHOLE[:-9]),
    "rubbish_behind": sending(WHOLE + b"\xc1"),
    "two_answers": sending(WHOLE + WHOLE),
    "anothers": sending(encode_result(99, GIVEN)),
    "no_answer": sending(encode_result(1, GIVEN)[:1] + b"\x07" + encode_result(1, GIVEN)[2:]),
    "no_map": always([TOKEN]),
    "field_missing": always({key: value for key, value in GIVEN.items() if key != "scope"}),
    "number_wrong": always({**GIVEN, "expires_in": "soon"}),
    "degraded_wrong": always({**GIVEN, "degraded": 1}),
    "header_broken": always({**GIVEN, "access_token": f"{TOKEN}\r\nX: y"}),
    "not_ascii": always({**GIVEN, "access_token": f"{TOKEN}ä"}),
}


def shown(error: BaseException) -> Iterator[str]:
    """Return what a traceback with local variables shows of our frames, and the errors themselves."""
    yield repr(error)
    step: TracebackType | None = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename.startswith(OURS):
            for name, value in step.tb_frame.f_locals.items():
                yield f"{step.tb_frame.f_code.co_qualname}: {name} = {value!r} {value!s}"
        step = step.tb_next
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from shown(before)


def tells(call: Callable[[], object], expected: type[BaseException] = TokenError) -> list[str]:
    """Make a call that fails, and return what its traceback shows of the secrets."""
    with pytest.raises(expected) as raised:
        call()
    return [line for line in shown(raised.value) if PASSWORD in line or TOKEN in line]


@pytest.fixture(params=TROUBLES)
def daemon(
    request: pytest.FixtureRequest, place: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeDaemon]:
    monkeypatch.setattr(connection, "_GRACE", 0.2)
    with FakeDaemon(place / "s", TROUBLES[request.param]) as daemon:
        yield daemon


def in_a_loop(call: Callable[[AsyncTokenClient], Awaitable[object]], path: str) -> object:
    async def main() -> object:
        async with AsyncTokenClient(socket=path) as client:
            return await call(client)

    return anyio.run(main)


def test_no_trouble_shows_a_secret_to_who_waits(daemon: FakeDaemon) -> None:
    with TokenClient(socket=daemon.path) as client:
        assert tells(lambda: client.get_token(wait=0)) == []
        assert tells(lambda: client.login(PASSWORD, wait=0)) == []


def test_no_trouble_shows_a_secret_to_an_async_program(daemon: FakeDaemon) -> None:
    def fail(call: Callable[[AsyncTokenClient], Awaitable[object]]) -> list[str]:
        return tells(lambda: in_a_loop(call, daemon.path))

    assert fail(lambda client: client.get_token(wait=0)) == []
    assert fail(lambda client: client.login(PASSWORD, wait=0)) == []


def test_no_trouble_shows_a_secret_to_a_program_that_calls_an_api(daemon: FakeDaemon) -> None:
    """The API refuses the first token, which is dead; the daemon's next answer is the trouble."""

    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, request=request)

    async def call_async() -> None:
        auth = httpx_auth.OpenFitAuth(socket=daemon.path, wait=0)
        async with httpx.AsyncClient(auth=auth, transport=httpx.MockTransport(refuse)) as api:
            await api.get("https://api.openfit.care")

    def call_httpx() -> None:
        auth = httpx_auth.OpenFitAuth(socket=daemon.path, wait=0)
        with httpx.Client(auth=auth, transport=httpx.MockTransport(refuse)) as api:
            api.get("https://api.openfit.care")

    def call_requests() -> None:
        with requests.Session() as api:
            api.mount("https://", Refusing())
            api.auth = requests_auth.OpenFitAuth(socket=daemon.path, wait=0)
            api.get("https://api.openfit.care")

    for call in (call_httpx, lambda: anyio.run(call_async), call_requests):
        daemon.script.append(always({**GIVEN, "expires_in": 0.0}))
        assert tells(call) == []


class Refusing(HTTPAdapter):
    """An API that answers 401."""

    def send(
        self,
        request: requests.PreparedRequest,
        *_: object,
        **__: object,
    ) -> requests.Response:
        response = requests.Response()
        response.status_code, response.request = 401, request
        response.connection = self
        response._content = b""  # pyright: ignore[reportPrivateUsage] -- there is no other way to say that it is read
        return response


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_call_that_is_broken_off_shows_no_password(place: Path, backend: str) -> None:
    async def call(path: str) -> None:
        with anyio.fail_after(0.2):
            await AsyncTokenClient(socket=path).login(PASSWORD)

    with FakeDaemon(place / "s", silent) as hung:
        assert tells(lambda: anyio.run(call, hung.path, backend=backend), TimeoutError) == []


def test_what_cannot_be_sent_isnt_shown(place: Path) -> None:
    no_time: Any = "soon"
    with FakeDaemon(place / "s", silent) as hung:
        client = TokenClient(socket=hung.path)
        assert tells(lambda: client.login(f"{PASSWORD}\udc80"), BadRequest) == []
        assert tells(lambda: client.login(PASSWORD, wait=no_time), TypeError) == []
