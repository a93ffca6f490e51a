"""The wire, without I/O: MessagePack-RPC requests and responses to bytes and back.

Both sides use this file, so there is one codec. The framing is the public MessagePack-RPC
specification: `[0, msgid, method, params]` is answered by `[1, msgid, error, result]`, and
`[2, method, params]` asks for no answer.
"""

from msgpack import BufferFull, Unpacker, packb, unpackb

from openfit_token.errors import BY_CODE, BadRequest, Internal, ProtocolViolation, TokenError

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not loaded at run time: it would double the client's start
    from collections.abc import Mapping
    from typing import Final, TypeAlias

    Value: TypeAlias = "bool | int | float | str | bytes | list[Value] | dict[Value, Value] | None"
    """What MessagePack can say. (Its extension types fit none of our messages.)"""

PROTOCOL: "Final" = 1
"""The version of the methods; `hello` tells it."""
REQUEST: "Final" = 0
RESPONSE: "Final" = 1
NOTIFICATION: "Final" = 2

MAX_REQUEST: "Final" = 16 * 1024
"""Bytes of one request: a hundred times the largest sensible one."""
MAX_ANSWER: "Final" = 16 * 1024 * 1024
"""Bytes of one answer. The status of 1,000 profiles takes about 1 MiB."""
MAX_NESTING: "Final" = 4
"""Arrays and maps in one another: request, params, their map, and one to spare."""
MAX_MSGID: "Final" = 2**32 - 1
MAX_WAIT: "Final" = 300.0
"""Seconds a call may wait."""
DEFAULT_WAIT: "Final" = 30.0
"""Seconds that a call waits by default."""
MAX_PASSWORD: "Final" = 100
"""Characters. IdentityServer refuses longer ones, and counts that as a failed login."""
MAX_REFRESH_TOKEN: "Final" = 8192
"""Characters: several times the largest seen, and half a request."""

_SMALL: "Final" = 1024
"""Bytes of half a message that are kept as they are, and looked at anew when more comes. An Unpacker
takes 40 KiB: too much for each of thousands of slow peers, and no caller's request is longer."""
_MAX_ITEMS: "Final" = 64
"""Items of an array or map in a request. MessagePack lets ten bytes announce four billion."""


class Malformed(ValueError):
    """The bytes are not MessagePack, or the value is not one of the protocol's arrays.

    The daemon answers once, to `msgid` (0 if none can be made out), and closes.
    """

    def __init__(self, reason: str, msgid: int = 0) -> None:
        super().__init__(reason)
        self.msgid = msgid


class Incomplete:
    """The type of INCOMPLETE, which isn't a MessagePack value."""


INCOMPLETE: "Final" = Incomplete()
"""What a Decoder returns while it has no complete message."""


class Decoder:
    """Turns bytes into messages, however the bytes are split.

    It costs nothing while a peer sends whole messages one at a time: only an incomplete message, or
    several at once, make it keep a buffer.
    """

    __slots__ = ("_end", "_limit", "_max_items", "_part", "_start", "_unpacker")

    def __init__(self, limit: int, max_items: int = _MAX_ITEMS) -> None:
        """Refuse messages over `limit` bytes, and arrays and maps over `max_items`."""
        self._limit = limit
        self._max_items = max_items
        self._part = b""  # the beginning of a message, as long as it is small
        self._unpacker: Unpacker | None = None
        self._start = 0  # offset of the present message in the unpacker's stream
        self._end = 0  # offset behind the last byte fed

    @property
    def is_empty(self) -> bool:
        """Return whether nothing that was fed is left."""
        return self._unpacker is None and not self._part

    def feed(self, data: bytes) -> "Value | Incomplete":
        """Take bytes and return the first message, or INCOMPLETE.

        Call `next` until it returns INCOMPLETE before feeding again.

        Raises:
            Malformed: the bytes are not MessagePack, or the message is too large.
        """
        if self._unpacker is None:
            data, self._part = self._part + data, b""
            if len(data) <= self._limit:
                try:
                    whole: Value = unpackb(
                        data,
                        max_array_len=self._max_items,
                        max_map_len=self._max_items,
                        strict_map_key=False,
                    )
                except (ValueError, TypeError) as error:
                    # Else it is a long part, several, or rubbish: the unpacker tells them apart.
                    if len(data) <= _SMALL and "incomplete" in str(error):
                        self._part = data
                        return INCOMPLETE
                else:
                    return whole
            self._unpacker = Unpacker(
                max_buffer_size=2 * self._limit + len(data),
                max_array_len=self._max_items,
                max_map_len=self._max_items,
                strict_map_key=False,  # the reader of the map judges its keys
            )
            self._start = self._end = 0
        try:
            self._unpacker.feed(data)
        except BufferFull as error:
            raise Malformed(f"a message is longer than {self._limit} bytes") from error
        self._end += len(data)
        return self.next()

    def next(self) -> "Value | Incomplete":
        """Return the next message of what was fed, or INCOMPLETE.

        Raises:
            Malformed: as for `feed`. The stream is lost then: close it.
        """
        unpacker = self._unpacker
        if unpacker is None:
            return INCOMPLETE
        try:
            message: Value | Incomplete = next(unpacker, INCOMPLETE)
        except (ValueError, TypeError) as error:  # TypeError: an array or a map as a map's key
            raise Malformed("not MessagePack") from error
        end = self._end if message is INCOMPLETE else unpacker.tell()
        if end - self._start > self._limit:
            raise Malformed(f"a message is longer than {self._limit} bytes")
        if message is not INCOMPLETE:
            self._start = end
        if self._start == self._end:
            self._unpacker = None  # all used up: back to costing nothing
        return message


def encode_request(msgid: int, method: str, params: "Mapping[str, object]") -> bytes:
    """Return the bytes of a call. Params that are None are left out.

    Raises:
        BadRequest: MessagePack can't say one of the params.
    """
    try:
        return packb([REQUEST, msgid, method, _given(params)])
    except (ValueError, OverflowError):
        pass  # raised below, without the error that names the whole text
    raise BadRequest(
        f"{method} can't be sent: a text has half of a surrogate pair, or a number more than 64 bits"
    )


def _given(params: "Mapping[str, object]") -> list[dict[str, object]]:
    """Return the params as they are sent; a Secret's are revealed, by its attribute: it isn't loaded."""
    given = {
        name: getattr(value, "reveal", value) for name, value in params.items() if value is not None
    }
    return [given] if given else []


class Encoded:
    """A result that is MessagePack already."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


def encode_result(msgid: int, result: object) -> bytes:
    """Return the bytes of an answer."""
    if isinstance(result, Encoded):
        return packb([RESPONSE, msgid, None, None])[:-1] + result.data
    return packb([RESPONSE, msgid, None, result])


def encode_error(msgid: int, error: TokenError) -> bytes:
    """Return the bytes of an answer that failed."""
    fields = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "retry_after": error.retry_after,
    }
    return packb([RESPONSE, msgid, fields, None])


def encode_notification(method: str, fields: "Mapping[str, object]") -> bytes:
    """Return the bytes of a notification."""
    return packb([NOTIFICATION, method, [fields]])


def text(value: "Value") -> "Value":
    """Return MessagePack's old `raw` strings, which arrive as bytes, as text; all else as it is."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def parse_request(message: "Value") -> "tuple[int, str, Value] | None":
    """Return msgid, method and the params as they came; None for a notification.

    Raises:
        Malformed: the message is not one of the protocol's arrays.
    """
    if not isinstance(message, list):
        raise Malformed("a message is an array")
    kind = message[0] if message and type(message[0]) is int else None  # False and 0.0 equal 0
    if len(message) == 3 and kind == NOTIFICATION:  # noqa: PLR2004 -- kind, method, params
        return None
    if len(message) < 2 or kind != REQUEST:  # noqa: PLR2004 -- kind, msgid
        raise Malformed("a request is [0, msgid, method, params]")
    msgid = message[1]
    if type(msgid) is not int or not 0 <= msgid <= MAX_MSGID:
        raise Malformed("msgid is an unsigned 32-bit number")
    if len(message) != 4:  # noqa: PLR2004 -- kind, msgid, method, params
        raise Malformed("a request is [0, msgid, method, params]", msgid)
    method = text(message[2])
    if not isinstance(method, str):
        raise Malformed("method is a string", msgid)
    return msgid, method, message[3]


def parse_params(params: "Value") -> "dict[str, Value]":
    """Return the one map of a request's params, with its keys and values as text.

    Raises:
        Malformed: nested deeper than the protocol allows.
        BadRequest: they are neither an empty array nor an array of one map.
    """
    if params == []:
        return {}
    _refuse_deep(params, MAX_NESTING - 1)
    if not isinstance(params, list) or len(params) != 1 or not isinstance(params[0], dict):
        raise BadRequest("params is an empty array, or an array of one map")
    return {_key(key): text(value) for key, value in params[0].items()}


def _key(key: "Value") -> str:
    key = text(key)
    if not isinstance(key, str):
        raise BadRequest("the keys of params are strings")
    return key


def _refuse_deep(value: "Value", left: int) -> None:
    if isinstance(value, list | dict):
        if left == 0:
            raise Malformed(f"nested deeper than {MAX_NESTING}")
        for item in value.values() if isinstance(value, dict) else value:
            _refuse_deep(item, left - 1)


def parse_response(message: "Value") -> "tuple[int, TokenError | None, Value]":
    """Return msgid, and the error or the result, of an answer.

    Raises:
        ProtocolViolation: the message is not an answer.
    """
    match message:
        case [1, int(msgid), None, result]:
            return msgid, None, result
        case [1, int(msgid), dict(error), None]:
            return msgid, _error(error), None
        case _:
            raise ProtocolViolation("the daemon's answer breaks the protocol")


def parse_notification(message: "Value", method: str) -> "dict[Value, Value] | None":
    """Return the fields of a notification; None if the message is something else."""
    match message:
        case [2, name, [dict(fields)]] if name == method:
            return fields
        case _:
            return None


def _error(fields: "dict[Value, Value]") -> TokenError:
    code, message, hint, after = (
        fields.get(key) for key in ("code", "message", "hint", "retry_after")
    )
    return BY_CODE.get(code if isinstance(code, str) else "", Internal)(
        str(message),
        hint if isinstance(hint, str) else None,
        float(after) if isinstance(after, int | float) else None,
    )
