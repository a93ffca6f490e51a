"""The answers of the HTTP face, as bytes."""

import json
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from math import ceil
from typing import Final, final

from openfit_token.errors import (
    BadRequest,
    Internal,
    MinTtl,
    NoSuchMethod,
    NoSuchProfile,
    NotAllowed,
    TokenError,
)
from openfit_tokend.core.session import AccessToken
from openfit_tokend.host import clock
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.prepared import Prepared, described

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROBLEM: Final = "application/problem+json"
"""RFC 9457's."""

_STATUSES: Final[Mapping[type[TokenError], HTTPStatus]] = {
    BadRequest: HTTPStatus.BAD_REQUEST,
    MinTtl: HTTPStatus.BAD_REQUEST,
    NotAllowed: HTTPStatus.FORBIDDEN,
    NoSuchMethod: HTTPStatus.NOT_FOUND,
    NoSuchProfile: HTTPStatus.NOT_FOUND,
    Internal: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""All others are 503: there is no token now."""
_LEFT: Final = "%14.3f}"
"""The seconds left: always as long, so that the length is known before. JSON allows the spaces."""

Fields = Mapping[str, str]
"""Header fields, by name."""


def answer(
    status: HTTPStatus, body: bytes, kind: str | None, fields: Fields | None = None
) -> bytes:
    """Return a whole answer, behind which the connection stays open. `kind`: its Content-Type."""
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Date: {formatdate(clock.wall(), usegmt=True)}",
        "Cache-Control: no-store",
        *([f"Content-Type: {kind}"] if kind else ()),
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in (fields or {}).items()),
    ]
    return "\r\n".join([*lines, "\r\n"]).encode("ascii") + body


def last(whole: bytes) -> bytes:
    """Return an answer behind which the connection is closed."""
    return whole.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


def without_body(whole: bytes) -> bytes:
    """Return an answer whose body is only announced, as HEAD has it."""
    head, ends, _body = whole.partition(b"\r\n\r\n")
    return head + ends


def problem(
    error: TokenError, status: HTTPStatus | None = None, fields: Fields | None = None
) -> bytes:
    """Return the answer to a request that failed. `status`: another than the error's own."""
    status = status or _STATUSES.get(type(error), HTTPStatus.SERVICE_UNAVAILABLE)
    retry = error.retry_after
    body = {
        "title": status.phrase,
        "status": status.value,
        "detail": error.message,
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "retry_after": retry,
    }
    if retry is not None:
        fields = {**(fields or {}), "Retry-After": str(max(1, ceil(retry)))}
    return answer(status, as_json(body), PROBLEM, fields)


def as_json(value: object) -> bytes:
    """Return JSON that ends with a newline, for reading in a terminal."""
    return json.dumps(value).encode("ascii") + b"\n"


@final
class TokenAnswers(Prepared):
    """The two answers that hand out a token."""

    __slots__ = ("_before", "authorization")

    def __init__(self, keeper: Keeper, access: AccessToken, now: float) -> None:
        super().__init__(keeper, access, now)
        fields = {
            "Authorization": f"Bearer {access.value.reveal}",
            "X-OpenFit-Token-Id": access.id,
        }
        self.authorization = answer(HTTPStatus.OK, b"", None, fields)
        """With the token in a field, and no body."""
        # Without the seconds left, which come last.
        before, _, _ = json.dumps(described(keeper, access, now)).rpartition(" ")
        body = f"{before}{_LEFT % 0.0}\n".encode("ascii")
        whole_answer = answer(HTTPStatus.OK, body, JSON)
        self._before = whole_answer[: -len(_LEFT % 0.0) - 1]

    def token(self, now: float) -> bytes:
        """Return the answer with the token as JSON, at a moment before `until`."""
        return self._before + f"{_LEFT % (self.expires - now)}\n".encode("ascii")
