"""TokenClient and get_token, against daemons of all kinds."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

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
from openfit_token import TokenClient, get_token
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


def test_get_token_gives_the_daemons_token(place: Path) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        got = get_token("main", min_ttl=60, wait=2.0, socket=daemon.path)

    assert (got, got.expires_at) == (token(), 1893456000.5)
    assert daemon.calls == [("get_token", {"profile": "main", "min_ttl": 60, "wait": 2.0})]


def test_what_isnt_given_is_left_out(place: Path) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        get_token(socket=daemon.path)

    assert daemon.calls == [("get_token", {"wait": 30.0})]


def test_each_method_sends_its_call_and_gives_its_answer(place: Path) -> None:
    with (
        FakeDaemon(place / "s", each_method) as daemon,
        TokenClient("main", daemon.path) as client,
    ):
        tokens = [
            client.refuse("0123", wait=1.0),
            client.refuse(token("b")),
            client.refresh(wait=2.0),
            client.login(),
            client.login("secret", wait=3.0),
        ]
        client.logout()
        client.reload()
        about = [client.hello(), client.status()]

    assert tokens == [token()] * 5
    assert about == [{"pid": 7}, {"profiles": {}}]
    assert daemon.calls == [
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
    call: Callable[[str], object], place: Path
) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        with pytest.raises(BadRequest, match="can't be sent"):
            call(daemon.path)

        get_token(socket=daemon.path)

    assert [method for method, _ in daemon.calls] == ["get_token"]


def test_the_connection_is_kept(place: Path) -> None:
    with (
        FakeDaemon(place / "s", always(token_fields())) as daemon,
        TokenClient(socket=daemon.path) as client,
    ):
        for _ in range(3):
            client.get_token()

    assert daemon.accepted == 1


def test_the_connection_is_kept_after_an_error_the_daemon_answered(place: Path) -> None:
    answered = NoSuchProfile("there is no profile x", "you may use: main")
    with (
        FakeDaemon(place / "s", always(token_fields()), failing(answered)) as daemon,
        TokenClient(socket=daemon.path) as client,
    ):
        with pytest.raises(NoSuchProfile) as caught:
            client.get_token()
        client.get_token()

    assert caught.value.args == answered.args
    assert daemon.accepted == 1


def test_a_closed_client_still_works_but_keeps_no_connection(place: Path) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        client = TokenClient(socket=daemon.path)
        client.close()
        client.get_token()
        client.get_token()

        assert daemon.closed.acquire(timeout=PATIENCE)
        assert daemon.closed.acquire(timeout=PATIENCE)
    assert daemon.accepted == 2


def test_a_restart_between_two_calls_goes_unnoticed(place: Path) -> None:
    with (
        FakeDaemon(place / "s", always(token_fields())) as daemon,
        TokenClient(socket=daemon.path) as client,
    ):
        client.get_token()
        daemon.stop()
        daemon.start()

        assert client.get_token(wait=0) == token()


def test_a_restart_is_waited_for(place: Path) -> None:
    with (
        FakeDaemon(place / "s", always(token_fields())) as daemon,
        TokenClient(socket=daemon.path) as client,
    ):
        client.get_token()
        daemon.remove()
        back = threading.Timer(0.2, daemon.start)
        back.start()

        assert client.get_token() == token()
        back.join()


def test_a_call_whose_connection_is_lost_is_sent_again_with_the_wait_that_is_left(
    place: Path,
) -> None:
    with FakeDaemon(place / "s", always(token_fields()), dropping, dropping) as daemon:
        assert get_token(wait=5.0, socket=daemon.path) == token()

    first, *later = [params["wait"] for _, params in daemon.calls]
    assert first == 5.0
    assert len(later) == 2
    assert all(isinstance(wait, float) and 0 < wait < 5.0 for wait in later)


def test_a_stopping_daemon_is_asked_again(place: Path) -> None:
    with FakeDaemon(
        place / "s", always(token_fields()), failing(Stopping("the daemon is shutting down"))
    ) as daemon:
        assert get_token(socket=daemon.path) == token()


def test_a_daemon_that_always_drops_is_left_when_the_wait_is_over(place: Path) -> None:
    with (
        FakeDaemon(place / "s", dropping) as daemon,
        pytest.raises(DaemonUnreachable, match="closed the connection before it answered"),
    ):
        get_token(wait=0.1, socket=daemon.path)

    assert len(daemon.requests) > 2


def test_even_without_a_wait_a_lost_call_is_sent_once_more(place: Path) -> None:
    with (
        FakeDaemon(place / "s", dropping) as daemon,
        pytest.raises(DaemonUnreachable),
    ):
        get_token(wait=0, socket=daemon.path)

    assert len(daemon.requests) == 2


@pytest.mark.parametrize("method", ["login", "logout", "reload"])
def test_an_operators_order_is_never_sent_twice(place: Path, method: str) -> None:
    with (
        FakeDaemon(place / "s", dropping) as daemon,
        TokenClient(socket=daemon.path) as client,
        pytest.raises(DaemonUnreachable) as caught,
    ):
        getattr(client, method)()

    assert caught.value.hint == f"it isn't known whether the {method} was done"
    assert len(daemon.requests) == 1


def test_an_operators_order_survives_a_restart_before_it(place: Path) -> None:
    with (
        FakeDaemon(place / "s", always(token_fields())) as daemon,
        TokenClient(socket=daemon.path) as client,
    ):
        client.get_token()
        daemon.stop()
        daemon.start()

        assert client.login() == token()
    assert [method for method, _ in daemon.calls] == ["get_token", "login"]


def test_stopping_ends_an_operators_order(place: Path) -> None:
    with (
        FakeDaemon(place / "s", failing(Stopping("the daemon is shutting down"))) as daemon,
        TokenClient(socket=daemon.path) as client,
        pytest.raises(Stopping),
    ):
        client.login()

    assert len(daemon.requests) == 1


def test_a_daemon_that_never_was_there_is_not_waited_for(place: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="no daemon: there is no "):
        get_token(wait=300, socket=str(place / "s"))


def test_after_a_wait_in_vain_the_next_call_fails_at_once(place: Path) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        client = TokenClient(socket=daemon.path)
        client.get_token()
    with pytest.raises(DaemonUnreachable):
        client.get_token(wait=0.1)

    with pytest.raises(DaemonUnreachable, match="it isn't running"):
        client.get_token(wait=300)


def test_a_silent_daemon_is_left_a_few_seconds_after_the_wait(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openfit_token._client.connection._GRACE", 0.05)
    with (
        FakeDaemon(place / "s", silent) as daemon,
        pytest.raises(DaemonUnreachable, match="the daemon doesn't answer"),
    ):
        get_token(wait=0, socket=daemon.path)

    assert len(daemon.requests) == 1


def test_a_slow_answer_in_pieces_is_read_whole(place: Path) -> None:
    def in_pieces(request: Request) -> None:
        for byte in encode_result(request.msgid, token_fields()):
            request.peer.send(bytes([byte]))

    with FakeDaemon(place / "s", in_pieces) as daemon:
        assert get_token(socket=daemon.path) == token()


def test_a_large_status_is_read_whole(place: Path) -> None:
    status: dict[str, object] = {
        "profiles": {f"profile-{n}": {"state": "x" * 900} for n in range(1000)}
    }
    with (
        FakeDaemon(place / "s", always(status)) as daemon,
        TokenClient(socket=daemon.path) as client,
    ):
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
def test_what_isnt_the_protocol_is_a_violation(place: Path, answer: bytes, complaint: str) -> None:
    with (
        FakeDaemon(place / "s", lambda request: request.peer.send(answer)) as daemon,
        pytest.raises(ProtocolViolation, match=complaint),
    ):
        get_token(socket=daemon.path)

    assert daemon.closed.acquire(timeout=PATIENCE), "the connection is given up"


def test_an_error_for_no_call_is_taken_as_the_answer(place: Path) -> None:
    def refuse(request: Request) -> None:
        request.peer.send(encode_error(0, NotAllowed("too many connections")))

    with (
        FakeDaemon(place / "s", refuse) as daemon,
        pytest.raises(NotAllowed, match="too many connections"),
    ):
        get_token(socket=daemon.path)


def test_what_the_daemon_said_before_it_hung_up_is_read(place: Path) -> None:
    """A daemon with too many connections answers at once, and closes."""

    class Rejecting(FakeDaemon):
        def _serve(self, peer: Peer) -> None:
            with peer.connection:
                peer.send(encode_error(0, NotAllowed("too many connections")))

    with (
        Rejecting(place / "s", silent) as daemon,
        pytest.raises(NotAllowed, match="too many connections"),
    ):
        get_token(socket=daemon.path)


def test_a_daemon_that_accepts_nobody_is_left_a_few_seconds_after_the_wait(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that is stopped lets its queue fill up; then the kernel refuses at once."""
    monkeypatch.setattr("openfit_token._client.connection._GRACE", 0.05)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(place / "s"))
        listener.listen(0)
        first.connect(str(place / "s"))

        with pytest.raises(DaemonUnreachable, match="accepts no more connections"):
            get_token(wait=0, socket=str(place / "s"))


def test_a_long_call_holds_up_no_other_thread(place: Path) -> None:
    with (
        FakeDaemon(place / "s", always(token_fields("b")), silent) as daemon,
        TokenClient(socket=daemon.path) as client,
        ThreadPoolExecutor() as threads,
    ):
        long = threads.submit(client.get_token)
        parked = daemon.next_request()

        assert client.get_token() == token("b")

        parked.result(token_fields("a"))
        assert long.result(PATIENCE) == token("a")


def test_fifty_threads_share_a_client(place: Path) -> None:
    def echo(request: Request) -> None:
        request.result(token_fields(str(request.params["id"])))

    with (
        FakeDaemon(place / "s", echo) as daemon,
        TokenClient(socket=daemon.path) as client,
        ThreadPoolExecutor(50) as threads,
    ):
        names = [str(number) for number in range(1000)]
        got = list(threads.map(client.refuse, names))

        assert got == [token(name) for name in names]
        for _ in range(daemon.accepted - 8):
            assert daemon.closed.acquire(timeout=PATIENCE), "a few connections are kept"


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # the point of it
def test_a_forked_child_uses_no_connection_of_its_parent(place: Path) -> None:
    with (
        FakeDaemon(place / "s", always(token_fields())) as daemon,
        TokenClient(socket=daemon.path) as client,
    ):
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


def test_ctrl_c_in_a_call_leaves_the_client_usable(place: Path) -> None:
    def interrupt(_: Request) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with (
        FakeDaemon(place / "s", always(token_fields("b")), interrupt) as daemon,
        TokenClient(socket=daemon.path) as client,
    ):
        with pytest.raises(KeyboardInterrupt):
            client.get_token()

        assert client.get_token() == token("b")
    assert [request.peer.number for request in daemon.requests] == [0, 1]


def test_what_the_daemon_refuses_is_refused_by_the_daemon_alone(place: Path) -> None:
    answered = TokenError("wait is at most 300")
    with FakeDaemon(place / "s", failing(answered)) as daemon:
        for wait in (-1.0, 301.0, float("inf"), float("nan")):
            with pytest.raises(TokenError, match="wait is at most 300"):
                get_token(wait=wait, socket=daemon.path)

    assert len(daemon.requests) == 4


def test_a_password_shows_in_no_traceback(place: Path) -> None:
    with (
        FakeDaemon(place / "s", dropping) as daemon,
        TokenClient(socket=daemon.path) as client,
        pytest.raises(DaemonUnreachable) as caught,
    ):
        client.login("hunter2")

    assert "hunter2" not in repr(caught.value) + repr(caught.value.__cause__)
