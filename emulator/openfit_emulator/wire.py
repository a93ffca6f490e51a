"""One client's connection: HTTP/1.1 by h11, and by the socket itself what HTTP forbids.

The socket is ours, not an event loop's stream: a fault ends it in the middle of a response, or by RST.
"""

import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import field
from email.utils import formatdate
from functools import partial
from itertools import repeat
from typing import Final, TypeVar, final
from urllib.parse import unquote

import h11
from anyio import move_on_after, sleep_forever, wait_readable, wait_writable
from anyio.lowlevel import checkpoint

from openfit_token._shared.frozen import frozen

MAX_HEADER: Final = 64 * 1024
"""Bytes of a request before its body."""
MAX_BODY: Final = 64 * 1024
"""Bytes. Many times the largest form that a client has reason to send."""
HUGE: Final = 256 * 1024 * 1024
"""Bytes of a body meant to fill a client's memory."""
_PIECE: Final = 64 * 1024
"""Bytes that are read, or sent of a huge body, at a time."""
_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with 0 s: closing sends RST instead of FIN."""

Result = TypeVar("Result")


class Ended(Exception):
    """The connection is over: the client has left, or a fault ends it."""


@frozen
class Request:
    """A request that was read to its end. Names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None
    """None: it is larger than MAX_BODY."""


@frozen
class Answer:
    """A response."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@final
class Connection:
    """A connection. All methods that send raise Ended once the client has left."""

    def __init__(
        self, sock: socket.socket, tls: ssl.SSLContext | None, now: Callable[[], float]
    ) -> None:
        sock.settimeout(0)
        self._socket = sock
        self._tls = tls
        self._now = now
        self._http = h11.Connection(h11.SERVER, MAX_HEADER)
        self._has_body = True
        self.skew = 0
        """Seconds by which the Date of the next response is off."""

    async def begin(self) -> None:
        """Do TLS's handshake, if there is TLS. Raises: Ended."""
        if self._tls is not None:
            wrap = partial(self._tls.wrap_socket, server_side=True, do_handshake_on_connect=False)
            encrypted = await self._do(partial(wrap, self._socket), wait_readable)
            self._socket = encrypted
            await self._do(encrypted.do_handshake, wait_readable)

    async def request(self) -> Request | None:
        """Wait for the next request; None: the client has closed the connection, or it isn't HTTP."""
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        if self._http.our_state is not h11.IDLE:  # the client wanted no other
            return None
        head, body = None, bytearray()
        try:
            while True:
                event = await self._event()
                if isinstance(event, h11.Request):
                    head = event
                elif isinstance(event, h11.Data) and len(body) <= MAX_BODY:
                    body += event.data
                elif isinstance(event, h11.EndOfMessage) and head is not None:
                    break
                elif not isinstance(event, h11.Data):
                    return None
        except h11.RemoteProtocolError as error:
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                await self.answer(Answer(error.error_status_hint))
            return None
        self.skew, self._has_body = 0, head.method != b"HEAD"
        return Request(
            head.method.decode(),
            unquote(head.target.partition(b"?")[0].decode()),
            {name.decode(): value.decode("latin-1") for name, value in head.headers},
            bytes(body) if len(body) <= MAX_BODY else None,
        )

    async def answer(self, answer: Answer) -> None:
        """Send a response."""
        await self._send(*self._begun(answer, answer.body), h11.EndOfMessage())

    async def half(self, answer: Answer) -> None:
        """Send half of a response's body, while its Content-Length announces all of it."""
        await self._send(*self._begun(answer, answer.body[: len(answer.body) // 2]))

    async def flood(self) -> None:
        """Send HUGE bytes that begin like a good response, as fast as the client reads."""
        kind = [("Content-Type", "application/json")]
        await self._send(h11.Response(status_code=200, headers=kind))
        pieces = (b'{"access_token": "', *repeat(b"a" * _PIECE, HUGE // _PIECE), b'"}')
        for piece in pieces if self._has_body else ():
            await self._send(h11.Data(data=piece))
        await self._send(h11.EndOfMessage())

    async def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        left = memoryview(data)
        while left:
            sent = await self._do(partial(self._socket.send, left), wait_writable)
            left = left[sent:]

    async def gone(self) -> None:
        """Wait until the client closes the connection. What it sends meanwhile waits for its turn."""
        while len(self._http.trailing_data[0]) <= MAX_HEADER:
            data = await self._receive()
            if not data:
                return
            self._http.receive_data(data)
        await sleep_forever()

    async def pause(self, seconds: float, left: Callable[[], None]) -> None:
        """Wait so many seconds. Calls `left` when the client leaves."""
        with move_on_after(seconds):
            await self.gone()
            left()
            await sleep_forever()

    def reset(self) -> None:
        """Let `close` reset the connection."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)

    def finish(self) -> None:
        """Say that all was sent, as TLS does before the end."""
        if isinstance(self._socket, ssl.SSLSocket):
            with suppress(OSError):  # it would wait for the client to say so, too
                self._socket.unwrap()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _begun(self, answer: Answer, body: bytes) -> list[h11.Event]:
        headers = {**answer.headers, "Date": formatdate(self._now() + self.skew, usegmt=True)}
        if answer.status != 204:  # noqa: PLR2004 -- no content
            headers["Content-Length"] = str(len(answer.body))
        head = h11.Response(status_code=answer.status, headers=list(headers.items()))
        return [head, h11.Data(data=body)] if body and self._has_body else [head]

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._receive())
        return event

    async def _send(self, *events: h11.Event) -> None:
        await self.write(b"".join(self._http.send(each) or b"" for each in events))

    async def _receive(self) -> bytes:
        """Wait for bytes; b"": the client has left."""
        try:
            return await self._do(partial(self._socket.recv, _PIECE), wait_readable)
        except Ended:
            return b""

    async def _do(
        self,
        act: Callable[[], Result],
        ready: Callable[[socket.socket], Awaitable[None]],
    ) -> Result:
        """Do something with the socket, once it is ready for that. Raises: Ended."""
        await checkpoint()
        while True:
            try:
                return act()
            except BlockingIOError:
                await ready(self._socket)
            except ssl.SSLWantReadError:
                await wait_readable(self._socket)
            except ssl.SSLWantWriteError:
                await wait_writable(self._socket)
            except OSError:
                raise Ended from None
