"""HTTP/1.1 at a Unix socket: a token for any HTTP client, and forward-auth for proxies.

A request means what it means at the other socket: `Calls` checks and answers it. Here are only HTTP's
forms. One request of a connection is answered at a time, so answers come in order.

The short way is that of `rpc`: a client, or a proxy that sends us fields of its own alone, repeats
its bytes. Those of each plain request for a token are remembered with the keeper that answers;
when they come again, nothing is parsed.
"""

from http import HTTPStatus
from typing import Final, NamedTuple, cast, final

from openfit_token.errors import BadRequest, NoSuchMethod, TokenError, Unavailable
from openfit_tokend.core.callers.answers import LoginEnded
from openfit_tokend.core.session import AccessToken
from openfit_tokend.host import clock
from openfit_tokend.host.alarm import Alarm, Entry
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.calls import Backend, Calls
from openfit_tokend.serving.connection import FAREWELL, Connection, Owed, Park
from openfit_tokend.serving.http.answer import (
    JSON,
    OPENMETRICS,
    TEXT,
    TokenAnswers,
    answer,
    as_json,
    last,
    problem,
    without_body,
)
from openfit_tokend.serving.http.request import Malformed, Reader, Request
from openfit_tokend.serving.http.routes import AUTH, PLAIN, ROUTES, parameters
from openfit_tokend.serving.prepared import MAX_KNOWN, Answers
from openfit_tokend.serving.profiles import Profiles, quoted
from openfit_tokend.serving.server import Server
from openfit_tokend.serving.users import User
from openfit_tokend.serving.waiting import Waiting

READ_SIZE: Final = 2048
"""Bytes read of a connection in one pass: the head of most requests, so that it comes whole."""
REQUEST_TIME: Final = 10.0
"""Seconds from the first byte of a request to its last."""
MAX_KNOWN_SIZE: Final = 512
"""Bytes of one that is."""


class _Token(NamedTuple):
    """A keeper's live token, to be handed out now."""

    keeper: Keeper
    access: AccessToken
    now: float


@final
class Http:
    """The dialect of the HTTP socket."""

    def __init__(self, server: Server, backend: Backend, profiles: Profiles, alarm: Alarm) -> None:
        self.hears = True
        self.most_owed = 1
        self.farewell = FAREWELL
        self.guests: User | None = None
        self.read_size = READ_SIZE
        self._server = server
        self._calls = Calls(backend, profiles, _Token)
        self.refusal = profiles.refusal  # these two are for `Waiting`
        self.token = self._calls.token
        self._profiles = profiles
        self._alarm = alarm
        self._waiting = Waiting(server, self, alarm)
        self._asked: dict[Connection, Request] = {}
        self._late: dict[Connection, Entry] = {}
        self._answers = Answers(TokenAnswers)
        self._known: dict[bytes, tuple[Keeper, bool]] = {}  # True: the answer is forward-auth's
        profiles.forget_answers.append(self._known.clear)

    # Changes of keepers and of the daemon

    def changed(self, keeper: Keeper, ended: LoginEnded | None) -> None:
        """Answer the calls that waited for this change."""
        self._answers.forget(keeper)
        self._waiting.changed(keeper, ended)

    def removed(self, keeper: Keeper, error: TokenError) -> None:
        """Answer the calls that wait for a removed keeper."""
        self._answers.forget(keeper)
        self._waiting.removed(keeper, error)

    def answer_waiting(self, error: TokenError) -> None:
        """Answer all waiting calls. From now on each answer is its connection's last."""
        self._known.clear()
        self._waiting.answer_all(error)

    def dismiss(self, error: TokenError) -> None:
        """Answer the calls that still wait."""
        self._waiting.answer_all(error)

    # The short way

    def prepared(self, request: bytes, caller: Connection) -> bytes | None:
        """Return the bytes of the answer; None: parse the request instead."""
        known = self._known.get(request)
        if known is None:
            return None
        keeper, authorizes = known
        now = clock.boot()
        answers = self._answers.ready(keeper, caller, now)
        if answers is None:
            return None
        return answers.authorization if authorizes else answers.token(now)

    def _remember(self, head: bytes, request: Request, keeper: Keeper) -> None:
        """Remember which keeper's token answers a request for a token and nothing else, without a body."""
        if (
            len(head) > MAX_KNOWN_SIZE
            or request.method == "HEAD"
            or request.path not in PLAIN
            or not (request.is_common and self._stays(request))
            or self._calls.plain("get_token", parameters(ROUTES[request.path], request))
            is not keeper
        ):
            return
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[head] = keeper, request.path == AUTH

    # The usual way

    def answer(self, connection: Connection, data: bytes | None) -> bool:
        """Answer the first request in `data` and what was left; return whether there was one."""
        reader = connection.rest
        if not isinstance(reader, Reader):
            if data is None:
                return False
            reader = Reader()
        if data is not None:
            reader.feed(data)
        try:
            answered = self._answer_next(connection, reader)
        except Malformed as error:
            refused = BadRequest(f"this is no request that can be answered: {error}")
            self._server.end(connection, last(problem(refused, error.status)))
            answered = False
        connection.rest = None if reader.is_empty else reader
        if answered:
            self._in_time(connection)
        elif connection.ended:
            connection.rest = None
        elif connection.rest is not None:
            connection.outgoing += reader.go_on()
            self._hurry(connection)
        return answered

    def _answer_next(self, connection: Connection, reader: Reader) -> bool:
        """Answer a request, now or later; False: none is whole, or the connection ends."""
        head = reader.head()
        known = None if head is None else self.prepared(head, connection)
        if head is not None and known is not None:
            reader.skip(head)
            connection.user.requests += 1
            connection.outgoing += known
            return True
        request = reader.next()
        if request is None:
            return False
        return self._request(connection, request, head)

    def more(self, _connection: Connection) -> bytes:
        """Return nothing: HTTP has no notifications here."""
        return b""

    def refuse(self, connection: Connection, error: TokenError) -> None:
        """Refuse a client with an error."""
        self._server.end(connection, last(problem(error)))

    def forget(self, connection: Connection) -> None:
        """Drop a connection's waiting call."""
        self._in_time(connection)
        self._asked.pop(connection, None)
        if connection.owed:
            self._waiting.forget(connection)

    def respond(self, owed: Owed, result: object) -> None:
        """Answer a request that has waited."""
        connection = owed.connection
        request = self._asked.pop(connection)
        said = self._said(request, result)
        if self._stays(request):
            self._server.put(connection, said)
        else:
            self._server.end(connection, said)

    def _request(self, connection: Connection, request: Request, head: bytes | None) -> bool:
        """Answer a request, now or later; False: the connection ends. `head`: its bytes."""
        connection.user.requests += 1
        result = self._result(connection, request)
        if isinstance(result, Park):
            self._asked[connection] = request
            self._waiting.park(connection, 0, result)
            return True
        if head is not None and isinstance(result, _Token):
            self._remember(head, request, result.keeper)
        said = self._said(request, result)
        if self._stays(request):
            connection.outgoing += said
            return True
        self._server.end(connection, said)
        return False

    def _result(self, connection: Connection, request: Request) -> object:
        """Return what a request is answered: a Park, a _Token, an error, what is JSON, or all bytes."""
        route = ROUTES.get(request.path)
        if route is None:
            return NoSuchMethod(
                f"there is no {quoted(request.path)}", f"there are {', '.join(ROUTES)}"
            )
        if route.methods and request.method not in route.methods:
            methods = ", ".join(route.methods)
            wrong = BadRequest(
                f"{quoted(request.method)} isn't for {request.path}", f"use {methods}"
            )
            allowed = {"Allow": methods}
            return problem(wrong, HTTPStatus.METHOD_NOT_ALLOWED, allowed)
        try:
            return self._do(connection, route.does, request, parameters(route, request))
        except BadRequest as error:
            return error

    def _do(
        self, caller: Connection, does: str, request: Request, params: dict[str, object]
    ) -> object:
        match does:
            case "auth" if request.refused is not None:
                params["id"] = request.refused
                return self._calls.call(caller, "refuse", params)
            case "auth":
                return self._calls.call(caller, "get_token", params)
            case "healthz":
                return answer(HTTPStatus.OK, b"ok\n", TEXT)
            case "readyz":
                return self._readiness(caller)
            case "metrics":
                return _metrics(self._calls.call(caller, "status", {}))
            case method:
                return self._calls.call(caller, method, params)

    def _readiness(self, caller: Connection) -> object:
        """Return whether each profile that the caller may use has a live token, as an answer."""
        usable, now = self._profiles.usable(caller), clock.boot()
        if not usable:
            return self._calls.call(caller, "get_token", {})  # the error says why
        without = [name for name, keeper in usable.items() if not keeper.health(now).ready]
        if not without:
            return {"ready": list(usable)}
        return Unavailable(
            f"without a live token: {', '.join(without)}", "openfit-token status says why"
        )

    def _said(self, request: Request, result: object) -> bytes:
        """Return the whole answer."""
        if isinstance(result, _Token):
            answers = self._answers.hand_out(*result)
            whole = answers.authorization if request.path == AUTH else answers.token(result.now)
        elif isinstance(result, TokenError):
            whole = problem(result)
        elif isinstance(result, bytes):
            whole = result
        else:
            whole = answer(HTTPStatus.OK, as_json(result), JSON)
        if request.method == "HEAD":
            whole = without_body(whole)
        return whole if self._stays(request) else last(whole)

    def _stays(self, request: Request) -> bool:
        """Return whether the connection stays open behind an answer."""
        return request.keeps and not self._profiles.stopping

    # Requests that arrive in parts

    def _hurry(self, connection: Connection) -> None:
        """Limit the time for the rest of a request."""
        if connection not in self._late:
            until = clock.boot() + REQUEST_TIME
            self._late[connection] = self._alarm.at(until, lambda: self._too_late(connection))

    def _in_time(self, connection: Connection) -> None:
        entry = self._late.pop(connection, None)
        if entry is not None:
            self._alarm.cancel(entry)

    def _too_late(self, connection: Connection) -> None:
        del self._late[connection]
        late = BadRequest(f"the request didn't come whole within {REQUEST_TIME:.0f} s")
        self._server.end(connection, last(problem(late, HTTPStatus.REQUEST_TIMEOUT)))


def _metrics(status: object) -> object:
    """Return a status as monitoring reads it; an error as it is."""
    if not isinstance(status, dict):
        return status
    from openfit_token._client.open_metrics import exposition  # noqa: PLC0415 -- for who scrapes

    found = cast("dict[str, object]", status)
    return answer(HTTPStatus.OK, exposition(found).encode(), OPENMETRICS)
