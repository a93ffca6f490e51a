"""What a member of an etcd cluster is asked, and answers, by its JSON gateway."""

import json
import socket
import ssl
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, NamedTuple, cast, final

import httpcore
from anyio import BrokenResourceError, EndOfStream

from openfit_token._shared.local_peer import Stranger
from openfit_tokend import __version__
from openfit_tokend.core.settings.etcd import EtcdPlace
from openfit_tokend.fleet.store import ENTRY_HINT, Password, RowTrouble, Unreached, password_of
from openfit_tokend.host import clock
from openfit_tokend.keeping.connecting import judge_peer, reason
from openfit_tokend.keeping.trust import NoAuthorities, Trust

Fields = dict[str, object]

MAX_BODY: Final = 2 * 1024 * 1024
"""Bytes of a response: etcd's own limit of what is written at once is 1.5 MB, 2 MB in base64."""
_TICK: Final = 1.0
"""Seconds that each date holds that a gateway tells: it tells whole seconds."""
_KEEP_ALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""So that a watch at a host that vanished ends half a minute later."""
_INVALID_TOKEN: Final = (3, 16)
_CODES: Final = {
    3: ("it refuses the user or the password", ENTRY_HINT),
    7: ("the user may not use the keys", "grant the user's role readwrite on them, with --prefix"),
    8: ("its space is used up", "compact and defragment it, then etcdctl alarm disarm"),
    14: ("too few of its members are reached", None),
    16: ("it refuses the user or the password", ENTRY_HINT),
}
"""What its errors mean (gRPC's codes), and what to do."""
_OF_A_ROW: Final = (7, 8)
"""Those by which a row is refused, while others may be read."""


class Reading(NamedTuple):
    """A member's clock, as in `Said`."""

    clock: float
    before: float
    after: float


class _InvalidToken(Unreached):
    """The member doesn't know the token any more. Nothing was done."""


@final
class Gateway:
    """The gateway of one member: `host`, which may be set to another's."""

    def __init__(self, place: EtcdPlace, password: Password | None) -> None:
        self.host = place.hosts[0]
        self._place = place
        self._password = password
        self._trust = Trust("sslrootcert")
        self._token: str | None = None

    async def ask(self, path: str, message: object) -> tuple[Fields, Reading]:
        """Send a message, and return the answer, and the member's clock.

        Raises:
            Unreached: there is none.
        """
        before = clock.boot()
        async with self.response(path, message) as response:
            fields = parsed(await _body(response))
            after = clock.boot()
        # It held this date for a second, which may have begun before it was asked.
        return fields, Reading(_date(response), before - _TICK, after)

    @asynccontextmanager
    async def response(self, path: str, message: object) -> AsyncGenerator[httpcore.Response]:
        """Send a message, and yield the response once it is accepted. The caller limits the time.

        Raises:
            Unreached: it isn't accepted, or the connection is lost in the block.
        """
        user = self._place.user
        async with AsyncExitStack() as stack:
            try:
                if user is not None and self._token is None:
                    await self._enter(user)
                response = await stack.enter_async_context(self._accepted(path, message))
            except _InvalidToken:  # it has expired, or the member has started anew
                if user is None:
                    raise
                await self._enter(user)
                response = await stack.enter_async_context(self._accepted(path, message))
            yield response

    async def _enter(self, user: str) -> None:
        """Get a token for the user and the password."""
        password = await password_of(self._password)
        entry = {"name": user, "password": "" if password is None else password.reveal}
        self._token = None
        async with self._accepted("auth/authenticate", entry) as response:
            self._token = str(parsed(await _body(response)).get("token"))

    @asynccontextmanager
    async def _accepted(self, path: str, message: object) -> AsyncGenerator[httpcore.Response]:
        """Send a message on a connection of its own, which is closed behind the block."""
        headers: dict[bytes | str, bytes | str] = {
            "host": str(self.host),
            "accept": "application/json",
            "connection": "close",
            "content-type": "application/json",
            "user-agent": f"openfit-tokend/{__version__}",
            "grpc-metadata-hasleader": "true",  # so that a member that is cut off says so at once
        }
        if self._token is not None:
            headers["authorization"] = self._token
        url = f"{'https' if self._place.tls else 'http'}://{self.host}/v3/{path}"
        with _explained():
            async with (
                httpcore.AsyncConnectionPool(
                    ssl_context=await self._trusted(),
                    network_backend=_Network(self._place),
                    socket_options=_KEEP_ALIVE,
                ) as pool,
                pool.stream(
                    "POST", url, headers=headers, content=json.dumps(message).encode()
                ) as response,
            ):
                if response.status != HTTPStatus.OK:
                    raise _refusal(response.status, parsed(await _body(response)).get("code"))
                yield response

    async def _trusted(self) -> ssl.SSLContext | None:
        try:
            return await self._trust.context(self._place.ca_file) if self._place.tls else None
        except NoAuthorities as error:
            raise Unreached(error.message, error.hint) from None


@final
class _Network(httpcore.AsyncNetworkBackend):
    """Connects; without TLS, to nobody but whom the configuration trusts."""

    def __init__(self, place: EtcdPlace) -> None:
        self._place = place
        # To the type checkers it is another class where anyio isn't installed.
        self._network = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect. Raises Stranger: somebody else listens there."""
        stream = await self._network.connect_tcp(host, port, timeout, local_address, socket_options)
        if not self._place.tls:
            await judge_peer(stream, self._place.loopback_user)
        return stream


@contextmanager
def _explained() -> Generator[None]:
    """Turn what goes wrong with a connection in this block into Unreached."""
    try:
        yield
    except Stranger as stranger:
        raise Unreached(stranger.message, stranger.hint) from None
    except httpcore.ProtocolError:
        raise Unreached("its answer was cut off, or isn't HTTP") from None
    except (httpcore.ConnectError, UnicodeError) as error:
        match error.__context__:  # httpcore drops the cause
            case ssl.SSLCertVerificationError():
                hint = "check the host in store, the clock, and its sslrootcert"
                raise Unreached("its TLS certificate can't be trusted", hint) from None
            case ssl.SSLError() | EndOfStream() | BrokenResourceError():
                raise Unreached("TLS failed", "check the port in store") from None
            case _:
                raise Unreached(reason(error)) from None
    except httpcore.NetworkError as error:
        raise Unreached(f"the connection was lost: {reason(error)}") from None


def _refusal(status: int, code: object) -> Unreached:
    error: type[Unreached] = Unreached
    if code in _INVALID_TOKEN:
        error = _InvalidToken
    elif code in _OF_A_ROW:
        error = RowTrouble
    if isinstance(code, int) and code in _CODES:
        return error(*_CODES[code])
    return error(f"it refuses (HTTP {status})", "see etcd's log")


async def _body(response: httpcore.Response) -> bytes:
    """Return a whole body."""
    body = bytearray()
    async for part in response.aiter_stream():
        if len(body) <= MAX_BODY:  # a generator must be read to its end
            body += part
    if len(body) > MAX_BODY:
        raise Unreached(f"its answer is longer than {MAX_BODY // 1024} KiB")
    return bytes(body)


def _date(response: httpcore.Response) -> float:
    try:
        date = {name.lower(): value for name, value in response.headers}[b"date"]
        return parsedate_to_datetime(date.decode("ascii")).timestamp()
    except (KeyError, ValueError, OverflowError):
        raise Unreached("its answer has no date") from None


def parsed(text: bytes) -> Fields:
    """Parse a message.

    Raises:
        Unreached: it isn't one of etcd's.
    """
    with understood():
        message: object = json.loads(text)
        if isinstance(message, dict):
            return cast("Fields", message)
    raise Unreached("its answer isn't etcd's", "check the port in store")


@contextmanager
def understood() -> Generator[None]:
    """Parse in this block what a member sent: its shape isn't known before.

    Raises:
        Unreached: it isn't what etcd sends.
    """
    try:
        yield
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise Unreached("its answer isn't etcd's", "check the port in store") from None
