"""MessagePack-RPC: a request is answered under its msgid, as it comes or later.

The short way is for the request that nearly all requests are: a token, as it is held. Two requests
whose bytes differ only in the msgid ask for the same. So the bytes behind the msgid of each plain
`get_token` are remembered, with the keeper that answers; when they come again nothing is decoded.
Whatever isn't plainly answerable goes the usual way.
"""

import struct
from typing import TYPE_CHECKING, Final, final

from msgpack import packb

from openfit_token._shared.protocol import (
    MAX_REQUEST,
    Decoder,
    Encoded,
    Incomplete,
    Malformed,
    encode_error,
    encode_result,
    parse_params,
    parse_request,
)
from openfit_token.errors import BadRequest, TokenError
from openfit_tokend.core.callers.answers import LoginEnded
from openfit_tokend.core.session import AccessToken
from openfit_tokend.host import clock
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.calls import Backend, Calls
from openfit_tokend.serving.connection import FAREWELL, Connection, Owed, Park
from openfit_tokend.serving.prepared import MAX_KNOWN, Answers, Prepared, described
from openfit_tokend.serving.profiles import Profiles
from openfit_tokend.serving.server import Server
from openfit_tokend.serving.users import User
from openfit_tokend.serving.waiting import Follow, Following, Later, Waiting

if TYPE_CHECKING:
    from openfit_token._shared.protocol import Value

READ_SIZE: Final = 256
"""Bytes read of one connection in one pass: some twenty requests, less than a millisecond's work."""
MAX_PARKED: Final = 64
"""Calls of one connection that may wait. It isn't read while so many do."""
MAX_UNREAD: Final = 256 * 1024
"""Bytes of answers that a parked caller may leave unread before it is closed."""

_Known = tuple[bytes, Keeper]
"""What stands before the result, and whose token is the result."""
_REQUEST: Final = b"\x94\x00"
"""An array of four that begins with 0."""
_SHORT: Final = 3
"""Where a msgid below 128 ends."""
_MSGID_ENDS: Final = {0xCC: 4, 0xCD: 5, 0xCE: 7}
"""Where a msgid ends, by its first byte, if it is no number below 128."""
_LEFT: Final = struct.Struct(">Bd")
_FLOAT64: Final = 0xCB
"""MessagePack's sign for the eight bytes of a float."""


@final
class TokenResult(Prepared):
    """The result that hands out a token, encoded."""

    __slots__ = ("_before",)

    def __init__(self, keeper: Keeper, access: AccessToken, now: float) -> None:
        super().__init__(keeper, access, now)
        whole: bytes = packb(described(keeper, access, now))
        self._before = whole[: -_LEFT.size]

    def at(self, now: float) -> bytes:
        """Return its bytes at a moment before `until`."""
        return self._before + _LEFT.pack(_FLOAT64, self.expires - now)


@final
class Rpc:
    """The dialect of the daemon's own socket."""

    def __init__(self, server: Server, backend: Backend, profiles: Profiles, alarm: Alarm) -> None:
        self.hears = True
        self.most_owed = MAX_PARKED
        self.farewell = FAREWELL
        self.guests: User | None = None
        self.read_size = READ_SIZE
        self._server = server
        self._answers = Answers(TokenResult)
        self._calls = Calls(backend, profiles, self._hand_out)
        self.refusal = profiles.refusal  # these two are for `Waiting`
        self.token = self._calls.token
        self._waiting = Waiting(server, self, alarm)
        self._following = Following(server, profiles.refusal)
        self._keepers: dict[bytes, Keeper] = {}  # by the bytes behind the msgid
        self._known: dict[bytes, _Known] = {}  # by all bytes: one look is enough
        profiles.forget_answers.append(self._forget_answers)

    # Changes of keepers and of the daemon

    def changed(self, keeper: Keeper, ended: LoginEnded | None) -> None:
        """Answer the calls that waited for this change, and notify subscribers."""
        self._answers.forget(keeper)
        self._waiting.changed(keeper, ended)
        self._following.changed(keeper)

    def removed(self, keeper: Keeper, error: TokenError) -> None:
        """Answer the calls that wait for a removed keeper, and close its subscribers' connections."""
        self._answers.forget(keeper)
        self._waiting.removed(keeper, error)
        self._following.removed(keeper)

    def answer_waiting(self, error: TokenError) -> None:
        """Answer all waiting calls."""
        self._waiting.answer_all(error)

    def dismiss(self, error: TokenError) -> None:
        """Answer the calls that still wait, and send no more notifications."""
        self._waiting.answer_all(error)
        self._following.end()

    # The short way

    def prepared(self, request: bytes, caller: Connection) -> bytes | None:
        """Return the bytes of the answer; None: decode the request instead."""
        known = self._known.get(request) or self._recognise(request)
        if known is None:
            return None
        head, keeper = known
        now = clock.boot()
        answer = self._answers.ready(keeper, caller, now)
        return None if answer is None else head + answer.at(now)

    def _remember(self, request: bytes, keeper: Keeper) -> None:
        """Remember which keeper's token answers a request for a token and nothing else."""
        if len(self._keepers) >= MAX_KNOWN:
            self._forget_answers()
        end = _end_of_msgid(request)
        if end:
            self._keepers[request[end:]] = keeper

    def _forget_answers(self) -> None:
        self._keepers.clear()
        self._known.clear()

    def _recognise(self, request: bytes) -> _Known | None:
        end = _end_of_msgid(request)
        keeper = self._keepers.get(request[end:]) if end else None
        if keeper is None:
            return None
        known = b"\x94\x01" + request[2:end] + b"\xc0", keeper
        if end == _SHORT:  # longer ones are those of clients that count on: they don't come again
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[request] = known
        return known

    # The usual way

    def answer(self, connection: Connection, data: bytes | None) -> bool:
        """Answer the first request in `data` and what was left; return whether there was one."""
        decoder = connection.rest
        if not isinstance(decoder, Decoder):
            if data is None:
                return False
            decoder = Decoder(MAX_REQUEST)
        whole = data if decoder.is_empty else None
        try:
            message = decoder.next() if data is None else decoder.feed(data)
            is_empty = decoder.is_empty
            connection.rest = None if is_empty else decoder
            if isinstance(message, Incomplete):
                return False
            self._request(connection, message, whole if is_empty else None)
        except Malformed as error:
            last = encode_error(error.msgid, BadRequest(str(error)))
            self._server.end(connection, last)
            return False
        return True

    def more(self, connection: Connection) -> bytes:
        """Return the notifications that were held back while it didn't read."""
        return self._following.news(connection)

    def refuse(self, connection: Connection, error: TokenError) -> None:
        """Refuse a client with an error."""
        self._server.end(connection, encode_error(0, error))

    def forget(self, connection: Connection) -> None:
        """Drop a connection's waiting calls and subscriptions."""
        if connection.owed:
            self._waiting.forget(connection)
        if connection.follows:
            self._following.forget(connection)

    def respond(self, owed: Owed, result: object) -> None:
        """Answer a call that has waited. Its client may not leave much unread."""
        connection = owed.connection
        self._server.put(connection, _encoded(owed.msgid, result))
        if owed.park is not None and len(connection.outgoing) > MAX_UNREAD:
            self._server.drop(connection)

    def _hand_out(self, keeper: Keeper, access: AccessToken, now: float) -> Encoded:
        return Encoded(self._answers.hand_out(keeper, access, now).at(now))

    def _request(self, connection: Connection, message: "Value", whole: bytes | None) -> None:
        """Answer a request, now or later. `whole`: all the bytes it consists of, if they are known."""
        request = parse_request(message)
        if request is None:
            return  # a notification: the daemon takes none
        msgid, method, params = request
        connection.user.requests += 1
        try:
            given = parse_params(params)
        except BadRequest as error:
            connection.outgoing += encode_error(msgid, error)
            return
        except Malformed as error:
            raise Malformed(str(error), msgid) from error
        result = self._calls.call(connection, method, given)
        if whole is not None and not isinstance(result, TokenError):
            keeper = self._calls.plain(method, given)
            if keeper is not None:
                self._remember(whole, keeper)
        if isinstance(result, Park):
            self._waiting.park(connection, msgid, result)
        elif isinstance(result, Later):
            self._waiting.begin(connection, msgid, result)
        elif isinstance(result, Follow):
            connection.outgoing += encode_result(msgid, result.result)
            self._following.add(connection, result.keeper)
        else:
            connection.outgoing += _encoded(msgid, result)


def _encoded(msgid: int, result: object) -> bytes:
    if isinstance(result, TokenError):
        return encode_error(msgid, result)
    return encode_result(msgid, result)


def _end_of_msgid(request: bytes) -> int:
    """Return where the msgid of a request ends; 0 if that can't be told by a glance."""
    if len(request) < 4 or not request.startswith(_REQUEST):  # noqa: PLR2004 -- the shortest there can be
        return 0
    first = request[2]
    return _SHORT if first < 0x80 else _MSGID_ENDS.get(first, 0)  # noqa: PLR2004 -- MessagePack's small numbers
