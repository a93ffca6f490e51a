"""The formats of a token that other programs read: JSON, a shell's variables, curl's config."""

import json
from collections.abc import Mapping
from math import floor

from openfit_token._client.token import Token
from openfit_token.errors import ProtocolViolation


def formatted(token: Token, form: str) -> str:
    """Return a token in one of the formats json, env and curl."""
    match form:
        case "json":
            return as_json({name: getattr(token, name) for name in Token.__slots__})
        case "env":
            return as_env(token)
        case "curl":
            return as_curl(token)
        case _:
            raise AssertionError(form)


def as_json(answer: Mapping[str, object]) -> str:
    """Return what the daemon answered in one line of JSON. `v` counts incompatible changes.

    Raises:
        ProtocolViolation: it holds what JSON can't express: bytes, NaN or an infinity.
    """
    try:
        return json.dumps({"v": 1, **answer}, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ProtocolViolation(f"the daemon's answer doesn't fit into JSON: {error}") from error


def as_env(token: Token) -> str:
    """Return assignments that a shell's `eval` takes literally, whatever the values hold."""
    return "".join(f"{name}={_shell_quoted(value)}\n" for name, value in variables(token).items())


def variables(token: Token) -> dict[str, str]:
    """Return the environment variables for a token."""
    return {
        "OPENFIT_ACCESS_TOKEN": token.access_token,
        "OPENFIT_API_URL": token.api_url,
        # Whole seconds, since shells know no others; down, since it isn't to be used after.
        "OPENFIT_EXPIRES_AT": str(floor(token.expires_at)),
    }


def as_curl(token: Token) -> str:
    """Return a config for `curl -K -`: so that the token is in no list of processes."""
    quoted = token.authorization.replace("\\", "\\\\").replace('"', '\\"')
    return f'header = "Authorization: {quoted}"\n'


def _shell_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
