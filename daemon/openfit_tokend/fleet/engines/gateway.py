"""The members of an etcd cluster: asked in turn, by their JSON gateways."""

import json
import ssl
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeVar, cast, final

from openfit_tokend.core.settings.store import EtcdPlace, Host
from openfit_tokend.fleet.engines.streamed_http import NotSent, Response, Route, ask
from openfit_tokend.fleet.store import EXCHANGE, Password, Unreached, password_of, within
from openfit_tokend.host import clock
from openfit_tokend.keeping.connecting import reason
from openfit_tokend.keeping.trust import Trust

Fields = dict[str, object]
T = TypeVar("T")

_TICK: Final = 1.0
"""Seconds that each date holds that a gateway tells: it tells whole seconds."""
_INVALID_TOKEN: Final = 16
_ENTRY_HINT: Final = "check store, and store_password_file or store_password_credential"
_CODES: Final = {
    3: ("it refuses the user or the password", _ENTRY_HINT),
    7: ("the user may not use the keys", "grant the user's role readwrite on them, with --prefix"),
    14: ("too few of its members are reached", None),
    _INVALID_TOKEN: ("it refuses the user or the password", _ENTRY_HINT),
}
"""What its errors mean (gRPC's codes), and what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a member answered, and its clock as in `Said`."""

    fields: Fields
    clock: float
    before: float
    after: float


class _InvalidToken(Unreached):
    """The member doesn't know the token any more. Nothing was done."""


@final
class Members:
    """The members of a cluster. `moved` is called when another than the last is going to be asked."""

    def __init__(
        self, place: EtcdPlace, password: Password | None, moved: Callable[[], Awaitable[None]]
    ) -> None:
        self._place = place
        self._password = password
        self._moved = moved
        self._hosts = list(place.hosts)
        self._trust = Trust()
        self._token: str | None = None

    async def ask(self, path: str, message: object, *, again: bool) -> Answer:
        """Ask one member, or those who follow if it can't be reached.

        `again`: also if it may have done what it was asked.

        Raises:
            Unreached: none answered.
        """

        async def ask_one(host: Host) -> Answer:
            before = clock.boot()
            async with await self.post(host, path, message) as response:
                body = await response.body()
                after = clock.boot()
            if response.date is None:
                raise Unreached("its answer has no date")
            # It held this date for a second, which may have begun before it was asked.
            return Answer(parsed(body), response.date, before - _TICK, after)

        return await self.in_turn(ask_one, again=again)

    async def in_turn(self, do: Callable[[Host], Awaitable[T]], *, again: bool) -> T:
        """Do something with the member that answered last, or with those who follow; as `ask`."""
        failures: list[Unreached] = []
        share = EXCHANGE / len(self._hosts)
        with within(EXCHANGE):
            for host in tuple(self._hosts):
                try:
                    with within(share if again else EXCHANGE):
                        return await do(host)
                except Unreached as failure:
                    failures.append(failure.at(host))
                    self._hosts.append(self._hosts.pop(0))
                    await self._moved()
                    if not (again or isinstance(failure, NotSent)):
                        break
        raise Unreached.everywhere(failures)

    async def post(self, host: Host, path: str, message: object) -> Response:
        """Send a message to a member, and return the response once it has accepted it.

        Raises:
            NotSent: there is no connection.
            Unreached: it refused, or may have been asked.
        """
        route = Route(host, await self._trusted(), EXCHANGE / len(self._hosts))
        if self._token is not None or self._place.user is None:
            try:
                return await self._accepted(route, path, message)
            except _InvalidToken:  # it has expired, or the member has started anew
                if self._place.user is None:
                    raise
        self._token = await self._new_token(route, self._place.user)
        return await self._accepted(route, path, message)

    async def _accepted(self, route: Route, path: str, message: object) -> Response:
        more = {
            "grpc-metadata-hasleader": "true"
        }  # so that a member that is cut off says so at once
        if self._token is not None:
            more["authorization"] = self._token
        response = await ask(route, f"/v3/{path}", json.dumps(message).encode(), more)
        if response.status == HTTPStatus.OK:
            return response
        async with response:
            code = parsed(await response.body()).get("code")
        error = _InvalidToken if code == _INVALID_TOKEN else Unreached
        if isinstance(code, int) and code in _CODES:
            raise error(*_CODES[code])
        raise error(f"it refuses (HTTP {response.status})", "see etcd's log")

    async def _new_token(self, route: Route, user: str) -> str:
        password = await password_of(self._password)
        entry = {"name": user, "password": "" if password is None else password.reveal}
        self._token = None
        async with await self._accepted(route, "auth/authenticate", entry) as response:
            return str(parsed(await response.body()).get("token"))

    async def _trusted(self) -> ssl.SSLContext | None:
        if not self._place.tls:
            return None
        named = self._place.ca_file
        try:
            return await self._trust.context(named)
        except OSError as error:
            what = "the system's CA certificates" if named is None else named
            hint = "check sslrootcert in store" if named else "check SSL_CERT_FILE and SSL_CERT_DIR"
            raise NotSent(f"no CA certificates in {what}: {reason(error)}", hint) from None


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
