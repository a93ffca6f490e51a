"""A raw HTTP connection to a Unix socket: what is sent is in the test's hands, h11 reads the answers."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

import h11

from daemons import Fields, RunningDaemon, connected_to, prepared_daemon


class HttpAnswer(NamedTuple):
    """One answer. The names of its fields are lower case."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def json(self) -> Fields:
        """Return the body's JSON."""
        value: Fields = json.loads(self.body)
        return value


def http_request(method: str, target: str, *fields: str, body: bytes = b"") -> bytes:
    """Return the bytes of a request; `fields`: lines of the header."""
    length = (f"Content-Length: {len(body)}",) if body else ()
    head = (f"{method} {target} HTTP/1.1", "Host: localhost", *fields, *length, "", "")
    return "\r\n".join(head).encode("latin-1") + body


class HttpWire:
    """A connection."""

    def __init__(self, path: Path) -> None:
        self.socket = connected_to(path)
        self._left = b""
        self.interim = 0
        """Answers with a status of 1xx that came before others."""

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def ask(self, method: str, target: str, *fields: str, body: bytes = b"") -> HttpAnswer:
        """Send a request, and return its answer."""
        self.send(http_request(method, target, *fields, body=body))
        return self.answer(method)

    def answer(self, method: str = "GET") -> HttpAnswer:
        """Return the next answer, to a request of this method.

        Raises:
            EOFError: the connection was closed instead.
        """
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method=method, target="/", headers=[("Host", "localhost")]))
        reader.send(h11.EndOfMessage())
        if self._left:
            reader.receive_data(self._left)
        response: h11.Response | None = None
        body = b""
        while True:
            event = reader.next_event()
            if event is h11.NEED_DATA:
                data = self.socket.recv(65536)
                if not data and response is None:
                    raise EOFError
                reader.receive_data(data)
            elif isinstance(event, h11.InformationalResponse):
                self.interim += 1
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                break
        assert response is not None
        assert isinstance(event, h11.EndOfMessage)
        self._left = reader.trailing_data[0]
        fields = {name.decode(): value.decode("latin-1") for name, value in response.headers}
        return HttpAnswer(response.status_code, fields, body)

    def is_closed(self) -> bool:
        """Wait until the daemon has closed the connection; False: it says something more."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def http_daemon(*tables: str, mode: str = "0600", first: str = "") -> Generator[RunningDaemon]:
    """Run a daemon with an HTTP socket beside the other. `first`: as `RunningDaemon.start` takes it."""
    with prepared_daemon() as daemon:
        daemon.write_config(f'http_socket = "{place(daemon)}"', f'socket_mode = "{mode}"', *tables)
        daemon.start(first=first)
        yield daemon


def place(daemon: RunningDaemon) -> Path:
    """Return where a daemon's HTTP socket is."""
    return daemon.directory / "run" / "http.socket"


def wire_of(daemon: RunningDaemon) -> HttpWire:
    """Return a connection to a daemon's HTTP socket."""
    return HttpWire(place(daemon))
