"""A fake daemon that does what a test tells it: answer, disconnect, send garbage, or nothing."""

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Self

from openfit_token._client.token import Token
from openfit_token._shared.protocol import (
    MAX_REQUEST,
    Decoder,
    Incomplete,
    encode_error,
    encode_result,
    parse_params,
    parse_request,
)
from openfit_token.errors import TokenError

if TYPE_CHECKING:
    from openfit_token._shared.protocol import Value

PATIENCE = 10.0
"""Seconds a test waits for what must happen; only a failing test waits so long."""


def token_fields(name: str = "a", **changed: object) -> dict[str, object]:
    """Return a token as the daemon answers it. It expires one second after the end of 2029."""
    return {
        "profile": "main",
        "access_token": f"token-{name}",
        "token_type": "Bearer",
        "id": f"id-{name}",
        "scope": "OpenFitApi offline_access",
        "api_url": "https://api.openfit.care",
        "obtained_at": 1893452400.0,
        "expires_at": 1893456000.5,
        "expires_in": 3600.0,
        "refresh_at": 1893455700.0,
        "degraded": None,
    } | changed


def token(name: str = "a", **changed: object) -> Token:
    """Return the token that a client makes of those fields."""
    return Token(token_fields(name, **changed))


class Peer:
    """One connection, as the daemon sees it."""

    def __init__(self, connection: socket.socket, number: int) -> None:
        self.connection = connection
        self.number = number
        """How many connections there were before this one."""

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.connection.sendall(data)

    def hang_up(self) -> None:
        """Close the connection: the client reads its end."""
        self.connection.shutdown(socket.SHUT_RDWR)


class Request:
    """A call that the daemon received, and the ways to answer it."""

    def __init__(self, peer: Peer, msgid: int, method: str, params: Mapping[str, object]) -> None:
        self.peer = peer
        self.msgid = msgid
        self.method = method
        self.params = params

    def result(self, result: object) -> None:
        """Answer with a result."""
        self.peer.send(encode_result(self.msgid, result))

    def error(self, error: TokenError) -> None:
        """Answer with an error."""
        self.peer.send(encode_error(self.msgid, error))


Behaviour = Callable[[Request], None]


def always(result: object) -> Behaviour:
    """Answer each call with the same result."""
    return lambda request: request.result(result)


def each_method(request: Request) -> None:
    """Answer each method with a result of its kind."""
    about: dict[str, object] = {
        "hello": {"pid": 7},
        "status": {"profiles": {}},
        "logout": {},
        "reload": {},
    }
    request.result(about.get(request.method, token_fields()))


def failing(error: TokenError) -> Behaviour:
    """Answer each call with the same error."""
    return lambda request: request.error(error)


def silent(request: Request) -> None:
    """Never answer."""


def dropping(request: Request) -> None:
    """Close the connection instead of answering."""
    request.peer.hang_up()


class FakeDaemon:
    """Listens at `path` while it is entered; `start` and `stop` as often as one likes.

    Each request is given to `behaviour`, which may be exchanged at any time; an item of `script`,
    where there is one, goes first.
    """

    def __init__(self, path: Path, behaviour: Behaviour, *script: Behaviour) -> None:
        self.path = str(path)
        self.behaviour = behaviour
        self.script = list(script)
        self.requests: list[Request] = []
        """All received requests, in order."""
        self.accepted = 0
        """Connections so far."""
        self.closed = threading.Semaphore(0)
        """Released when a client closed a connection."""
        self._arrived = SimpleQueue[Request]()
        """Those that `next_request` has not returned."""
        self._listener: socket.socket | None = None
        self._peers: list[Peer] = []
        self._threads: list[threading.Thread] = []

    @property
    def calls(self) -> list[tuple[str, Mapping[str, object]]]:
        """Method and params of all received requests, in order."""
        return [(request.method, request.params) for request in self.requests]

    def next_request(self) -> Request:
        """Wait for a request and return it. Each is returned only once."""
        try:
            return self._arrived.get(timeout=PATIENCE)
        except Empty:
            raise AssertionError("no request came") from None

    def start(self) -> None:
        """Listen on a new socket."""
        Path(self.path).unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(4096)
        self._spawn(self._accept, self._listener)

    def stop(self) -> None:
        """Close all connections and leave a socket at which nobody listens."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for peer in self._peers:
            with suppress(OSError):  # it may be closed
                peer.hang_up()
        for thread in self._threads:
            thread.join(PATIENCE)
        self._peers.clear()
        self._threads.clear()

    def remove(self) -> None:
        """Stop, and leave no socket."""
        self.stop()
        Path(self.path).unlink()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # stopped
            peer = Peer(connection, self.accepted)
            self.accepted += 1
            self._peers.append(peer)
            self._spawn(self._serve, peer)

    def _serve(self, peer: Peer) -> None:
        decoder = Decoder(MAX_REQUEST)
        with peer.connection:
            try:
                while data := peer.connection.recv(65536):
                    message = decoder.feed(data)
                    while not isinstance(message, Incomplete):
                        self._handle(peer, message)
                        message = decoder.next()
            except OSError:
                pass  # the client left, or this side closed
        self.closed.release()

    def _handle(self, peer: Peer, message: "Value") -> None:
        parsed = parse_request(message)
        assert parsed is not None, "a client sends no notifications"
        msgid, method, params = parsed
        request = Request(peer, msgid, method, parse_params(params))
        self.requests.append(request)
        behaviour = self.script.pop(0) if self.script else self.behaviour
        self._arrived.put(request)
        behaviour(request)
