"""A connection to a token server: with TLS, bounded, and over a proxy if the environment says so.

Each request has its own connection. A pooled one may be closed by the server meanwhile: that would
look like a lost answer, and cost a refresh token.
"""

import os
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self, cast, final
from urllib.parse import unquote, urlsplit

import anyio
import h11
from anyio import BrokenResourceError, EndOfStream
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from openfit_tokend.keeping.http_exchange import tunnel
from openfit_tokend.keeping.trust import Trust

CONNECT_TIMEOUT: Final = 10.0
"""Seconds to look up the name, connect, get through a proxy and negotiate TLS."""
MAX_BYTES: Final = 256 * 1024
"""Bytes that one connection may deliver: certificates, headers, and four times a body's."""
MAX_READS: Final = 2048
"""Pieces that they may come in: enough if each has 128 bytes."""

_PORTS: Final = {"https": 443, "http": 80}
_PROXY_VARIABLES: Final = frozenset({"https_proxy", "all_proxy"})
_NETWORK_HINT: Final = "check the network, environment or id_server"
_PROXY_HINT: Final = "check HTTPS_PROXY and NO_PROXY of the daemon"
_TLS_HINT: Final = "check environment or id_server: it must speak https"
_TRUST_HINT: Final = "check environment or id_server, the clock, and ca_file if a proxy opens TLS"


class NotSent(Exception):
    """Nothing was sent: the token server can't have acted. Message and hint are for people."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class TooMuch(Exception):
    """More bytes, or more pieces, than any token needs."""


@dataclass(frozen=True, slots=True)
class Place:
    """A host and port. `trusted`: how to verify the host; None: no TLS."""

    host: str
    port: int
    trusted: ssl.SSLContext | None

    def __str__(self) -> str:
        """Return it as CONNECT names it (RFC 9110, section 9.3.6)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. `headers`: what it needs, perhaps a password."""

    place: Place
    headers: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach a token server."""

    server: Place
    proxy: Proxy | None

    @classmethod
    async def find(cls, url: str, ca_file: str | None, trust: Trust) -> Self:
        """Return the route to a server, according to the files and the environment now.

        Raises:
            OSError: the certificate authorities can't be read.
            NotSent: the proxy's URL is invalid.
        """
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        if parts.scheme == "http":  # loopback: a proxy would read the password
            return cls(Place(host, port, None), None)
        proxy = await _proxy(host, trust)
        return cls(Place(host, port, await trust.context(ca_file)), proxy)

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[ByteStream]:
        """Connect, and close at the end.

        Raises:
            NotSent: connecting failed, for whatever reason; nothing else is raised before the stream
                is handed over.
        """
        place, hint = self.server, _NETWORK_HINT
        if self.proxy is not None:
            place, hint = self.proxy.place, _PROXY_HINT
        try:
            with anyio.fail_after(CONNECT_TIMEOUT):
                stream: ByteStream = _Bounded(await anyio.connect_tcp(place.host, place.port))
                stream = await self._negotiated(stream)
        except NotSent:
            raise
        except TimeoutError:
            raise _unreachable(f"no connection within {CONNECT_TIMEOUT:.0f} s", hint) from None
        except Exception as error:  # noqa: BLE001 -- each is a reason why the server isn't reached
            raise _unreachable(reason(error), hint) from None
        try:
            yield stream
        finally:
            await _close(stream)

    async def _negotiated(self, stream: ByteStream) -> ByteStream:
        """Return the stream to the server itself, after the proxy and TLS."""
        try:
            if self.proxy is not None:
                stream = await _with_tls(stream, self.proxy.place)
                await _through(self.proxy, stream, self.server)
            return await _with_tls(stream, self.server)
        except BaseException:
            await _close(stream)
            raise


def _unreachable(what: str, hint: str) -> NotSent:
    return NotSent(f"the token server can't be reached: {what}", hint)


async def _close(stream: ByteStream) -> None:
    with anyio.CancelScope(shield=True):  # else what wasn't read stays in its buffer
        await stream.aclose()


async def _proxy(host: str, trust: Trust) -> Proxy | None:
    """Return the proxy to a host that $HTTPS_PROXY, $ALL_PROXY and $NO_PROXY name.

    Raises as `Route.find` does.
    """
    if _PROXY_VARIABLES.isdisjoint(name.lower() for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 -- it takes 2 MB, and few need it

    proxies = getproxies()
    named = proxies.get("https") or proxies.get("all")
    if not named or proxy_bypass(host):
        return None
    try:
        parts = urlsplit(named if "://" in named else f"http://{named}")
        place = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise _unreachable("the proxy's URL is invalid", _PROXY_HINT) from None
    headers: list[tuple[str, str]] = []
    if parts.username or parts.password:
        word = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        headers.append(("proxy-authorization", f"Basic {b64encode(word.encode()).decode()}"))
    trusted = await trust.context(None) if parts.scheme == "https" else None
    return Proxy(Place(*place, trusted), headers)


async def _through(proxy: Proxy, stream: ByteStream, server: Place) -> None:
    try:
        status = await tunnel(stream, str(server), proxy.headers)
    except (h11.RemoteProtocolError, BrokenResourceError, TooMuch):
        raise _unreachable(
            "the proxy closed the connection, or isn't a proxy", _PROXY_HINT
        ) from None
    if not 200 <= status < 300:  # noqa: PLR2004 -- RFC 9110's success
        raise _unreachable(f"the proxy refused: it answered {status}", _PROXY_HINT)


async def _with_tls(stream: ByteStream, place: Place) -> ByteStream:
    if place.trusted is None:
        return stream
    try:
        return await TLSStream.wrap(
            stream, ssl_context=place.trusted, hostname=place.host, standard_compatible=False
        )
    except ssl.SSLCertVerificationError:
        raise _unreachable("its TLS certificate can't be trusted", _TRUST_HINT) from None
    except (ssl.SSLError, EndOfStream, BrokenResourceError, TooMuch):
        raise _unreachable("TLS failed", _TLS_HINT) from None


def reason(error: BaseException) -> str:
    """Return the operating system's words behind an exception, which no server can choose."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror | UnicodeError):
            return "its name can't be resolved"
        if isinstance(cause, BaseExceptionGroup):  # one for each address
            cause = cast("BaseExceptionGroup[BaseException]", cause).exceptions[0]
        # An SSLError's number is one of OpenSSL's, which means something else to the system.
        if isinstance(cause, OSError) and cause.errno and not isinstance(cause, ssl.SSLError):
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return "no connection"


@final
class _Bounded(ByteStream):
    """A connection that delivers a limited number of bytes, in a limited number of pieces.

    It is below TLS, so it also counts bytes that never become part of the answer.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._bytes = MAX_BYTES
        self._reads = MAX_READS

    async def receive(self, max_bytes: int = 65536) -> bytes:
        received = await self._stream.receive(max_bytes)
        self._bytes -= len(received)
        self._reads -= 1
        if self._bytes < 0 or self._reads < 0:
            raise TooMuch
        return received

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()
