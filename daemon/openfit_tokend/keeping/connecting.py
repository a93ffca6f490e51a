"""Connections to token servers: with TLS, bounded, and over a proxy if the environment says so."""

# ruff: noqa: ARG002, ASYNC109 -- httpcore's signatures; the caller limits the time

import os
import socket
import ssl
from collections.abc import Mapping
from typing import Final, Self, cast, final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio
import httpcore
from anyio import BrokenResourceError, EndOfStream
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import RunVar, checkpoint
from anyio.streams.tls import TLSStream

from openfit_token._shared.frozen import frozen
from openfit_token._shared.local_peer import Connected, Stranger, in_threads, judging
from openfit_token._shared.trouble import Trouble
from openfit_tokend.core.oauth import CHECK_URL
from openfit_tokend.keeping.trust import Trust

PIECE: Final = 256
"""Bytes that are read and parsed at a time: 40 parts of a response, or a millisecond."""
MAX_BYTES: Final = 256 * 1024
"""Bytes that one connection may deliver: certificates, headers, and four times a body's."""
MAX_READS: Final = 2048
"""Pieces that they may come in: enough if each has 128 bytes."""

_TURN: Final = RunVar[anyio.Lock]("the turn to parse a piece")
"""The event loop's own."""
_NETWORK_HINT: Final = f"{CHECK_URL}, and the network; behind a proxy: HTTPS_PROXY of the daemon"
_PROXY_HINT: Final = "check HTTPS_PROXY and NO_PROXY of the daemon"
_TLS_HINT: Final = f"{CHECK_URL}: it must speak https"
_UNTRUSTED: Final = (
    "its TLS certificate can't be trusted",
    f"{CHECK_URL}, the clock, and ca_file if a proxy opens TLS",
)
_EXPIRED: Final = (
    "its TLS certificate has expired, or that of its CA",
    "check this host's clock; if it is right, the token server needs a new one, or ca_file a newer CA",
)
_EARLY: Final = (
    "its TLS certificate isn't valid yet, or that of its CA",
    "check this host's clock",
)
_ANOTHERS: Final = (
    "its TLS certificate is for another name",
    f"{CHECK_URL}: the certificate must be for the name that the URL has",
)
_UNKNOWN_CA: Final = (
    "its TLS certificate is from a CA that isn't trusted",
    "if that CA is your own, or a proxy opens TLS, name its certificate with ca_file",
)
_CERTIFICATE_FAULTS: Final[Mapping[int, tuple[str, str]]] = {
    9: _EARLY,
    10: _EXPIRED,
    **dict.fromkeys((18, 19, 20, 21), _UNKNOWN_CA),
    **dict.fromkeys((62, 64), _ANOTHERS),
}
"""What OpenSSL's X509_V_ERR numbers mean, and what to do. Its own words may hold the certificate's."""


class NotSent(Trouble):
    """Nothing was sent: the token server can't have acted."""


class TooMuch(Exception):
    """More bytes, or more pieces, than any token needs."""


def unreachable(what: str, hint: str) -> NotSent:
    """Return the error for a token server that can't be reached."""
    return NotSent(f"the token server can't be reached: {what}", hint)


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


async def judge_peer(
    stream: ByteStream | httpcore.AsyncNetworkStream, user: str | int | None
) -> None:
    """Judge who is at the other end of a connection without TLS, and close it if it isn't one to trust.

    Raises:
        Stranger: somebody else than root, the daemon's user, and `user`.
    """
    own: Connected
    if isinstance(stream, ByteStream):
        own = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 -- anyio's, not Django's
    else:
        own = stream.get_extra_info("socket")
    try:
        await in_threads(judging(own, {user}))
    except BaseException:
        with anyio.CancelScope(shield=True):
            await stream.aclose()
        raise


@frozen
class Route:
    """How to reach a token server. `trusted`: how to verify it; None: no TLS.

    `loopback_user`: without TLS, who may listen there besides root and the daemon's user.
    """

    url: str
    trusted: ssl.SSLContext | None
    proxy: httpcore.Proxy | None
    loopback_user: str | int | None = None

    @property
    def hint(self) -> str:
        """Return what to check if the server can't be reached."""
        return _NETWORK_HINT if self.proxy is None else _PROXY_HINT

    @classmethod
    async def find(
        cls, url: str, ca_file: str | None, trust: Trust, loopback_user: str | int | None
    ) -> Self:
        """Return the route to a server, according to the files and the environment now.

        Raises:
            NoAuthorities: there are none to trust.
            NotSent: the proxy's URL is invalid.
        """
        parts = urlsplit(url)
        if parts.scheme == "http":  # loopback: a proxy would read the password
            return cls(url, None, None, loopback_user)
        proxy = await _proxy(parts.hostname or "", trust)
        return cls(url, await trust.context(ca_file), proxy)


async def _proxy(host: str, trust: Trust) -> httpcore.Proxy | None:
    """Return the proxy to a host that $HTTPS_PROXY, $ALL_PROXY and $NO_PROXY name.

    Raises as `Route.find` does.
    """
    proxies = getproxies()
    named = proxies.get("https") or proxies.get("all")
    if not named or proxy_bypass(host):
        return None
    try:
        url = named if "://" in named else f"http://{named}"
        parts, place = urlsplit(url), httpcore.URL(url)
    except ValueError:
        raise unreachable("the proxy's URL is invalid", _PROXY_HINT) from None
    if parts.scheme not in {"http", "https"} or not place.host:
        raise unreachable("the proxy's URL is invalid", _PROXY_HINT)
    auth = unquote(parts.username or "").encode(), unquote(parts.password or "").encode()
    trusted = await trust.context(None) if parts.scheme == "https" else None
    return httpcore.Proxy(place, auth if any(auth) else None, ssl_context=trusted)


@final
class Network(httpcore.AsyncNetworkBackend):
    """Connects for httpcore."""

    def __init__(self, route: Route) -> None:
        self._route = route

    async def connect_tcp(
        self, host: str, port: int, *_: object, **__: object
    ) -> httpcore.AsyncNetworkStream:
        """Connect over TCP; without TLS, to nobody but whom the configuration trusts.

        Raises:
            NotSent: connecting failed, or somebody else listens there.
        """
        try:
            stream = await anyio.connect_tcp(host.strip("[]"), port)
        except (OSError, UnicodeError) as error:  # here: httpcore drops the cause of an exception
            raise unreachable(reason(error), self._route.hint) from None
        if self._route.trusted is None:
            try:
                await judge_peer(stream, self._route.loopback_user)
            except Stranger as stranger:
                raise NotSent(
                    f"nothing was sent to the token server: {stranger.message}", stranger.hint
                ) from None
        return _Stream(stream)


def _turn() -> anyio.Lock:
    return _TURN.get(None) or _first_turn()


def _first_turn() -> anyio.Lock:
    lock = anyio.Lock(fast_acquire=True)
    _TURN.set(lock)
    return lock


@final
class _Stream(httpcore.AsyncNetworkStream, ByteStream):
    """A connection that delivers a limited number of bytes, in a limited number of pieces.

    There is one below TLS too (httpcore's own network would allow only one above it), so it also
    counts bytes that never become part of the response.
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

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            piece = await self.receive(PIECE)
        except EndOfStream:
            piece = b""
        async with _turn():  # of all connections one goes on, and then clients are served
            await checkpoint()
        return piece

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            await self.send(buffer)
        except BrokenResourceError as error:  # httpcore then reads a response that came before
            raise httpcore.WriteError from error

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):  # else what wasn't read stays in its buffer
            await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        host = (server_hostname or "").strip("[]")
        try:
            return _Stream(
                await TLSStream.wrap(
                    self, ssl_context=ssl_context, hostname=host, standard_compatible=False
                )
            )
        except BaseException as error:
            await self.aclose()  # httpcore doesn't if it is cancelled
            match error:
                case ssl.SSLCertVerificationError(verify_code=code):
                    raise unreachable(*_CERTIFICATE_FAULTS.get(code, _UNTRUSTED)) from None
                case ssl.SSLError() | EndOfStream() | BrokenResourceError() | TooMuch():
                    raise unreachable("TLS failed", _TLS_HINT) from None
                case _:
                    raise
