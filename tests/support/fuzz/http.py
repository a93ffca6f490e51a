"""HTTP for the attack: requests, some changed a little, some a lot, and what two readers may disagree on."""

import socket
from contextlib import suppress
from random import Random
from typing import Final, final

from daemons import RunningDaemon
from fuzz.attack import ANSWERS, Attack, Broken
from http_wire import place

_METHODS: Final = ("GET", "GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT", "get", "G T")
_TARGETS: Final = (
    *("/v1/token", "/v1/token?profile=main", "/v1/token?profile=other&wait=0.01", "/v1/auth"),
    *("/v1/auth?profile=main", "/v1/refuse?id=0000000000000000&wait=0.01", "/v1/refresh?wait=0"),
    *("/v1/status", "/metrics", "/readyz", "/healthz", "/", "*", "http://a/v1/auth", "//", "/%00"),
    *(
        "/v1/token?wait=x",
        "/v1/token?profile=%ff",
        "/v1/token?&&==",
        "/v1/auth#x",
        "/v1/../healthz",
    ),
)
_FIELDS: Final = (
    *("Host: a", "Host: a", "Host: a", "Accept: */*", "User-Agent: curl", "Connection: keep-alive"),
    *("Connection: close", "Content-Length: 3", "Content-Length: 3, 3", "Content-Length: 03"),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Expect: 100-continue"),
    *("X-OpenFit-Refused: 0000000000000000", "X-OpenFit-Refused: ", "Upgrade: h2c", "TE: trailers"),
    *(
        " folded",
        "Cookie: a=b",
        "X: \xe4",
        "X:",
        ": x",
        "X : y",
        "Forwarded: for=x",
        "Range: bytes=0-1",
    ),
)
_BODIES: Final = (
    b"",
    b"",
    b"",
    b"abc",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"0\r\n\r\n",
    b"3\nabc",
    b"ffff\r\n",
)
_ENDS: Final = ("\r\n",) * 30 + ("\n", "\r", "\r\r\n", " \r\n", "\0\r\n")
_WHOLE: Final = b"GET /v1/auth HTTP/1.1\r\nHost: a\r\n\r\n"


@final
class HttpMessages:
    """A seed's requests."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 -- a seed is to decide it

    def next(self) -> bytes:
        """Return the next one."""
        random = self.random
        if random.random() < 0.3:
            return _WHOLE
        version = random.choice(
            ("HTTP/1.1",) * 12 + ("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "", "http/1.1")
        )
        first = f"{random.choice(_METHODS)} {random.choice(_TARGETS)} {version}"
        fields = random.sample(_FIELDS, random.randrange(5))
        lines = [first, "Host: a", *fields] if random.random() < 0.8 else [first, *fields]
        head = "".join(line + random.choice(_ENDS) for line in lines) + random.choice(_ENDS)
        data = head.encode("latin-1") + random.choice(_BODIES)
        return self._mutated(data) if random.random() < 0.2 else data

    def _mutated(self, data: bytes) -> bytes:
        random, changed = self.random, bytearray(data)
        for _ in range(random.randrange(1, 4)):
            at = random.randrange(len(changed) + 1)
            match random.randrange(4):
                case 0:
                    changed[at : at + 1] = bytes([random.randrange(256)])
                case 1:
                    del changed[at : at + random.randrange(9)]
                case 2:
                    changed[at:at] = random.randbytes(random.randrange(9))
                case _:
                    changed[at:at] = changed[:at][-random.randrange(1, 200) :]
        return bytes(changed)


@final
class HttpAttack(Attack):
    """HTTP, and what isn't. The client closes its side at last, so the daemon must end the connection."""

    def __init__(self, daemon: RunningDaemon, seed: int) -> None:
        super().__init__(daemon, HttpMessages(seed))

    def _talk(self, data: bytes) -> None:
        with self._connected(place(self._daemon)) as sock:
            answers = b""
            with suppress(OSError):  # it was closed at the first rubbish
                self._send(sock, data)
                if self._random.randrange(10) == 0:
                    return  # and hang up, whatever is answered
                sock.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                while part := sock.recv(65536):
                    answers += part
        if self.connections % ANSWERS == 0:
            _judge(answers)


def _judge(answers: bytes) -> None:
    """Refuse what is no answer, or tells of a fault of the daemon's own.

    Where one answer ends isn't known here: that depends on what was asked, which may be rubbish.
    """
    if answers and not answers.startswith(b"HTTP/1.1 "):
        raise Broken(f"answered {answers[:200]!r}")
    if b"HTTP/1.1 500 " in answers or b'"INTERNAL"' in answers:
        raise Broken(f"answered {answers[:2000]!r}")
