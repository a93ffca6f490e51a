"""Clients: real connections to the daemon's socket, each of a user that it says by its address."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from select import EPOLLIN, epoll
from typing import Any, Final, final

import msgpack

from openfit_token._shared.protocol import encode_request
from openfit_tokend.host.peers import Peer
from whole.configuration import Configuration

_numbers: Final = count()

Answer = dict[str, Any] | None
"""An error or a result, as it came; None: it was the other, or the connection was closed."""
Told = Callable[["Call", Answer, Answer], None]


@dataclass(slots=True, eq=False)
class Call:
    """One request, and who made it."""

    uid: int
    method: str
    params: dict[str, Any]
    deadline: float
    told: Told = field(repr=False)
    """Is given the error and the result; neither where the connection was closed."""
    life: int
    configurations: tuple[Configuration, ...] = field(repr=False)
    """Those in force when it was made."""
    sock: socket.socket = field(init=False, repr=False)


def peer_of(sock: socket.socket) -> Peer:
    """Return who connected, by the address that the client took: `peers.peer_of` of this world."""
    address: bytes = sock.getpeername()
    return Peer(os.getpid(), int(address[1:].split(b".")[0]), 0)


def short(error: Answer, result: Answer) -> str:
    """Return an answer as a story tells it."""
    if result is None:
        return "closed" if error is None else f"{error['code']} {error['message']}"
    if "access_token" in result:
        return f"{result['access_token']}, {result['expires_in']:.3f} s left"
    return "well" if not result else f"{len(result)} fields"


@final
class Clients:
    """All calls that have no answer yet, a connection each."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._epoll = epoll()
        self._calls: dict[int, Call] = {}

    @property
    def descriptors(self) -> set[int]:
        """Return the descriptors of the calls that have no answer yet."""
        return set(self._calls)

    def ask(self, call: Call) -> bool:
        """Send a call; False: no daemon is there."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(0)
        sock.bind(f"\0{call.uid}.{os.getpid()}.{next(_numbers)}")
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            return False
        sock.send(encode_request(1, call.method, call.params))
        call.sock = sock
        self._calls[sock.fileno()] = call
        self._epoll.register(sock, EPOLLIN)
        return True

    def fileno(self) -> int:
        """Return the descriptor that can be read when an answer has come."""
        return self._epoll.fileno()

    def read(self) -> None:
        """Take the answers that have come."""
        for fd, _events in self._epoll.poll(0):
            call = self._calls.pop(fd)
            data = b""
            with suppress(OSError):
                while part := call.sock.recv(65536):
                    data += part
            call.sock.close()
            if data:
                _kind, _msgid, error, result = msgpack.unpackb(data)
                call.told(call, error, result)
            else:
                call.told(call, None, None)

    def close(self) -> None:
        """Leave."""
        for call in self._calls.values():
            call.sock.close()
        self._epoll.close()
