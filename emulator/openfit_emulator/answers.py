"""The responses of a server without faults: JSON, and the errors of OAuth."""

import json
from collections.abc import Mapping
from typing import Final

from openfit_emulator.wire import Answer

NO_STORE: Final = {"Cache-Control": "no-store, no-cache, max-age=0", "Pragma": "no-cache"}
JSON: Final = {"Content-Type": "application/json"}


def json_answer(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    """Return a response with a JSON body."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status, body, {**JSON, **(headers or {})})


def oauth_error(error: str, description: str | None = None, *, status: int = 400) -> Answer:
    """Return an error response (RFC 6749, section 5.2)."""
    more = {} if description is None else {"error_description": description}
    return json_answer({"error": error, **more}, status, NO_STORE)
