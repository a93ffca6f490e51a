"""What a member of an etcd cluster is asked, and answers, by its JSON gateway."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final, cast, final

from openfit_token._shared.frozen import frozen
from openfit_tokend.core.settings.etcd import EtcdPlace
from openfit_tokend.fleet.engines.streamed_http import Response, Trusted, ask
from openfit_tokend.fleet.store import Password, RowTrouble, Unreached, password_of
from openfit_tokend.host import clock
from openfit_tokend.keeping.trust import NoAuthorities, Trust

Fields = dict[str, object]

_TICK: Final = 1.0
"""Seconds that each date holds that a gateway tells: it tells whole seconds."""
_INVALID_TOKEN: Final = (3, 16)
_ENTRY_HINT: Final = "check store, and store_password_file or store_password_credential"
_CODES: Final = {
    3: ("it refuses the user or the password", _ENTRY_HINT),
    7: ("the user may not use the keys", "grant the user's role readwrite on them, with --prefix"),
    8: ("its space is used up", "compact and defragment it, then etcdctl alarm disarm"),
    14: ("too few of its members are reached", None),
    16: ("it refuses the user or the password", _ENTRY_HINT),
}
"""What its errors mean (gRPC's codes), and what to do."""
_OF_A_ROW: Final = (7, 8)
"""Those by which a row is refused, while others may be read."""


@frozen
class Answer:
    """What a member answered, and its clock as in `Said`."""

    fields: Fields
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

    async def ask(self, path: str, message: object) -> Answer:
        """Send a message, and return the answer.

        Raises:
            Unreached: there is none.
        """
        before = clock.boot()
        async with await self.post(path, message) as response:
            body = await response.body()
            after = clock.boot()
        if response.date is None:
            raise Unreached("its answer has no date")
        # It held this date for a second, which may have begun before it was asked.
        return Answer(parsed(body), response.date, before - _TICK, after)

    async def post(self, path: str, message: object) -> Response:
        """Send a message, and return the response once it is accepted.

        Raises:
            Unreached: it isn't.
        """
        trusted = await self._trusted()
        if self._token is not None or self._place.user is None:
            try:
                return await self._accepted(trusted, path, message)
            except _InvalidToken:  # it has expired, or the member has started anew
                if self._place.user is None:
                    raise
        await self._enter(trusted, self._place.user)
        return await self._accepted(trusted, path, message)

    async def _enter(self, trusted: Trusted, user: str) -> None:
        """Get a token for the user and the password."""
        password = await password_of(self._password)
        entry = {"name": user, "password": "" if password is None else password.reveal}
        self._token = None
        async with await self._accepted(trusted, "auth/authenticate", entry) as response:
            self._token = str(parsed(await response.body()).get("token"))

    async def _accepted(self, trusted: Trusted, path: str, message: object) -> Response:
        more = {
            "grpc-metadata-hasleader": "true"
        }  # so that a member that is cut off says so at once
        if self._token is not None:
            more["authorization"] = self._token
        content = json.dumps(message).encode()
        response = await ask(self.host, trusted, f"/v3/{path}", content, more)
        if response.status == HTTPStatus.OK:
            return response
        async with response:
            code = parsed(await response.body()).get("code")
        error: type[Unreached] = Unreached
        if code in _INVALID_TOKEN:
            error = _InvalidToken
        elif code in _OF_A_ROW:
            error = RowTrouble
        if isinstance(code, int) and code in _CODES:
            raise error(*_CODES[code])
        raise error(f"it refuses (HTTP {response.status})", "see etcd's log")

    async def _trusted(self) -> Trusted:
        if not self._place.tls:
            return self._place.loopback_user
        try:
            return await self._trust.context(self._place.ca_file)
        except NoAuthorities as error:
            raise Unreached(error.message, error.hint) from None


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
