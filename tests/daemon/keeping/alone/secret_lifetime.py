"""Secrets are let go of as soon as they were used: nothing in the process refers to them any more.

The collector of garbage is off meanwhile: what went away did so by itself. (What it can't be asked
for is that the freed memory is overwritten: docs/security.md.)
"""

import gc
import json
import sys
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from socket import socket
from threading import get_ident

import pytest

from daemons import profile
from emulators import CLIENT_ID
from inside import DaemonInside, async_await_that, daemon_inside
from openfit_token.errors import TokenError
from raw_server import RawServer, raw_server, response, sending

Secret = Callable[[], str]
"""Makes the text anew each time: what holds it isn't the test."""


def made(*parts: str) -> str:
    return "-".join(parts)


def password() -> str:
    """Return the password; put together here, so that no constant is one."""
    return made("correct", "battery", "staple")


def typed() -> str:
    return made("typed", "by", "somebody")


def client() -> str:
    return made("only", "our", "client", "knows", "it")


def header() -> str:
    """Return the client's secret as a header has it."""
    return b64encode(f"{CLIENT_ID}:{client()}".encode()).decode()


def access() -> str:
    return made("an", "access", "token")


def refresh() -> str:
    return made("a", "refresh", "token")


def grant(connection: socket, _request: bytes) -> None:
    fields = {"access_token": access(), "refresh_token": refresh(), "expires_in": 60}
    connection.sendall(response("200 OK", json.dumps(fields).encode()))


def was_sent(server: RawServer, secret: Secret) -> bool:
    """Return whether the newest request had it in it, and forget all requests."""
    found = secret().encode() in server.requests[-1]
    server.requests.clear()
    return found


def is_in(part: object, text: str, raw: bytes) -> bool:
    if isinstance(part, str):
        return text in part
    return isinstance(part, bytes | bytearray) and raw in part


def other_frames() -> list[object]:
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage] -- it is documented
    del frames[get_ident()]
    return list(frames.values())


def holders(secret: Secret) -> list[str]:
    """Name the kinds of what refers to a text that has it in it; frames that run are looked at too."""
    text = secret()
    raw = text.encode()
    found: list[str] = []
    # Neither is a part of what it collects: that would hold itself, and all the rest.
    everything = gc.get_objects()
    everything += other_frames()
    for each in everything:
        for part in gc.get_referents(each):  # no comprehension: its cells would hold the text
            if is_in(part, text, raw):
                found.append(type(each).__qualname__)  # noqa: PERF401 -- the same
    return found


@contextmanager
def no_collector() -> Generator[None]:
    """Leave garbage that refers to itself where it is."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture
def server() -> Iterator[RawServer]:
    with raw_server(grant) as server:
        yield server


@asynccontextmanager
async def warm_daemon(
    directory: Path, server: RawServer, **keys: str
) -> AsyncGenerator[DaemonInside]:
    """Run a daemon that has logged in once: to load and set up its parts leaves garbage behind."""
    (directory / "client").touch(mode=0o600)
    (directory / "client").write_text("of the first login")
    table = profile(server.url, **keys)
    async with daemon_inside(directory, table) as daemon, daemon.client() as tokens:
        await tokens.get_token()
        (directory / "password").write_text(password())
        (directory / "client").write_text(client())
        yield daemon


async def test_a_password_is_let_go_of_with_the_request_that_brought_it(
    tmp_path: Path, server: RawServer
) -> None:
    async with warm_daemon(tmp_path, server) as daemon, daemon.client() as tokens:
        with no_collector():
            await tokens.login()
            assert was_sent(server, password)
            await tokens.login(typed())
            assert was_sent(server, typed)

            assert holders(password) == []
            assert holders(typed) == []


@pytest.mark.parametrize(("auth", "sent"), [("basic", header), ("post", client)])
async def test_so_is_the_secret_of_a_client(
    tmp_path: Path, server: RawServer, auth: str, sent: Secret
) -> None:
    keys = {"client_secret_file": '"client"', "client_auth": f'"{auth}"'}
    async with warm_daemon(tmp_path, server, **keys) as daemon, daemon.client() as tokens:
        with no_collector():
            await tokens.login()

            assert was_sent(server, sent)
            assert holders(client) == []
            assert holders(header) == []


@pytest.mark.parametrize("answer", [response("500 Oh"), response("200 OK", b"<html>")])
async def test_so_is_one_that_was_answered_without_a_token(
    tmp_path: Path, server: RawServer, answer: bytes
) -> None:
    async with warm_daemon(tmp_path, server) as daemon, daemon.client() as tokens:
        server.behaviour = sending(answer)
        with no_collector():
            with pytest.raises(TokenError):
                await tokens.login(wait=0.5)

            assert was_sent(server, password)
            assert holders(password) == []


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"\0\xff"]
)
async def test_one_whose_request_broke_is_let_go_of_by_the_next_collection(
    tmp_path: Path, server: RawServer, answer: bytes
) -> None:
    """The exception has the frames it went through, and some of those have it."""
    async with warm_daemon(tmp_path, server) as daemon, daemon.client() as tokens:
        server.behaviour = sending(answer)
        with no_collector():
            with pytest.raises(TokenError):
                await tokens.login(wait=0.5)

            assert was_sent(server, password)
            gc.collect()
            assert holders(password) == []


async def test_a_logout_lets_go_of_both_tokens(tmp_path: Path, server: RawServer) -> None:
    async with warm_daemon(tmp_path, server) as daemon, daemon.client() as tokens:
        with no_collector():
            await tokens.login()
            assert holders(refresh)
            await tokens.logout()
            await async_await_that(lambda: b"/revocation" in server.requests[-1])
            endpoint = daemon.daemon._endpoint  # pyright: ignore[reportPrivateUsage] -- no other way tells
            await async_await_that(lambda: endpoint.under_way == 0)

            assert was_sent(server, refresh)
            assert holders(access) == []
            assert holders(refresh) == []
