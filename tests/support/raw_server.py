"""A server below HTTP: it handles each connection as a test tells it, with arbitrary bytes."""

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

Behaviour = Callable[[socket.socket, bytes], None]
"""Gets a connection and its request, and may answer. Then the connection is closed."""


class RawServer:
    """Listens on loopback, each connection in its own thread. `reads`: a request, before it behaves."""

    def __init__(self, behaviour: Behaviour, *, reads: bool = True) -> None:
        self.behaviour = behaviour
        self.requests: list[bytes] = []
        """All received requests, in order."""
        self.arrived = threading.Semaphore(0)
        """Released at each request."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._reads = reads

    @property
    def url(self) -> str:
        """Return its URL."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        """Accept until it is closed."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._take, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _take(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the client may leave at any time
            connection.settimeout(20)
            request = _request(connection) if self._reads else b""
            self.requests.append(request)
            self.arrived.release()
            self.behaviour(connection, request)


def _request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(65536)
        if not data:
            return received
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length and (data := connection.recv(65536)):
        body += data
    return head + b"\r\n\r\n" + body


@contextmanager
def raw_server(behaviour: Behaviour, *, reads: bool = True) -> Generator[RawServer]:
    """Run a server with this behaviour."""
    server = RawServer(behaviour, reads=reads)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


def sending(answer: bytes) -> Behaviour:
    """Send these bytes and close."""
    return lambda connection, _: connection.sendall(answer)


def response(status: str, body: bytes = b"", *headers: str) -> bytes:
    """Return the bytes of an HTTP response."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def endlessly(part: bytes, first: bytes = b"") -> Behaviour:
    """Send a part again and again until the client has enough."""

    def send(connection: socket.socket, _: bytes) -> None:
        connection.sendall(first)
        with suppress(OSError):
            while True:
                connection.sendall(part)

    return send


def silent(connection: socket.socket, _: bytes) -> None:
    """Wait until the client leaves."""
    connection.recv(1)


@contextmanager
def server_that_hangs_up() -> Generator[str]:
    """Run a server that disconnects during the TLS handshake, and return its URL."""
    with raw_server(lambda _connection, _request: None, reads=False) as server:
        yield server.url.replace("http:", "https:")
