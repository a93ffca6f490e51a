"""The header and the claims of a JWT (RFC 7519), without any proof that they are true.

Pure: from the token's text to JSON values. The signature is left out: nothing here could check it.
"""

import json
import re
from base64 import urlsafe_b64decode
from math import isfinite
from typing import Final, NoReturn, TypeAlias, cast

from openfit_token._shared.frozen import frozen
from openfit_token.errors import TokenError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_TOKEN: Final = 64 * 1024
"""Characters: no answer of a token server may be longer (`MAX_BODY` of the daemon)."""
MAX_NESTING: Final = 16
"""Lists and objects in one another, the claims themselves included: few tokens have three."""
MAX_DIGITS: Final = 100
"""Characters of a number: nobody can read a longer one."""

_SIGNED: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*")
"""Header, claims and signature in base64url (RFC 7515, section 7.1). An unsigned token has no third."""
_ENCRYPTED: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*){4}")
"""The five parts of an encrypted JWT (RFC 7516, section 7.1)."""
_OPAQUE: Final = "that is no error: only the API has to understand a token"


class NotAJwt(TokenError):
    """The token isn't a JWT that anybody could read."""

    exit_status = 65


class _Odd(Exception):
    """What is wrong with a part, in words that follow its name."""


@frozen
class Jwt:
    """What a token says of itself. Nothing of it was verified."""

    header: dict[str, Json]
    claims: dict[str, Json]


def read(token: str) -> Jwt:
    """Return the header and the claims of a token.

    Raises:
        NotAJwt: it isn't one, or is encrypted; the message says why, and repeats nothing of it.
    """
    if len(token) > MAX_TOKEN:
        raise NotAJwt(f"not a JWT: the token is longer than {MAX_TOKEN} characters")
    if _ENCRYPTED.fullmatch(token):
        raise NotAJwt(
            "not a readable JWT: the token has the five parts of an encrypted one",
            "only the API has the key to its claims",
        )
    parts = _SIGNED.fullmatch(token)
    if parts is None:
        raise NotAJwt("not a JWT: the token doesn't consist of three base64url parts", _OPAQUE)
    return Jwt(_part(parts[1], "header"), _part(parts[2], "payload"))


def _part(text: str, name: str) -> dict[str, Json]:
    try:
        return _object(text)
    except _Odd as odd:
        fault = str(odd)
    # Outside of the handler, so that no traceback has the part in it.
    raise NotAJwt(f"not a JWT: the token's {name} {fault}", _OPAQUE)


def _object(text: str) -> dict[str, Json]:
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise _Odd("is not base64url") from None
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_named_once,
            parse_float=_float,
            parse_int=_int,
            parse_constant=_constant,
        )
    except UnicodeDecodeError:
        raise _Odd("is not UTF-8") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise _Odd("is not JSON") from None
    if not isinstance(value, dict):
        raise _Odd("is not a JSON object")
    found = cast("dict[str, Json]", value)  # json's own promise
    if not _is_within(found, MAX_NESTING):
        raise _too_deep()
    return found


def _named_once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Return an object. Of two members of one name, readers may take either (RFC 7519, section 4)."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Odd("has the same name twice, so its meaning is ambiguous")
    return found


def _float(digits: str) -> float:
    number = float(digits)
    if len(digits) > MAX_DIGITS or not isfinite(number):
        raise _Odd("has a number that is too large")
    return number


def _int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Odd("has a number that is too large")
    return int(digits)


def _constant(_word: str) -> NoReturn:
    raise _Odd("is not JSON")  # NaN and the infinities, which Python would take


def _is_within(value: Json, levels: int) -> bool:
    """Return whether lists and objects are nested in at most so many levels."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return True
    return levels > 0 and all(_is_within(each, levels - 1) for each in value)


def _too_deep() -> _Odd:
    return _Odd(f"is nested more than {MAX_NESTING} levels deep")
