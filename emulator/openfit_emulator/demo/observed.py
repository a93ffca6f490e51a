"""What the daemon's status and the token server's counters say, parsed."""

import json
from collections.abc import Mapping
from dataclasses import KW_ONLY
from http.client import HTTPConnection, HTTPException
from typing import Final, cast
from urllib.parse import urlsplit

from openfit_token import TokenClient
from openfit_token._client.calls import fields
from openfit_token._shared.frozen import frozen
from openfit_token.errors import ProtocolViolation

_PATIENCE: Final = 10.0
"""Seconds for one answer of the token server's admin endpoint."""


class NoAnswer(Exception):
    """The token server gave no answer, or not the expected one."""


@frozen
class HeldToken:
    """The token that the daemon holds. `id` is shortened; times are Unix seconds."""

    id: str
    obtained_at: float
    expires_at: float
    left: float
    """Seconds."""


@frozen
class ProfileStatus:
    """The status of the only profile."""

    state: str
    token: HeldToken | None
    degraded: str | None
    """Why the daemon can't replace the token, if it can't."""


@frozen
class Counters:
    """What the token server has counted since its start."""

    _: KW_ONLY
    token_requests: int = 0
    login_requests: int = 0
    logins: int = 0
    faulted: int = 0
    """Token requests that failed in the outage."""
    most_at_once: int = 0
    """The most token requests under way at once."""
    api_refused: int = 0


def profile_status(daemon: TokenClient) -> ProfileStatus:
    """Ask the daemon for the status of its only profile.

    Raises:
        TokenError: it doesn't answer as expected.
    """
    (profile,) = fields(daemon.status().get("profiles")).values() or [None]
    known = fields(profile)
    degraded = known.get("degraded")
    message = None if degraded is None else _text(fields(degraded), "message")
    token = None
    if known.get("id") is not None:
        token = HeldToken(
            id=f"{_text(known, 'id')[:4]}…",
            obtained_at=_number(known, "obtained_at"),
            expires_at=_number(known, "expires_at"),
            left=_number(known, "expires_in"),
        )
    return ProfileStatus(_text(known, "state"), token, message)


class TokenServer:
    """The token server's admin endpoint. All methods may raise NoAnswer."""

    def __init__(self, url: str) -> None:
        self.url = url

    def counters(self) -> Counters:
        """Return its counters."""
        state = self._ask("GET", "state")
        at_once = cast("Mapping[str, int]", state.get("max_concurrent") or {})
        counted = ("token_requests", "login_requests", "logins", "faulted", "api_refused")
        return Counters(
            **{name: cast("int", state.get(name)) for name in counted},
            most_at_once=max(at_once.values(), default=0),
        )

    def change_password(self, username: str, password: str) -> None:
        """Change a user's password."""
        self._ask("POST", "password", {"username": username, "password": password})

    def fail(self) -> None:
        """Let it answer everything but the API with 503."""
        self._ask("POST", "faults", {"fault": "error-503@*"})

    def hang(self) -> None:
        """Let it not answer the next token request, nor act upon it."""
        self._ask("POST", "faults", {"fault": "hang"})

    def recover(self) -> None:
        """End the outage."""
        self._ask("DELETE", "faults")

    def _ask(
        self, method: str, page: str, order: Mapping[str, str] | None = None
    ) -> Mapping[str, object]:
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=_PATIENCE)
        body = None if order is None else json.dumps(order)
        try:
            connection.request(method, f"/admin/{page}", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, HTTPException) as error:
            raise NoAnswer(f"the token server doesn't answer: {error}") from error
        finally:
            connection.close()
        if answer.status not in (200, 204):
            raise NoAnswer(f"the token server answered {answer.status} to /admin/{page}")
        # Our own emulator: an object, or nothing.
        return cast("Mapping[str, object]", json.loads(content or b"{}"))


def _text(known: Mapping[str, object], name: str) -> str:
    value = known.get(name)
    if not isinstance(value, str):
        raise ProtocolViolation(f"the daemon's status has no {name}")
    return value


def _number(known: Mapping[str, object], name: str) -> float:
    value = known.get(name)
    if not isinstance(value, int | float):
        raise ProtocolViolation(f"the daemon's status has no {name}")
    return value
