"""Turns bytes into HTTP requests, however the bytes are split.

h11 judges what a message is. It is lenient where a proxy in front of us may read the same bytes
otherwise, so what would let two readers disagree is refused before: a line that ends without its
CR, a NUL, a body announced in two ways. A head is gathered as plain bytes, and h11 sees it once it
is whole: a thousand slow clients cost their bytes, and no parser each.
"""

import re
from http import HTTPStatus
from typing import Final, final
from urllib.parse import parse_qsl, urlsplit

import h11

from openfit_token._shared.frozen import frozen

MAX_HEAD: Final = 16 * 1024
"""Bytes of a request's line and fields."""
MAX_FIELDS: Final = 100
"""Fields of a head: twice as many as a proxy sends. h11 makes a hundred bytes of a field of three."""
MAX_BODY: Final = 4 * 1024
"""Bytes of a body. No request here needs one, but a client may send one."""
MAX_PARAMETERS: Final = 8
"""Parameters of a query: twice as many as any request takes."""
REFUSED: Final = b"x-openfit-refused"
"""The field that names the token which the API refused."""

_STRAY: Final = re.compile(rb"\x00|(?<!\r)\n|\r(?!\n|\Z)")
"""What HTTP/1.1 forbids between two lines, and h11 or a proxy may take for an end of line."""
_HEAD_ENDS: Final = b"\r\n\r\n"
_COMMON: Final = frozenset({b"host", b"user-agent", b"accept", b"accept-encoding", b"connection"})
"""Fields that one client repeats in each request, and that announce no body. Others may hold a
caller's own secrets."""


class Malformed(ValueError):
    """These bytes are no request that is answered. Nothing more of the connection is read."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def _too_large() -> Malformed:
    return Malformed(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is over {MAX_BODY} bytes")


@frozen
class Request:
    """One request, whole. Its body was read, and isn't kept."""

    method: str
    path: str
    query: str
    refused: str | None
    """The id of the token that the API refused."""
    keeps: bool
    """The connection stays open for another request."""
    is_common: bool
    """It has no fields but those that its client repeats each time."""

    @property
    def parameters(self) -> dict[str, str]:
        """Return the query's parameters.

        Raises:
            ValueError: it isn't a query, or names one twice.
        """
        given = parse_qsl(
            self.query,
            keep_blank_values=True,
            strict_parsing=bool(self.query),
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
        parameters = dict(given)
        if len(parameters) < len(given):
            raise ValueError("a parameter is there twice")
        return parameters


@final
class Reader:
    """What was read of one connection and isn't answered yet."""

    __slots__ = ("_begun", "_body", "_kept", "_looked", "_parser")

    def __init__(self) -> None:
        self._kept = bytearray()  # the next request's head as far as it came, or what is behind one
        self._looked = 0  # bytes of it that were looked at
        self._parser: h11.Connection | None = None  # while a body is awaited
        self._begun: h11.Request | None = None
        self._body = 0  # bytes of it

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is kept."""
        return self._parser is None and not self._kept

    def feed(self, data: bytes) -> None:
        """Take what was sent."""
        if self._parser is None:
            self._kept += data
        else:
            self._parser.receive_data(data)

    def next(self) -> Request | None:
        """Return the next request; None: it isn't whole yet.

        Raises:
            Malformed: there will never be one.
        """
        try:
            if self._parser is None:
                head = self.head()
                if head is None:
                    return None
                self._begin(head)
            return self._end()
        except h11.RemoteProtocolError as error:
            raise Malformed(HTTPStatus(error.error_status_hint), str(error)) from None

    def go_on(self) -> bytes:
        """Return what must be said to a client that sends its body only when it is told to."""
        parser = self._parser
        if parser is None or not parser.they_are_waiting_for_100_continue:
            return b""
        return parser.send(h11.InformationalResponse(status_code=100, headers=[])) or b""

    def head(self) -> bytes | None:
        """Return the bytes of the next head; None: it isn't whole yet, or a body is awaited.

        Raises:
            Malformed: there will never be one.
        """
        kept = self._kept
        if self._parser is not None or not kept:
            return None
        found = kept.find(_HEAD_ENDS, max(0, self._looked - len(_HEAD_ENDS)))
        end = len(kept) if found < 0 else found + len(_HEAD_ENDS)
        if _STRAY.search(kept, max(0, self._looked - 1), end):
            raise Malformed(HTTPStatus.BAD_REQUEST, "a stray line end or a NUL in the head")
        if end > MAX_HEAD:
            raise Malformed(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the head is over {MAX_HEAD} bytes"
            )
        self._looked = end
        return None if found < 0 else bytes(kept[:end])

    def skip(self, head: bytes) -> None:
        """Take away a head that needs no parsing, since it is known to be all of a request."""
        del self._kept[: len(head)]
        self._looked = 0

    def _begin(self, head: bytes) -> None:
        """Parse a head."""
        if head.count(b"\r\n") > MAX_FIELDS + 2:  # the request's line, and the empty one
            raise Malformed(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"there are over {MAX_FIELDS} fields"
            )
        parser = h11.Connection(h11.SERVER, MAX_HEAD)
        parser.receive_data(head)
        self.skip(head)
        begun = parser.next_event()
        if not isinstance(begun, h11.Request):  # only empty lines
            raise Malformed(HTTPStatus.BAD_REQUEST, "there is no request line")
        _judge(begun)
        self._parser, self._begun, self._body = parser, begun, 0

    def _end(self) -> Request | None:
        """Read the body, if there is one, and return the request if that was all of it."""
        parser, begun = self._parser, self._begun
        assert parser is not None and begun is not None  # noqa: S101, PT018 -- from the head's end to the body's
        event = parser.next_event()
        if event is h11.NEED_DATA and self._kept:
            parser.receive_data(bytes(self._kept))
            self._kept.clear()
            event = parser.next_event()
        while isinstance(event, h11.Data):
            self._body += len(event.data)
            if self._body > MAX_BODY:
                raise _too_large()
            event = parser.next_event()
        if not isinstance(event, h11.EndOfMessage):
            return None
        self._kept += parser.trailing_data[0]
        self._parser = self._begun = None
        return _request(begun, keeps=parser.their_state is h11.DONE)


def _judge(begun: h11.Request) -> None:
    """Refuse what is no request of HTTP/1.x, or is one that two readers may read in two ways.

    Raises:
        Malformed: it is refused.
    """
    names = [name for name, _ in begun.headers]
    if begun.http_version not in {b"1.0", b"1.1"}:
        raise Malformed(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.1 is spoken here")
    if b"transfer-encoding" in names and (
        b"content-length" in names or begun.http_version == b"1.0"
    ):
        raise Malformed(HTTPStatus.BAD_REQUEST, "the body's length is given in two ways")
    if names.count(REFUSED) > 1:
        raise Malformed(HTTPStatus.BAD_REQUEST, "X-OpenFit-Refused is there twice")
    for name, value in begun.headers:
        if name == b"content-length" and int(value) > MAX_BODY:
            raise _too_large()


def _request(begun: h11.Request, *, keeps: bool) -> Request:
    try:
        target = urlsplit(begun.target.decode("ascii"))
    except ValueError:
        raise Malformed(HTTPStatus.BAD_REQUEST, "the target is no URL") from None
    refused = next((value for name, value in begun.headers if name == REFUSED), b"")
    return Request(
        method=begun.method.decode("ascii"),
        path=target.path,
        query=target.query,
        refused=refused.decode("latin-1") or None,
        keeps=keeps,
        is_common=_COMMON.issuperset(name for name, _ in begun.headers),
    )
