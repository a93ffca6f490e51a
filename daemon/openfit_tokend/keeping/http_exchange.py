"""HTTP over a stream: one request and one response, with nothing left over from either.

h11 parses the bytes. The event loop gets a turn between two pieces, so that a response in a hundred
thousand parts doesn't delay anybody else. The stream (`keeping/connecting.py`) limits the bytes and
pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import h11
from anyio import EndOfStream
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from openfit_tokend import __version__
from openfit_tokend.core.oauth import MAX_BODY

PIECE: Final = 1024
"""Bytes that are read and parsed at a time: a hundred parts of a response, or a millisecond."""
MAX_HEAD: Final = 64 * 1024
"""Bytes of the headers of a response."""

Headers: TypeAlias = Sequence[tuple[str, str]]

_AGENT: Final = ("user-agent", f"openfit-tokend/{__version__}")


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a request: `host` as in its Host header."""

    method: str
    host: str
    path: str


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `body` None: too large for a token's."""

    status: int
    headers: dict[str, str]
    body: bytes | None


async def ask(stream: ByteStream, target: Target, form: bytes) -> Response:
    """Send a form, or nothing if it is empty, and return the response.

    Raises:
        h11.RemoteProtocolError: it isn't HTTP, or ends too soon.
        BrokenResourceError: the connection broke.
        TooMuch: it has too many bytes or pieces.
    """
    headers = [
        ("host", target.host),
        ("accept", "application/json"),
        ("accept-encoding", "identity"),  # so that a small body can't expand to a huge one
        ("connection", "close"),
        _AGENT,
    ]
    if form:
        headers.append(("content-type", "application/x-www-form-urlencoded"))
        headers.append(("content-length", str(len(form))))
    http = await _sent(stream, target.method, target.path, headers, form)
    response = await _response(http, stream)
    body = await _body(http, stream)
    fields = {name.decode(): value.decode("latin-1") for name, value in response.headers}
    return Response(response.status_code, fields, body)


async def tunnel(stream: ByteStream, place: str, headers: Headers) -> int:
    """Ask a proxy to connect us to a `host:port`; return its status: 2xx means yes.

    Raises as `ask` does.
    """
    http = await _sent(stream, "CONNECT", place, [("host", place), _AGENT, *headers], b"")
    response = await _response(http, stream)
    if http.trailing_data[0]:
        raise h11.RemoteProtocolError("it speaks before it is asked")
    return response.status_code


async def _sent(
    stream: ByteStream, method: str, path: str, headers: Headers, form: bytes
) -> h11.Connection:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    request = h11.Request(method=method, target=path, headers=list(headers))
    sent = [http.send(request), http.send(h11.Data(form)), http.send(h11.EndOfMessage())]
    await stream.send(b"".join(part for part in sent if part))
    return http


async def _response(http: h11.Connection, stream: ByteStream) -> h11.Response:
    while True:
        event = await _next_event(http, stream)
        if isinstance(event, h11.Response):
            return event
        if not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("no response")


async def _body(http: h11.Connection, stream: ByteStream) -> bytes | None:
    """Return a body as it came; None: too large for a token's."""
    body = bytearray()
    while isinstance(event := await _next_event(http, stream), h11.Data):
        body += event.data
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


async def _next_event(http: h11.Connection, stream: ByteStream) -> object:
    while (event := http.next_event()) is h11.NEED_DATA:
        await checkpoint()  # TLS may already have the next piece, and then `receive` doesn't wait
        try:
            http.receive_data(await stream.receive(PIECE))
        except EndOfStream:
            http.receive_data(b"")
    return event
