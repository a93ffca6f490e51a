"""The token endpoint over HTTP: one request, one meaning. It never raises for the network's sake.

Nothing is retried here: the core owns retries. No connection is kept: one that the server closed
meanwhile would look like an answer that was lost, and cost a refresh token.
"""

import os
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, final

import anyio
import httpx

from openfit_token.errors import Unavailable
from openfit_tokend import __version__
from openfit_tokend.core import oauth
from openfit_tokend.core.events import Grant, Kind
from openfit_tokend.core.schedule import REQUEST_TIMEOUT
from openfit_tokend.core.secret import Secret
from openfit_tokend.core.session import Login, Refresh
from openfit_tokend.core.settings import Profile
from openfit_tokend.io import clock, log

CONNECT_TIMEOUT: Final = 10.0
"""Seconds to look up the name, connect and agree on TLS."""
REVOKE_TIMEOUT: Final = 10.0
"""Seconds for a revocation, which is best effort."""
MAX_REQUESTS: Final = 16
"""Token requests under way at one server: 1,000 profiles must not look like an attack."""

_UNSENT: Final = (
    httpx.ConnectError,  # refused, no route, name not found, TLS
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,  # the proxy refused to connect us
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
    httpx.LocalProtocolError,
)
"""The exceptions that say the request never reached the server. Any other leaves it uncertain."""


_BEFORE_THE_FORM: Final = frozenset(
    {
        "connection.start_tls",
        "proxy.start_tls",
        "http11.response_closed",
    }
)
"""The steps of httpcore's trace that come before the form is sent, or send nothing."""
_PROXY_HINT: Final = "check HTTPS_PROXY and NO_PROXY of the daemon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A token request to be sent.

    `password` is a login's; `deadline` (CLOCK_BOOTTIME) is when it is needed; `is_void` is asked when
    its turn has come: then it isn't sent.
    """

    profile: Profile
    request: Login | Refresh
    password: Secret | None
    deadline: float
    is_void: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a request brought. `sent`: when it really went out."""

    sent: float
    meaning: Grant | oauth.Failure
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """What a token server says to a GET. `date`: its Date header."""

    status: int
    date: str | None


@final
class Endpoint:
    """Sends forms to token servers. One HTTP client for each CA file, made when first needed."""

    def __init__(self) -> None:
        self._clients: dict[str | None, httpx.AsyncClient] = {}
        self._slots: dict[str, _Slots] = {}
        self._under_way: dict[anyio.CancelScope, float] = {}  # until when, on the loop's clock

    async def request(self, order: Order) -> Reply:
        """Send a login or a refresh, and give what came of it.

        It queues behind MAX_REQUESTS others of the same server, the soonest deadline first. The
        time-out counts from its turn. Until then it can be cancelled; once it is sent only `abandon`
        ends it, since the token server gives up the old refresh token before it stores the new one.
        """
        profile = order.profile
        slots = self._slots.setdefault(profile.identity.id_server, _Slots())
        async with slots.turn(order.deadline):
            sent = clock.boot()
            if order.is_void():
                return Reply(sent, _failure("the request isn't needed any more", None))
            try:
                client = self._client(profile)
            except Exception as error:  # noqa: BLE001 -- a CA file, or a proxy's URL
                return Reply(sent, _no_client(profile, error))
            reply = Reply(sent, _no_answer("the daemon ended before the answer came"))
            with self._kept(REQUEST_TIMEOUT):
                reply = await _exchange(client, order)
            return reply  # noqa: RET504 -- `abandon` ends the block without it

    async def revoke(self, profile: Profile, token: Secret) -> None:
        """Ask for a refresh token to be revoked; whether it was is not known."""
        form = oauth.revocation_form(profile.identity, token)
        with self._kept(REVOKE_TIMEOUT), anyio.move_on_after(REVOKE_TIMEOUT):
            try:
                client = self._client(profile)
                url = profile.identity.id_server + oauth.REVOCATION_PATH
                await _post(client, url, form, REVOKE_TIMEOUT, _Way())
            except Exception:  # noqa: BLE001 -- best effort: the token ends by itself
                log.debug("revocation_failed", profile=profile.name)

    async def probe(self, profile: Profile) -> Probe | oauth.Failure:
        """Look whether a token endpoint is there, without a login: a GET, which it refuses."""
        limits = httpx.Timeout(REQUEST_TIMEOUT, connect=CONNECT_TIMEOUT)
        try:
            url = profile.identity.id_server + oauth.TOKEN_PATH
            async with self._client(profile).stream("GET", url, timeout=limits) as response:
                return Probe(response.status_code, response.headers.get("date"))
        except Exception as error:  # noqa: BLE001 -- each is one reason why it isn't reached
            return failure_of(error)

    @property
    def under_way(self) -> int:
        """Give the number of requests that were sent and have no answer yet."""
        return len(self._under_way)

    def overruns(self) -> list[float]:
        """Give for each request under way the seconds since it had to end; negative: it has time.

        A host that was suspended meanwhile doesn't count: the loop's clock stood still then.
        """
        now = anyio.current_time()
        return [now - until for until in self._under_way.values()]

    def abandon(self) -> None:
        """Break off what is under way: only for the daemon's end, when its time is over."""
        for scope in self._under_way:
            scope.cancel()

    @contextmanager
    def _kept(self, limit: float) -> Generator[None]:
        """Let nobody but `abandon` cancel what is in this block; it takes so many seconds at most."""
        with anyio.CancelScope(shield=True) as scope:
            self._under_way[scope] = anyio.current_time() + limit
            try:
                yield
            finally:
                del self._under_way[scope]

    def forget_trust(self) -> None:
        """Read CA files anew from the next request on: a reload may follow a change of them."""
        self._clients = {}

    async def close(self) -> None:
        """Close all clients."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    def _client(self, profile: Profile) -> httpx.AsyncClient:
        plain = profile.identity.id_server.startswith("http:")
        key = "http" if plain else profile.ca_file
        client = self._clients.get(key)
        if client is None:
            client = self._clients[key] = httpx.AsyncClient(
                verify=_NO_TLS if plain else _trust(profile.ca_file),
                trust_env=not plain,  # no proxy for loopback: it would read the password
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
                headers={
                    "accept": "application/json",
                    "accept-encoding": "identity",  # so that a small body can't unpack to a huge one
                    "connection": "close",
                    "user-agent": f"openfit-tokend/{__version__}",
                },
            )
        return client


def failure_of(error: Exception) -> oauth.Failure:
    """Give what an exception of httpx, or any other, means for the request."""
    if isinstance(error, _UNSENT):
        return _not_sent(error)
    if isinstance(error, httpx.TimeoutException):
        return _no_answer("the token server stopped answering")
    if isinstance(error, httpx.RemoteProtocolError):
        return _no_answer("the token server broke off its answer, or it isn't HTTP")
    if isinstance(error, httpx.NetworkError):
        return _no_answer("the connection broke before the answer came")
    return _no_answer(f"the request failed ({type(error).__name__})")


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    retry_after: str | None
    body: bytes | None


async def _exchange(client: httpx.AsyncClient, order: Order) -> Reply:
    profile, request = order.profile, order.request
    if isinstance(request, Login):
        assert order.password is not None  # noqa: S101 -- a login has one
        form = oauth.login_form(profile.identity, order.password)
    else:
        form = oauth.refresh_form(profile.identity, request.token)
    sent, way, limit = clock.boot(), _Way(), REQUEST_TIMEOUT
    try:
        with anyio.fail_after(limit):
            url = profile.identity.id_server + oauth.TOKEN_PATH
            answer = await _post(client, url, form, limit, way)
    except TimeoutError:
        lost = _no_answer(f"no answer within {limit:.0f} s")
        return Reply(sent, lost if way.begun else way.end())
    except Exception as error:  # noqa: BLE001 -- whatever it is, the answer is lost
        lost = failure_of(error)
        return Reply(sent, lost if way.begun or lost.kind is Kind.TRANSIENT else way.end())
    said = oauth.meaning(request, profile.identity.scope, answer.status, answer.body)
    return Reply(sent, said, oauth.retry_after(answer.retry_after, clock.wall()))


@dataclass(slots=True)
class _Way:
    """How far a request came, by httpcore's `trace` extension.

    Only what is known to come before the form counts as such: any other step may have sent it.
    """

    begun: bool = True
    """The form may have gone out. Until the trace tells otherwise, that must be assumed."""
    proxy: bool = False
    """A proxy was asked to connect us."""

    async def __call__(self, event: str, info: Mapping[str, object]) -> None:
        step, _, moment = event.rpartition(".")
        if moment != "started":
            return
        if getattr(info.get("request"), "method", None) == b"CONNECT":
            self.proxy = True
        elif step == "connection.connect_tcp":
            self.begun = False  # each request has a connection of its own, made first
        elif step not in _BEFORE_THE_FORM:
            self.begun = True

    def end(self) -> oauth.Failure:
        """Give what it means that the request ended on this way, before the form was sent."""
        if not self.proxy:
            return _not_sent(httpx.ConnectTimeout(""))
        return _failure(
            "the token server can't be reached: the proxy broke off, or doesn't answer", _PROXY_HINT
        )


async def _post(
    client: httpx.AsyncClient, url: str, form: Mapping[str, str], limit: float, way: _Way
) -> _Answer:
    time_limit = httpx.Timeout(limit, connect=min(CONNECT_TIMEOUT, limit))
    extensions = {"trace": way}
    async with client.stream(
        "POST", url, data=form, timeout=time_limit, extensions=extensions
    ) as response:
        retry_after = response.headers.get("retry-after")
        try:
            return _Answer(response.status_code, retry_after, await _body(response))
        finally:
            # It and its stream hold each other, and the form: so that goes with the request, not
            # with some later collection of garbage.
            await response.aclose()
            response.stream = httpx.ByteStream(b"")


async def _body(response: httpx.Response) -> bytes | None:
    """Read a body as it came, None where it is too large to be a token's."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > oauth.MAX_BODY:
            return None
    return bytes(body)


def _failure(message: str, hint: str | None) -> oauth.Failure:
    return oauth.Failure(Kind.TRANSIENT, Unavailable, message, hint)


def _not_sent(error: Exception) -> oauth.Failure:
    hint = "check the network, environment or id_server"
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        what = "its TLS certificate can't be trusted"
        hint = "check environment or id_server, the clock, and ca_file if a proxy opens TLS"
    elif "SSL" in text or "TLS" in text:
        what, hint = "TLS failed", "check environment or id_server: it must speak https"
    elif isinstance(error, httpx.ProxyError):
        what, hint = "the proxy refused", _PROXY_HINT
    elif isinstance(error, httpx.TimeoutException):
        what = f"no connection within {CONNECT_TIMEOUT:.0f} s"
    else:
        what = _reason(error)
    return _failure(f"the token server can't be reached: {what}", hint)


def _no_client(profile: Profile, error: Exception) -> oauth.Failure:
    if profile.ca_file is not None and isinstance(error, OSError):
        what = f"no CA certificates in {profile.ca_file}: {_reason(error)}"
        hint = "ca_file names a PEM file that the daemon may read"
    else:
        what, hint = "HTTP can't be set up", "check HTTPS_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
    return _failure(what, hint)


def _reason(error: BaseException) -> str:
    """Give the operating system's words behind an exception, which no server can choose."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return "its name can't be resolved"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return "no connection"


def _no_answer(what: str) -> oauth.Failure:
    return oauth.Failure(
        Kind.UNCERTAIN, Unavailable, what, "nothing needs doing: it is tried again"
    )


_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For plain http to loopback: verifies, trusts nobody, and costs nothing to make."""


def _trust(ca_file: str | None) -> ssl.SSLContext:
    """Give the trust in a CA file, else $SSL_CERT_FILE or _DIR, else the system's, else certifi's."""
    if ca_file is not None:
        return ssl.create_default_context(cafile=ca_file)
    paths = ssl.get_default_verify_paths()  # minds the two variables
    if paths.cafile or paths.capath:
        return ssl.create_default_context()
    return httpx.create_ssl_context()


@final
class _Slots:
    """Turns at one server, given out by deadline."""

    def __init__(self) -> None:
        self._free = MAX_REQUESTS
        self._queue: list[tuple[float, int, anyio.Event]] = []
        self._order = count()

    @asynccontextmanager
    async def turn(self, deadline: float) -> AsyncGenerator[None]:
        await self._acquire(deadline)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, deadline: float) -> None:
        if self._free:
            self._free -= 1
            return
        mine = (deadline, next(self._order), anyio.Event())
        heappush(self._queue, mine)
        try:
            await mine[2].wait()
        except BaseException:  # cancelled: the turn is for somebody else
            if mine in self._queue:
                self._queue.remove(mine)
                heapify(self._queue)
            else:
                self._release()
            raise

    def _release(self) -> None:
        if self._queue:
            heappop(self._queue)[2].set()
        else:
            self._free += 1
