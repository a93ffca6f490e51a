"""The formats of a token that other programs read: JSON, a shell's variables, curl's config."""

import json
from math import floor

from openfit_token.token import Token


def formatted(token: Token, form: str) -> str:
    """Give a token in one of the formats json, env and curl."""
    match form:
        case "json":
            return as_json(token)
        case "env":
            return as_env(token)
        case "curl":
            return as_curl(token)
        case _:
            raise AssertionError(form)


def as_json(token: Token) -> str:
    """Give all that is known of a token, in one line. `v` counts incompatible changes."""
    known = {name: getattr(token, name) for name in Token.__slots__}
    return json.dumps({"v": 1, **known}) + "\n"


def as_env(token: Token) -> str:
    """Give assignments that a shell's `eval` takes literally, whatever the values hold."""
    return "".join(f"{name}={_shell_quoted(value)}\n" for name, value in variables(token).items())


def variables(token: Token) -> dict[str, str]:
    """Give the environment variables that tell a token."""
    return {
        "OPENFIT_ACCESS_TOKEN": token.access_token,
        "OPENFIT_API_URL": token.api_url,
        # Whole seconds, since shells know no others; down, since it isn't to be used after.
        "OPENFIT_EXPIRES_AT": str(floor(token.expires_at)),
    }


def as_curl(token: Token) -> str:
    """Give a config for `curl -K -`: so the token shows in no list of processes."""
    quoted = token.authorization.replace("\\", "\\\\").replace('"', '\\"')
    return f'header = "Authorization: {quoted}"\n'


def _shell_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
