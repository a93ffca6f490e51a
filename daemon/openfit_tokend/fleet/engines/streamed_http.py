"""HTTP/1.1 with a response that may come over hours: one request on a connection of its own.

Not by httpx: where a read of that is cancelled, its connection is closed. The one on which etcd tells
of changes must outlive any number of cancelled waits.
"""

import socket
import ssl
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Final, Self, final

import h11
from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    connect_tcp,
)
from anyio.abc import ByteStream, SocketAttribute

from openfit_token._shared.local_peer import Stranger
from openfit_tokend import __version__
from openfit_tokend.core.settings.store import Host
from openfit_tokend.fleet.store import Unreached
from openfit_tokend.keeping.connecting import judge_peer, reason

_PIECE: Final = 64 * 1024
"""Bytes that are read at a time."""
_KEEP_ALIVE: Final = (
    ((socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 15),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPINTVL), 5),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPCNT), 3),
)
"""So that a watch at a host that vanished ends half a minute later."""
Trusted = ssl.SSLContext | str | int | None
"""How the other end is known: by its certificate; or without TLS, by being root's, the daemon's user's, or
this user's."""
MAX_BODY: Final = 2 * 1024 * 1024
"""Bytes of a response: etcd's own limit of what is written at once is 1.5 MB, 2 MB in base64."""


@final
class Response:
    """A response, whose body may come over a long time. `date`: etcd's clock, in whole seconds."""

    def __init__(self, stream: ByteStream, connection: h11.Connection, head: h11.Response) -> None:
        self._stream = stream
        self._connection = connection
        self.status = head.status_code
        self.date = _date(head)

    async def part(self) -> bytes:
        """Wait for more of the body, b"" at its end. It may be cancelled: nothing is lost.

        Raises:
            Unreached: the connection was lost.
        """
        with _lost():
            while True:
                event = self._connection.next_event()
                if isinstance(event, h11.Data):
                    return bytes(event.data)
                if event is not h11.NEED_DATA:
                    return b""
                self._connection.receive_data(await _received(self._stream))

    async def body(self) -> bytes:
        """Return the whole body.

        Raises:
            Unreached: the connection was lost, or it is too long.
        """
        body = bytearray()
        while part := await self.part():
            body += part
            if len(body) > MAX_BODY:
                raise Unreached(f"its answer is longer than {MAX_BODY // 1024} KiB")
        return bytes(body)

    async def close(self) -> None:
        """Close the connection."""
        await _close(self._stream)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def ask(
    host: Host, trusted: Trusted, path: str, content: bytes, more: Mapping[str, str]
) -> Response:
    """Send JSON with some more headers, and return the response once it begins.

    The caller limits the time.

    Raises:
        Unreached: there is no response.
    """
    stream = await _connected(host, trusted)
    try:
        connection = h11.Connection(h11.CLIENT)
        headers = {
            "host": str(host),
            "accept": "application/json",
            "connection": "close",
            "content-type": "application/json",
            "content-length": str(len(content)),
            "user-agent": f"openfit-tokend/{__version__}",
        }
        named = list((headers | dict(more)).items())
        request = h11.Request(method="POST", target=path, headers=named)
        with _lost():
            sent = [request, h11.Data(content), h11.EndOfMessage()]
            await stream.send(b"".join(connection.send(each) or b"" for each in sent))
            while not isinstance(head := connection.next_event(), h11.Response):
                if head is h11.NEED_DATA:
                    connection.receive_data(await _received(stream))
        return Response(stream, connection, head)
    except BaseException:
        await _close(stream)
        raise


async def _connected(host: Host, trusted: Trusted) -> ByteStream:
    try:
        if isinstance(trusted, ssl.SSLContext):
            stream: ByteStream = await connect_tcp(
                host.name, host.port, ssl_context=trusted, tls_standard_compatible=False
            )
        else:
            stream = await connect_tcp(host.name, host.port)
            await judge_peer(stream, trusted)
    except ssl.SSLCertVerificationError:
        hint = "check the host in store, the clock, and its sslrootcert"
        raise Unreached("its TLS certificate can't be trusted", hint) from None
    except (ssl.SSLError, EndOfStream, BrokenResourceError):
        raise Unreached("TLS failed", "check the port in store") from None
    except Stranger as stranger:
        raise Unreached(stranger.message, stranger.hint) from None
    except (OSError, UnicodeError) as error:
        raise Unreached(reason(error)) from None
    own: socket.socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 -- anyio's, not Django's
    for option, value in _KEEP_ALIVE:
        own.setsockopt(*option, value)
    return stream


async def _received(stream: ByteStream) -> bytes:
    try:
        return await stream.receive(_PIECE)
    except EndOfStream:
        return b""


async def _close(stream: ByteStream) -> None:
    with CancelScope(shield=True):  # it doesn't wait for the network
        await stream.aclose()


@contextmanager
def _lost() -> Generator[None]:
    try:
        yield
    except h11.RemoteProtocolError:
        raise Unreached("its answer was cut off, or isn't HTTP") from None
    except (BrokenResourceError, ClosedResourceError, OSError) as error:
        raise Unreached(f"the connection was lost: {reason(error)}") from None


def _date(head: h11.Response) -> float | None:
    for name, value in head.headers:
        if name == b"date":
            try:
                return parsedate_to_datetime(value.decode("ascii")).timestamp()
            except (ValueError, OverflowError):
                return None
    return None
