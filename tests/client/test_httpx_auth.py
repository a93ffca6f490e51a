"""OpenFitAuth for httpx: what httpx has and requests hasn't. Which bodies it can send twice, say."""

import io
from collections.abc import AsyncGenerator, Callable, Generator, Iterator

import httpx
import pytest

from api import Api, Seen
from fake_daemon import FakeDaemon
from openfit_token.httpx_auth import OpenFitAuth

A, B = "token-a", "token-b"


@pytest.fixture(params=["httpx", "httpx2"])
def client(request: pytest.FixtureRequest, daemon: FakeDaemon, api: Api) -> Iterator[httpx.Client]:
    library = pytest.importorskip(request.param, reason="needs the package httpx2")
    auth = OpenFitAuth(socket=daemon.path, origins=[api.url])
    with library.Client(auth=auth, base_url=api.url, trust_env=False) as client:
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


async def test_the_api_url_can_be_awaited(daemon: FakeDaemon) -> None:
    assert await OpenFitAuth(socket=daemon.path).async_api_url() == "https://api.openfit.care"


@pytest.mark.parametrize("content", [a_generator, lambda: io.BytesIO(b"onetwo")])
def test_a_stream_is_not_repeated_but_the_next_request_has_a_new_token(
    api: Api, client: httpx.Client, content: Callable[[], Iterator[bytes]]
) -> None:
    """httpx doesn't rewind files: repeated, they would be empty."""
    api.refused = {A}
    assert client.post("/echo", content=content()).status_code == 401
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


@pytest.mark.parametrize(("file", "status"), [(io.BytesIO, 200), (bytes, 200), (Unseekable, 401)])
def test_a_form_is_repeated_whole_if_its_files_can_be(
    api: Api, client: httpx.Client, file: type[io.BytesIO | bytes], status: int
) -> None:
    api.refused = {A}
    answer = client.post("/echo", data={"name": "x"}, files={"f": ("f.bin", file(b"file"))})

    assert answer.status_code == status
    assert all(b"\r\nfile\r\n" in each.body for each in api.seen)
    assert api.tokens == ([A, B] if status == 200 else [A])


def test_a_streamed_answer_is_not_read_before_the_caller_does(
    api: Api, client: httpx.Client
) -> None:
    api.refused = {A}
    with client.stream("POST", "/echo", content=b"x" * 100) as answer:
        assert not answer.is_stream_consumed
        assert answer.read() == b"x" * 100
