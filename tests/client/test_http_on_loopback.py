"""Over http a token goes straight to a listener that is trusted: no proxy, and no other user, gets it.

Both adapters, and httpx's async client, alike.
"""

import os
import pickle
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from copy import deepcopy
from threading import Thread
from typing import Final, cast

import anyio
import httpx
import pytest
import requests

from api import Api, running_api
from daemons import PATIENCE, needs_root
from fake_daemon import FakeDaemon
from listeners import listener_of
from openfit_token import httpx_auth, requests_auth
from openfit_token._shared.origin import ANYBODY
from openfit_token.errors import ForeignOrigin
from openfit_tokend.host import clock
from others import EVE
from ports import free_port

A: Final = "token-a"
TIMEOUT: Final = 1.5
"""Seconds that a client waits."""
VARIABLES: Final = ("HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "all_proxy", "no_proxy")


def by_httpx(url: str, proxy: str | None = None, loopback_user: str | int | None = None) -> int:
    auth = httpx_auth.OpenFitAuth(origins=[url], loopback_user=loopback_user)
    with httpx.Client(auth=auth, proxy=proxy, timeout=TIMEOUT) as client:
        return client.get(f"{url}/echo").status_code


def by_async_httpx(
    url: str, proxy: str | None = None, loopback_user: str | int | None = None
) -> int:
    async def ask() -> int:
        auth = httpx_auth.OpenFitAuth(origins=[url], loopback_user=loopback_user)
        async with httpx.AsyncClient(auth=auth, proxy=proxy, timeout=TIMEOUT) as client:
            return (await client.get(f"{url}/echo")).status_code

    return anyio.run(ask)


def by_httpx2(url: str, proxy: str | None = None, loopback_user: str | int | None = None) -> int:
    httpx2 = pytest.importorskip("httpx2", reason="needs the package httpx2")
    auth = httpx_auth.OpenFitAuth(origins=[url], loopback_user=loopback_user)
    with httpx2.Client(auth=auth, proxy=proxy, timeout=TIMEOUT) as client:
        try:
            return cast("int", client.get(f"{url}/echo").status_code)
        except httpx2.HTTPError as error:
            raise httpx.HTTPError(str(error)) from error


def by_requests(url: str, proxy: str | None = None, loopback_user: str | int | None = None) -> int:
    with requests.Session() as session:
        session.auth = requests_auth.OpenFitAuth(origins=[url], loopback_user=loopback_user)
        if proxy is not None:
            session.proxies = {"http": proxy}
        return session.get(f"{url}/echo", timeout=TIMEOUT).status_code


Ask = Callable[..., int]
each_way = pytest.mark.parametrize("ask", [by_httpx, by_async_httpx, by_httpx2, by_requests])


@pytest.fixture(autouse=True)
def _environment(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENFIT_TOKEN_SOCKET", daemon.path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@contextmanager
def socks_proxy() -> Generator[str]:
    """Run a SOCKS5 proxy for one connection, which leads on to wherever it is asked for."""

    def serve() -> None:
        own, _ = listener.accept()
        with own:
            own.recv(64)
            own.sendall(b"\5\0")
            asked = own.recv(512)
            with socket.create_connection(
                (socket.inet_ntoa(asked[4:8]), int.from_bytes(asked[-2:]))
            ) as other:
                own.sendall(b"\5\0\0\1" + bytes(6))
                while data := own.recv(65536):
                    other.sendall(data)
                    own.sendall(other.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=serve)
        thread.start()
        yield f"socks5://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


# Proxies


@each_way
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_gets_no_token(
    api: Api, ask: Ask, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_api() as proxy:
        monkeypatch.setenv(variable, proxy.url)
        if variable == "HTTP_PROXY":
            monkeypatch.setenv("http_proxy", proxy.url)  # which goes before it
        with pytest.raises(ForeignOrigin, match="NO_PROXY"):
            ask(api.url)

    assert (proxy.seen, api.seen) == ([], [])


@each_way
def test_a_proxy_that_the_client_was_given_gets_no_token(api: Api, ask: Ask) -> None:
    with running_api() as proxy, pytest.raises(ForeignOrigin, match="only goes there directly"):
        ask(api.url, proxy.url)

    assert (proxy.seen, api.seen) == ([], [])


@each_way
def test_with_no_proxy_the_token_goes_straight_there(
    api: Api, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1,::1")

    assert ask(api.url) == 200
    assert api.tokens == [A]


def test_a_connection_that_is_open_already_is_judged_too(api: Api) -> None:
    with running_api() as proxy, httpx.Client(proxy=proxy.url) as client:
        client.get(f"{api.url}/echo")
        with pytest.raises(ForeignOrigin):
            client.get(f"{api.url}/echo", auth=httpx_auth.OpenFitAuth(origins=[api.url]))

    assert proxy.tokens == [None]


@each_way
def test_a_socks_proxy_gets_no_token(api: Api, ask: Ask) -> None:
    for module in ("socksio", "socks"):
        pytest.importorskip(module, reason="needs httpx[socks] and requests[socks]")
    with socks_proxy() as proxy, pytest.raises(ForeignOrigin):
        ask(api.url, proxy)

    assert api.seen == []


# Who listens


@each_way
@needs_root
def test_another_users_listener_gets_no_token(ask: Ask) -> None:
    with listener_of(EVE) as eve:
        with pytest.raises(ForeignOrigin, match=f"{EVE} .* is at the other end, not root"):
            ask(eve.url)

        assert eve.told == b""


@each_way
@needs_root
@pytest.mark.parametrize("user", [EVE, ANYBODY])
def test_a_user_who_is_named_gets_it(ask: Ask, user: int | str) -> None:
    with listener_of(EVE) as eve:
        assert ask(eve.url, loopback_user=user) == 200
        assert A.encode() in eve.told


@each_way
@needs_root
def test_who_listens_and_never_accepts_gets_nothing(ask: Ask) -> None:
    with listener_of(EVE, manner="never accepts") as eve:
        with pytest.raises(ForeignOrigin, match="nobody accepts the connection"):
            ask(eve.url)

        assert eve.told == b""


@each_way
@needs_root
def test_a_port_that_changes_hands_gives_its_tokens_to_the_right_user_alone(ask: Ask) -> None:
    port, until = free_port(), clock.boot() + PATIENCE
    with (
        listener_of(EVE, port, manner="takes turns") as eve,
        listener_of(os.geteuid(), port, manner="takes turns") as mine,
    ):
        refused = 0
        while min(refused, mine.told.count(A.encode())) < 5 and clock.boot() < until:
            try:
                ask(eve.url)
            except ForeignOrigin:
                refused += 1
            except (httpx.HTTPError, requests.RequestException):
                pass  # it was nobody's turn

        assert A.encode() in mine.told
        assert A.encode() not in eve.told


@needs_root
def test_a_connection_to_another_user_that_is_open_already_gets_no_token() -> None:
    with listener_of(EVE) as eve:
        with httpx.Client() as client:
            client.get(eve.url)
            with pytest.raises(ForeignOrigin):
                client.get(eve.url, auth=httpx_auth.OpenFitAuth(origins=[eve.url]))
        with requests.Session() as session:
            session.get(eve.url)
            with pytest.raises(ForeignOrigin):
                session.get(eve.url, auth=requests_auth.OpenFitAuth(origins=[eve.url]))

        assert eve.told.count(b"GET / ") == 2
        assert A.encode() not in eve.told


@each_way
def test_a_user_who_does_not_exist_can_not_be_named(ask: Ask) -> None:
    with pytest.raises(ValueError, match="there is no user 'nosuchuser'"):
        ask("http://127.0.0.1:9", loopback_user="nosuchuser")


# What the libraries' users see


def test_a_trace_of_the_programs_own_is_told_all_the_same(api: Api) -> None:
    told: list[str] = []

    def trace(event: str, _info: object) -> None:
        told.append(event)

    api.refused = {A}
    with httpx.Client(auth=httpx_auth.OpenFitAuth(origins=[api.url])) as client:
        client.get(f"{api.url}/echo", extensions={"trace": trace})

    assert told.count("http11.send_request_headers.started") == 2  # one is the repeated request's


def test_the_header_of_requests_is_plain_text_that_is_only_encoded_to_be_sent(api: Api) -> None:
    prepared = requests.Request(
        "GET", api.url, auth=requests_auth.OpenFitAuth(origins=[api.url])
    ).prepare()
    header = deepcopy(prepared.copy()).headers["Authorization"]

    assert isinstance(header, str)
    assert header == f"Bearer {A}"
    assert A not in repr(prepared.headers)
    with pytest.raises(ForeignOrigin):
        header.encode()
    assert type(pickle.loads(pickle.dumps(header))) is str  # noqa: S301 -- our own
