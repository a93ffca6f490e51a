"""`openfit-token inspect`: what the current token says of itself, without the token.

Neither the token nor its signature is printed: what is shown can't be used for anything.
"""

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from time import time  # noqa: TID251 -- tokens tell moments; people want "in 5 min"
from typing import Final, TypeGuard, cast

from openfit_token._cli.formats import as_json
from openfit_token._cli.get import profile_of
from openfit_token._cli.output import put
from openfit_token._cli.terminal import printable
from openfit_token._client.blocking import get_token
from openfit_token._shared.durations import duration
from openfit_token.errors import TokenError

_MOMENTS: Final = frozenset({"auth_time", "exp", "iat", "nbf", "updated_at"})
"""Claims in Unix seconds (RFC 7519, section 4.1; OpenID Connect Core, sections 2 and 5.1)."""
_LATEST: Final = 253_402_300_799
"""The last second of the year 9999: `datetime` knows no later ones."""
_VALUE_WIDTH: Final = 60
"""Columns of a list or object that stays on one line."""
_NAME_WIDTH: Final = 20
"""Columns of the names, unless all are shorter; a longer one moves its own value."""


class NotAJwt(TokenError):
    """The token isn't a JWT that anybody could read."""

    exit_status = 65


def inspect(profile: str | None, socket: str | None, wait: float, form: str) -> int:
    """Print the header and the claims of the current token. Return the exit status.

    Args:
        profile: the option's.
        socket: the option's.
        wait: seconds to wait for a token.
        form: text, or json, which has the times as the token has them.

    Raises:
        NotAJwt: it isn't one.
    """
    token = get_token(profile_of(profile), wait=wait, socket=socket)
    with suppress(ValueError, RecursionError):  # so that no traceback has a part of it
        parts = read(token.access_token)
        if form == "json":
            about = {"profile": token.profile, "id": token.id, "verified": False}
            put(as_json({**about, **parts}))
        else:
            head = f"the current token of {printable(token.profile)}, id {printable(token.id)}"
            put("".join(f"{line}\n" for line in (head, *described(parts, time()))))
        return 0
    raise NotAJwt(
        "not a JWT: the token isn't three parts in base64url, of which two are JSON objects",
        "that is no error: only the API has to understand a token",
    )


def read(token: str) -> dict[str, Mapping[str, object]]:
    """Return the header and the claims of a JWT (RFC 7519), without any proof that they are true.

    Raises:
        ValueError, RecursionError: it isn't one, or is encrypted.
    """
    header, claims, _ = token.split(".")
    return {"header": _part(header), "claims": _part(claims)}


def _part(text: str) -> Mapping[str, object]:
    found = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
    json.dumps(found, allow_nan=False)  # Python reads NaN and infinities, which aren't JSON
    if not isinstance(found, dict):
        raise ValueError  # noqa: TRY004 -- what any other fault of it is
    return cast("dict[str, object]", found)


def described(parts: Mapping[str, Mapping[str, object]], now: float) -> Iterator[str]:
    """Return a token's header and claims as lines for people. `now`: Unix seconds."""
    yield "Nothing was verified: this is what the token says of itself."
    for title, part in parts.items():
        yield ""
        yield title
        names = [printable(name) for name in part]
        width = min(max(map(len, names), default=0), _NAME_WIDTH)
        for shown, (name, value) in zip(names, part.items(), strict=True):
            first, *more = _lines(name, value, now)
            yield f"  {shown:{width}}  {first}"
            yield from (f"  {'':{width}}  {line}" for line in more)


def _lines(name: str, value: object, now: float) -> list[str]:
    """Return a value: a moment in words, anything else as JSON."""
    if name in _MOMENTS and _is_moment(value):
        return [_moment(value, now)]
    line = printable(json.dumps(value, ensure_ascii=False))
    if len(line) <= _VALUE_WIDTH or not isinstance(value, dict | list):
        return [line]
    # JSON escapes the line feeds of texts, so those that are left are the indentation's.
    lines = json.dumps(value, ensure_ascii=False, indent=2).split("\n")
    return [printable(each) for each in lines]


def _is_moment(value: object) -> TypeGuard[int | float]:
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 < value <= _LATEST


def _moment(seconds: float, now: float) -> str:
    at = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    left = seconds - now
    return f"{at}, in {duration(left)}" if left > 0 else f"{at}, {duration(-left)} ago"
