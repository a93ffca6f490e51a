"""TokenClient, AsyncTokenClient on asyncio and on trio, and get_token, against daemons of all kinds."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from struct import pack
from typing import cast

import anyio
import pytest
from anyio import to_thread
from anyio.from_thread import start_blocking_portal

from fake_daemon import (
    PATIENCE,
    FakeDaemon,
    Peer,
    Request,
    always,
    dropping,
    each_method,
    failing,
    silent,
    token,
    token_fields,
)
from openfit_token import AsyncTokenClient, Token, TokenClient, get_token
from openfit_token._shared.protocol import encode_error, encode_result
from openfit_token.errors import (
    BadRequest,
    DaemonUnreachable,
    NoSuchProfile,
    NotAllowed,
    ProtocolViolation,
    Stopping,
    TokenError,
)
from waited import Waited


@pytest.fixture(params=["blocking", "asyncio", "trio"])
def client(request: pytest.FixtureRequest, place: Path) -> Iterator[TokenClient]:
    """A client of the daemon that a test runs; the async one has the blocking one's methods."""
    path = str(place / "s")
    if request.param == "blocking":
        with TokenClient("main", path) as blocking:
            yield blocking
    else:
        with start_blocking_portal(request.param) as portal:
            client = cast("TokenClient", Waited(portal, AsyncTokenClient("main", path)))
            yield client
            client.close()


def send_instead(answer: bytes, request: Request) -> None:
    """Send these bytes as they are."""
    request.peer.send(answer)


def test_get_token_gives_the_daemons_token(daemon: FakeDaemon) -> None:
    got = get_token("main", min_ttl=60, wait=2.0, socket=daemon.path)

    assert (got, got.expires_at) == (token(), 1893456000.5)
    assert daemon.calls == [("get_token", {"profile": "main", "min_ttl": 60, "wait": 2.0})]


def test_what_isnt_given_is_left_out(daemon: FakeDaemon) -> None:
    get_token(socket=daemon.path)

    assert daemon.calls == [("get_token", {"wait": 30.0})]


def test_each_method_sends_its_call_and_gives_its_answer(
    daemon: FakeDaemon, client: TokenClient
) -> None:
    daemon.behaviour = each_method
    tokens = [
        client.get_token(min_ttl=60, wait=2.0),
        client.refuse("0123", wait=1.0),
        client.refuse(token("b")),
        client.refresh(wait=2.0),
        client.login(),
        client.login("secret", wait=3.0),
    ]
    client.logout()
    client.reload()
    about = [client.hello(), client.status()]

    assert tokens == [token()] * 6
    assert about == [{"pid": 7}, {"profiles": {}}]
    assert daemon.calls == [
        ("get_token", {"profile": "main", "min_ttl": 60, "wait": 2.0}),
        ("refuse", {"profile": "main", "id": "0123", "wait": 1.0}),
        ("refuse", {"profile": "main", "id": "id-b", "wait": 30.0}),
        ("refresh", {"profile": "main", "wait": 2.0}),
        ("login", {"profile": "main", "wait": 30.0}),
        ("login", {"profile": "main", "password": "secret", "wait": 3.0}),
        ("logout", {"profile": "main"}),
        ("reload", {}),
        ("hello", {}),
        ("status", {"profile": "main"}),
    ]


UNSENDABLE: dict[str, Callable[[str], object]] = {
    "a profile": lambda path: get_token("\udcff", socket=path),
    "a number": lambda path: get_token(min_ttl=2**70, socket=path),
    "a refused token": lambda path: TokenClient(socket=path).refuse("\udcff"),
    "a password": lambda path: TokenClient(socket=path).login("\udcff"),
    "whose changes": lambda path: next(TokenClient("\udcff", path).changes()),
}


@pytest.mark.parametrize("call", UNSENDABLE.values(), ids=list(UNSENDABLE))
def test_what_cant_be_sent_is_a_bad_request_and_the_daemon_isnt_asked(
    call: Callable[[str], object], daemon: FakeDaemon
) -> None:
    with pytest.raises(BadRequest, match="can't be sent"):
        call(daemon.path)

    get_token(socket=daemon.path)

    assert [method for method, _ in daemon.calls] == ["get_token"]


def test_the_connection_is_kept_also_after_an_error_the_daemon_answered(
    daemon: FakeDaemon, client: TokenClient
) -> None:
    answered = NoSuchProfile("there is no profile x", "you may use: main")
    daemon.script = [failing(answered)]
    with pytest.raises(NoSuchProfile) as caught:
        client.get_token()
    client.get_token()
    client.get_token()

    assert caught.value.args == answered.args
    assert daemon.accepted == 1


def test_a_closed_client_still_works_but_keeps_no_connection(
    daemon: FakeDaemon, client: TokenClient
) -> None:
    client.close()
    client.get_token()
    client.get_token()

    assert daemon.closed.acquire(timeout=PATIENCE)
    assert daemon.closed.acquire(timeout=PATIENCE)
    assert daemon.accepted == 2


@pytest.mark.parametrize("method", ["get_token", "login"])
def test_a_restart_between_two_calls_goes_unnoticed(
    daemon: FakeDaemon, client: TokenClient, method: str
) -> None:
    """Also before an operator's order, which is never sent twice."""
    client.get_token()
    daemon.stop()
    daemon.start()

    assert getattr(client, method)(wait=0) == token()
    assert [each for each, _ in daemon.calls] == ["get_token", method]


def test_a_restart_is_waited_for(daemon: FakeDaemon, client: TokenClient) -> None:
    client.get_token()
    daemon.remove()
    with ThreadPoolExecutor(1) as other:
        got = other.submit(client.get_token)
        daemon.start()

        assert got.result(PATIENCE) == token()


def test_a_call_whose_connection_is_lost_is_sent_again_with_the_wait_that_is_left(
    daemon: FakeDaemon, client: TokenClient
) -> None:
    daemon.script = [dropping, failing(Stopping("the daemon is shutting down")), dropping]
    assert client.get_token(wait=5.0) == token()

    first, *later = [params["wait"] for _, params in daemon.calls]
    assert first == 5.0
    assert len(later) == 3
    assert all(isinstance(wait, float) and 0 < wait < 5.0 for wait in later)


@pytest.mark.parametrize("method", ["login", "logout", "reload"])
def test_an_operators_order_is_never_sent_twice(
    daemon: FakeDaemon, client: TokenClient, method: str
) -> None:
    daemon.behaviour = dropping
    with pytest.raises(DaemonUnreachable) as caught:
        getattr(client, method)()

    assert caught.value.hint == f"it isn't known whether the {method} was done"
    assert len(daemon.requests) == 1


def test_stopping_ends_an_operators_order(daemon: FakeDaemon, client: TokenClient) -> None:
    daemon.behaviour = failing(Stopping("the daemon is shutting down"))
    with pytest.raises(Stopping):
        client.login()

    assert len(daemon.requests) == 1


def test_a_silent_daemon_is_left_a_few_seconds_after_the_wait(
    daemon: FakeDaemon, client: TokenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openfit_token._client.connection._GRACE", 0.05)
    daemon.behaviour = silent
    with pytest.raises(DaemonUnreachable, match="the daemon doesn't answer"):
        client.get_token(wait=0)

    assert len(daemon.requests) == 1


def test_a_slow_answer_in_pieces_is_read_whole(daemon: FakeDaemon, client: TokenClient) -> None:
    def in_pieces(request: Request) -> None:
        for byte in encode_result(request.msgid, token_fields()):
            request.peer.send(bytes([byte]))

    daemon.behaviour = in_pieces

    assert client.get_token() == token()


def test_a_large_status_is_read_whole(daemon: FakeDaemon, client: TokenClient) -> None:
    status: dict[str, object] = {
        "profiles": {f"profile-{n}": {"state": "x" * 900} for n in range(1000)}
    }
    daemon.behaviour = always(status)

    assert client.status() == status


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "breaks the protocol"),
        (b"\xc1", "breaks the protocol: not MessagePack"),
        (b"\x2a", "breaks the protocol"),
        (encode_result(4711, {}), "answered a call that wasn't made"),
        (encode_result(1, token_fields()) * 2, "answered more than one call"),
        (encode_result(1, ["token"]), "is not a map"),
        (encode_result(1, {"access_token": "a"}), "is not a token: profile is not plain text"),
        (encode_result(1, token_fields(expires_at="soon")), "expires_at is not a number"),
        (encode_result(1, token_fields(expires_at=float("inf"))), "expires_at is not a number"),
        (encode_result(1, token_fields(degraded="yes")), "degraded is not an error"),
        (encode_result(1, token_fields(access_token="")), "doesn't fit into an HTTP header"),
        (
            encode_result(1, token_fields(access_token="a\r\nHost: evil")),
            "access_token is not plain text",
        ),
    ],
)
def test_what_isnt_the_protocol_is_a_violation(
    daemon: FakeDaemon, client: TokenClient, answer: bytes, complaint: str
) -> None:
    daemon.behaviour = partial(send_instead, answer)
    with pytest.raises(ProtocolViolation, match=complaint):
        client.get_token()

    daemon.behaviour = always(token_fields())
    assert client.get_token() == token(), "nothing of it is left"


def test_an_error_for_no_call_is_the_answer_also_if_the_daemon_hung_up_before_it_was_asked(
    place: Path, client: TokenClient
) -> None:
    """A daemon with too many connections answers at once, and closes."""

    class Rejecting(FakeDaemon):
        def _serve(self, peer: Peer) -> None:
            with peer.connection:
                peer.send(encode_error(0, NotAllowed("too many connections")))

    with (
        Rejecting(place / "s", silent),
        pytest.raises(NotAllowed, match="too many connections"),
    ):
        client.get_token()


def test_a_daemon_that_accepts_nobody_is_left_a_few_seconds_after_the_wait(
    place: Path, client: TokenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that is stopped lets its queue fill up; then the kernel refuses at once."""
    monkeypatch.setattr("openfit_token._client.connection._GRACE", 0.05)
    monkeypatch.setattr("openfit_token._client.paths._IN_LINE", pack("ll", 0, 50_000))
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(place / "s"))
        listener.listen(0)
        first.connect(str(place / "s"))

        with pytest.raises(DaemonUnreachable, match="accepts no more connections"):
            client.get_token(wait=0)


def test_a_long_call_holds_up_no_other(daemon: FakeDaemon, client: TokenClient) -> None:
    daemon.behaviour, daemon.script = always(token_fields("b")), [silent]
    with ThreadPoolExecutor() as threads:
        long = threads.submit(client.get_token)
        parked = daemon.next_request()

        assert client.get_token() == token("b")

        parked.result(token_fields("a"))
        assert long.result(PATIENCE) == token("a")


def test_fifty_callers_share_a_client(daemon: FakeDaemon, client: TokenClient) -> None:
    def echo(request: Request) -> None:
        request.result(token_fields(str(request.params["id"])))

    daemon.behaviour = echo
    names = [str(number) for number in range(200)]
    with ThreadPoolExecutor(50) as threads:
        got = list(threads.map(client.refuse, names))

    assert got == [token(name) for name in names]
    for _ in range(daemon.accepted - 8):
        assert daemon.closed.acquire(timeout=PATIENCE), "a few connections are kept"


async def test_a_cancelled_call_closes_its_connection_and_harms_no_other(
    daemon: FakeDaemon,
) -> None:
    got: list[Token] = []
    cancelled = anyio.CancelScope()
    daemon.behaviour, daemon.script = always(token_fields("b")), [silent, silent]
    async with (
        AsyncTokenClient(socket=daemon.path) as client,
        anyio.create_task_group() as tasks,
    ):

        async def stay() -> None:
            got.append(await client.get_token())

        async def leave() -> None:
            with cancelled:
                await client.get_token()

        tasks.start_soon(stay)
        staying = await to_thread.run_sync(daemon.next_request)
        tasks.start_soon(leave)
        await to_thread.run_sync(daemon.next_request)
        cancelled.cancel()
        assert await to_thread.run_sync(lambda: daemon.closed.acquire(timeout=PATIENCE))

        assert await client.get_token() == token("b")
        staying.result(token_fields("a"))

    assert got == [token("a")]
    assert cancelled.cancelled_caught


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # the point of it
def test_a_forked_child_uses_no_connection_of_its_parent(daemon: FakeDaemon) -> None:
    with TokenClient(socket=daemon.path) as client:
        client.get_token()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if client.get_token() == token() else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

        client.get_token()

    assert [request.peer.number for request in daemon.requests] == [0, 1, 0]


def test_ctrl_c_in_a_call_leaves_the_client_usable(daemon: FakeDaemon) -> None:
    def interrupt(_: Request) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    daemon.script = [interrupt]
    with TokenClient(socket=daemon.path) as client:
        with pytest.raises(KeyboardInterrupt):
            client.get_token()

        assert client.get_token() == token()
    assert [request.peer.number for request in daemon.requests] == [0, 1]


def test_what_the_daemon_refuses_is_refused_by_the_daemon_alone(
    daemon: FakeDaemon, client: TokenClient
) -> None:
    daemon.behaviour = failing(TokenError("wait is at most 300"))
    for wait in (-1.0, 301.0, float("inf"), float("nan")):
        with pytest.raises(TokenError, match="wait is at most 300"):
            client.get_token(wait=wait)

    assert len(daemon.requests) == 4


def test_a_password_shows_in_no_traceback(daemon: FakeDaemon, client: TokenClient) -> None:
    daemon.behaviour = dropping
    with pytest.raises(DaemonUnreachable) as caught:
        client.login("hunter2")

    assert "hunter2" not in repr(caught.value) + repr(caught.value.__cause__)
