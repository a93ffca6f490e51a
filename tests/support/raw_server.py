"""A server below HTTP: it handles each connection as a test tells it, with arbitrary bytes."""

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

Behaviour = Callable[[socket.socket, bytes], None]
"""Gets a connection and its request, and may answer. Then the connection is closed."""


class RawServer:
    """Listens on loopback, each connection in its own thread."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[bytes] = []
        """All received requests, in order."""
        self.arrived = threading.Semaphore(0)
        """Released at each request."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._threads: list[threading.Thread] = []

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
            thread = threading.Thread(target=self._take, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _take(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the client may leave at any time
            connection.settimeout(20)
            self.requests.append(_request(connection))
            self.arrived.release()
            self.behaviour(connection, self.requests[-1])


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
def raw_server(behaviour: Behaviour) -> Generator[RawServer]:
    """Run a server with this behaviour."""
    server = RawServer(behaviour)
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

    def leave() -> None:
        with suppress(OSError):  # closed
            while True:
                listener.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=leave)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
