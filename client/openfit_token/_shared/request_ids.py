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


def request_ids(headers: Mapping[str, str], secrets: Iterable[str] = ()) -> dict[str, str]:
    """Return those fields that are there, except one that contains a secret or is part of one.

    `headers` finds a field by its name in lower case.
    """
    known = tuple(secrets)
    return {
        name: value
        for name, form in FORMS.items()
        if form.fullmatch(value := headers.get(name, ""))
        and not any(secret in value or value in secret for secret in known)
    }
