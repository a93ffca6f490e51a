"""What a response says of itself that the server's operators can find it by: its request's ids and its time.

Only values of a fixed form are taken. A server may put anything else there, such as what it was sent.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

_HEX: Final = "[0-9a-fA-F]"
_DATE: Final = (  # RFC 9110, section 5.6.7
    "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2}"
    " (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
)
FORMS: Final[Mapping[str, re.Pattern[str]]] = {
    "date": re.compile(_DATE),
    # W3C's Trace Context, and the GUID that Azure gives each request.
    "traceparent": re.compile(f"{_HEX}{{2}}-{_HEX}{{32}}-{_HEX}{{16}}-{_HEX}{{2}}"),
    "x-ms-request-id": re.compile(f"{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}"),
}
"""The header fields, and the form of each."""
_PIECE: Final = 12
"""Characters that an id has in common with a secret only if it was made of it."""


def request_ids(headers: Mapping[str, str], secrets: Iterable[str] = ()) -> dict[str, str]:
    """Return those fields that are there, except one with a secret in it, or with a piece of one.

    `headers` finds a field by its name in lower case.
    """
    known = tuple(map(_plain, secrets))
    return {
        name: value
        for name, form in FORMS.items()
        if form.fullmatch(value := headers.get(name, ""))
        and not any(_tells(_plain(value), secret) for secret in known)
    }


def _tells(value: str, secret: str) -> bool:
    pieces = (value[at : at + _PIECE] for at in range(len(value) - _PIECE + 1))
    return secret in value or any(piece in secret for piece in pieces)


def _plain(text: str) -> str:
    """Return what is the same of a GUID, however it is written."""
    return text.replace("-", "").lower()
