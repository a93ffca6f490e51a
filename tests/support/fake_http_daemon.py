"""A fake daemon that speaks HTTP at a Unix socket: it answers each request with the bytes it is given."""

import json
import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from fake_daemon import token_fields


def granted(token: Mapping[str, object], *, body: bool = True) -> bytes:
    """Return an answer that hands out a token: in header fields, as to forward-auth, and as JSON."""
    told = json.dumps(token).encode() if body else b""
    head = (
        "HTTP/1.1 200 OK",
        "Cache-Control: no-store",
        f"Content-Length: {len(told)}",
        f"Authorization: Bearer {token['access_token']}",
        f"X-OpenFit-Token-Id: {token['id']}",
    )
    return "\r\n".join([*head, "", ""]).encode() + told


GRANTED: Final = granted(token_fields(), body=False)
"""What forward-auth is answered."""


def problem(status: int) -> bytes:
    """Return an error as the daemon answers it."""
    body = b'{"code": "SOMETHING"}\n'
    head = f"HTTP/1.1 {status} Error\r\nRetry-After: 7\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class FakeHttpDaemon:
    """A context manager. No request has a body."""

    def __init__(self, path: Path, answer: bytes = GRANTED) -> None:
        self.answer = answer
        self.first: list[bytes] = []
        """Answers to the first requests. An empty one closes the connection instead."""
        self.requests: list[bytes] = []
        """All received requests, in order."""
        self.connections = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(path))
        self._listener.listen(128)
        self._open: list[socket.socket] = []

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            received = bytearray()
            while data := connection.recv(65536):
                received += data
                while (end := received.find(b"\r\n\r\n")) >= 0:
                    self.requests.append(bytes(received[: end + 4]))
                    del received[: end + 4]
                    answer = self.first.pop(0) if self.first else self.answer
                    if not answer:
                        connection.shutdown(socket.SHUT_RDWR)
                        return
                    connection.sendall(answer)
                    if b" HTTP/1.0\r\n" in self.requests[-1]:
                        connection.shutdown(socket.SHUT_RDWR)
                        return

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
