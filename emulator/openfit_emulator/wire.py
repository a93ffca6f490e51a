"""Responses that go wrong on the wire: some end the connection, some never end.

The connection's transport is in the request's state (see `server.Connection`), since what HTTP
forbids can't be sent through ASGI. After closing a transport, a response waits until uvicorn has
noticed that the client is gone: until then it would complete the response with a 500.
"""

import asyncio  # noqa: TID251 -- uvicorn's transport is asyncio's
import socket
import struct
from collections.abc import Callable
from itertools import repeat
from typing import Final, cast

import anyio
import anyio.lowlevel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

HUGE: Final = 256 * 1024 * 1024
"""Bytes of a body meant to fill a client's memory."""
_CHUNK: Final = b"a" * 65_536
_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with 0 s: closing sends RST instead of FIN."""


async def gone(receive: Receive) -> None:
    """Wait until the connection is closed. The request's body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def pause(scope: Scope, receive: Receive, seconds: float, left: Callable[[], None]) -> None:
    """Wait so many seconds, or until the server stops. Calls `left` when the client disconnects."""
    stopping = cast("anyio.Event", scope["state"]["stopping"])
    with anyio.move_on_after(seconds):
        await gone(receive)
        left()
        await stopping.wait()


class BrokenOff(Response):
    """No response: the connection is closed, or reset."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__()
        self.reset = reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- ASGI's signature
        """Close the connection, and wait until that is done."""
        transport = _transport(scope)
        if self.reset:
            # asyncio's view of the socket: options may be set, but it can't be closed.
            raw = cast("socket.socket", transport.get_extra_info("socket"))
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()
        await gone(receive)


class Stalled(Response):
    """A response that stops after its first part. It disconnects after `seconds`; "" is never.

    `part` is nothing at all (`hang`), a piece of the header (`header`) or of the body (`body`).
    """

    def __init__(self, part: str, seconds: str, answer: Response | None = None) -> None:
        super().__init__()
        self.part = part
        self.seconds = float(seconds) if seconds else None
        self.answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the part, and wait until the client disconnects or the time is over."""
        transport = _transport(scope)
        if self.part == "header":
            transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: applicat")
        if self.answer is not None and self.part == "body":
            await _send_half(self.answer, send)
        with anyio.move_on_after(self.seconds):
            await gone(receive)
        transport.abort()
        await gone(receive)


class Halved(Response):
    """Half of a response's body, while its Content-Length announces all of it, and the end."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the half, and close once it has been sent."""
        await _send_half(self.answer, send)
        _transport(scope).close()
        await gone(receive)


class Flood(Response):
    """HUGE bytes that begin like a good response."""

    media_type = "application/json"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- ASGI's signature
        """Send them as fast as the client reads; once it has left, uvicorn sends nothing."""
        headers = [(n, value) for n, value in self.raw_headers if n != b"content-length"]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        for chunk in (b'{"access_token": "', *repeat(_CHUNK, HUGE // len(_CHUNK))):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            # `send` alone may never yield, and the loop wouldn't notice the client leave.
            await anyio.lowlevel.checkpoint()
        await send({"type": "http.response.body", "body": b'"}'})


async def _send_half(answer: Response, send: Send) -> None:
    half = bytes(answer.body)[: len(answer.body) // 2]
    start = {"status": answer.status_code, "headers": answer.raw_headers}
    await send({"type": "http.response.start", **start})
    await send({"type": "http.response.body", "body": half, "more_body": True})


def _transport(scope: Scope) -> asyncio.Transport:
    # Put there by `server.Connection`.
    return cast("asyncio.Transport", scope["state"]["transport"])
