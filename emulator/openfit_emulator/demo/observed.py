"""What a daemon's status says of its only profile, parsed."""

from collections.abc import Mapping

from openfit_token import TokenClient
from openfit_token._client.calls import fields
from openfit_token._shared.frozen import frozen
from openfit_token.errors import ProtocolViolation


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
