"""What a token server can do with its answers: it harms its own profile, and no other."""

import socket
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import BrokenResourceError
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint

from daemons import profile, running_daemon
from emulators import CLIENT_ID, PASSWORD, SCOPE, USERNAME
from inside import async_await_that, daemon_inside
from openfit_token._shared.secret import Secret
from openfit_tokend.config.passwords import Passwords
from openfit_tokend.core.events import Kind
from openfit_tokend.core.oauth import Failure
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import Login, Refresh
from openfit_tokend.core.settings.values import Identity, Profile
from openfit_tokend.host import clock
from openfit_tokend.keeping import connecting, http_exchange
from openfit_tokend.keeping import endpoint as endpoint_module
from openfit_tokend.keeping.connecting import Route
from openfit_tokend.keeping.endpoint import Endpoint, Order, Reply
from openfit_tokend.keeping.http_exchange import ask
from raw_server import Behaviour, endlessly, raw_server, response, sending, silent

MANY = 10
"""Answers at the same time."""
GRANTED = b'{"access_token": "abc", "refresh_token": "r2", "expires_in": 3600}'
EARLY = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000
ONE_BYTE = b"1\r\n \r\n" * 10_000
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def order(url: str, request: Login | Refresh, *, is_void: bool = False) -> Order:
    identity = Identity(url, CLIENT_ID, SCOPE, USERNAME)
    of = Profile(name="p", environment="custom", identity=identity, api_url=url, policy=Policy())
    password = Secret(PASSWORD) if isinstance(request, Login) else None
    return Order(
        profile=of, request=request, password=password, deadline=0.0, is_void=lambda: is_void
    )


def failure(reply: Reply) -> Failure:
    assert isinstance(reply.meaning, Failure)
    return reply.meaning


def test_no_request_carries_what_an_earlier_answer_set() -> None:
    answer = response("200 OK", GRANTED, "Set-Cookie: name=of-somebody; Path=/")
    with (
        raw_server(sending(answer)) as server,
        running_daemon(profile(server.url, "alice"), profile(server.url, "bob")) as daemon,
    ):
        for name in ("alice", "bob"):
            daemon.call("get_token", profile=name)
            daemon.call("login", profile=name)

        assert len(server.requests) == 4
        assert b"of-somebody" not in b"".join(server.requests)


TOO_MUCH = "the token server's answer is too long, or in too many pieces"


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (endlessly(EARLY), TOO_MUCH),
        (endlessly(ONE_BYTE, CHUNKED), TOO_MUCH),
        (endlessly(b"x: y\r\n" * 1000, b"HTTP/1.1 200 OK\r\n"), "isn't HTTP"),
        (endlessly(b" " * 65536, LARGE), "something that isn't JSON"),
    ],
    ids=["103", "chunks of a byte", "headers", "body"],
)
async def test_an_endless_answer_is_broken_off(behaviour: Behaviour, said: str) -> None:
    with raw_server(behaviour) as server:
        reply = await Endpoint(Passwords()).request(order(server.url, Login()))

    assert failure(reply).kind is Kind.UNCERTAIN
    assert said in failure(reply).message


class Ready(ByteStream):
    """A connection over which all has come already, as within TLS: reading it never waits."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._own, self._other = socket.socketpair()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {SocketAttribute.raw_socket: lambda: self._own}

    async def receive(self, max_bytes: int = 65536) -> bytes:
        received, self._data = self._data[:max_bytes], self._data[max_bytes:]
        return received

    async def send(self, item: bytes) -> None:
        pass

    async def send_eof(self) -> None:
        pass

    async def aclose(self) -> None:
        self._own.close()
        self._other.close()


class Breaking(Ready):
    """A connection that lets so many writes through, and breaks where there is nothing to read."""

    def __init__(self, data: bytes, writes: int) -> None:
        super().__init__(data)
        self._writes = writes

    async def receive(self, max_bytes: int = 65536) -> bytes:
        received = await super().receive(max_bytes)
        if not received:
            raise BrokenResourceError
        return received

    async def send(self, item: bytes) -> None:
        self._writes -= 1
        if self._writes < 0:
            raise BrokenResourceError
        await super().send(item)


@pytest.mark.parametrize(
    ("writes", "answer", "kind"),
    [
        (0, b"", Kind.UNSENT),
        (1, b"", Kind.UNCERTAIN),
        (2, b"", Kind.UNCERTAIN),
        (1, response("200 OK", GRANTED), None),
    ],
    ids=["nothing", "headers", "all", "headers, and an answer"],
)
async def test_a_form_counts_as_sent_as_soon_as_its_headers_were(
    writes: int, answer: bytes, kind: Kind | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect_tcp(_host: str, _port: int) -> Breaking:
        return Breaking(answer, writes)

    monkeypatch.setattr(anyio, "connect_tcp", connect_tcp)

    reply = await Endpoint(Passwords()).request(order("http://localhost", Login()))

    assert (reply.meaning.kind if isinstance(reply.meaning, Failure) else None) is kind


async def test_others_have_their_turn_after_each_kilobyte_of_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns, early = 0, 5 * EARLY

    async def connect_tcp(_host: str, _port: int) -> Ready:
        return Ready(early + response("200 OK", GRANTED))

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    monkeypatch.setattr(anyio, "connect_tcp", connect_tcp)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take_turns)
        answer = await ask(Route("http://localhost", None, None), "POST", b"form")
        assert (answer.status, answer.body) == (200, GRANTED)
        tasks.cancel_scope.cancel()

    assert turns >= len(early) / connecting.PIECE - 1  # who comes first at the beginning is open


async def test_of_many_answers_in_tiny_parts_one_piece_is_parsed_before_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turn, parsed, read = 0, list[int](), connecting._Stream.read  # pyright: ignore[reportPrivateUsage] -- what is parsed next

    async def connect_tcp(_host: str, _port: int) -> Ready:
        return Ready(CHUNKED + ONE_BYTE[:6000] + b"0\r\n\r\n")

    async def noting(stream: connecting._Stream, size: int, **_: object) -> bytes:  # pyright: ignore[reportPrivateUsage] -- same
        piece = await read(stream, size)
        parsed.append(turn)
        return piece

    async def take_turns() -> None:
        nonlocal turn
        while True:
            await checkpoint()
            turn += 1

    monkeypatch.setattr(anyio, "connect_tcp", connect_tcp)
    monkeypatch.setattr(connecting._Stream, "read", noting)  # pyright: ignore[reportPrivateUsage] -- same
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take_turns)
        async with anyio.create_task_group() as asking:
            for _ in range(MANY):
                route = Route("http://localhost", None, None)
                asking.start_soon(ask, route, "POST", b"form")
        tasks.cancel_scope.cancel()

    assert len(parsed) > 20 * MANY
    assert max(Counter(parsed).values()) == 1


async def test_an_answer_in_more_pieces_than_a_token_needs_is_broken_off() -> None:
    def drip(connection: socket.socket, _: bytes) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        endlessly(b" ", b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")(connection, b"")

    with raw_server(drip) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(connecting, "MAX_READS", 20)
        with anyio.fail_after(30):
            reply = await Endpoint(Passwords()).request(order(server.url, Login()))

    assert failure(reply).message == TOO_MUCH


async def test_a_server_that_never_agrees_on_tls_is_given_up_and_costs_no_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_exchange, "CONNECT_TIMEOUT", 0.3)
    with raw_server(silent) as server:
        async with daemon_inside(
            tmp_path, profile(server.url.replace("http:", "https:"))
        ) as daemon:
            await async_await_that(lambda: "login_failed" in daemon.log(), daemon.log)

            assert "no connection within" in daemon.log()
            assert (await daemon.profile_status())["logins_left"] == 3


async def test_a_proxy_that_never_answers_is_given_up_and_costs_no_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_exchange, "CONNECT_TIMEOUT", 0.3)
    with raw_server(silent) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        async with daemon_inside(tmp_path, profile("https://ids.example.org")) as daemon:
            await async_await_that(lambda: "login_failed" in daemon.log(), daemon.log)

            assert "check HTTPS_PROXY" in daemon.log()
            assert (await daemon.profile_status())["logins_left"] == 3


async def test_a_revocation_that_is_never_answered_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoint_module, "REVOKE_TIMEOUT", 0.3)
    with raw_server(silent) as server:
        before = clock.boot()
        await Endpoint(Passwords()).revoke(order(server.url, Login()).profile, Secret("r1"))

        assert clock.boot() - before < 10
        assert b"token=r1" in server.requests[0]


async def test_a_request_that_nobody_waits_for_any_more_is_not_sent() -> None:
    with raw_server(sending(response("200 OK", GRANTED))) as server:
        reply = await Endpoint(Passwords()).request(
            order(server.url, Refresh(Secret("r1")), is_void=True)
        )

        assert server.requests == []
    assert failure(reply).kind is Kind.UNSENT
