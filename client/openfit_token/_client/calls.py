"""What each method sends, and what its answer must look like. No I/O: both clients use it."""

from math import isfinite

from openfit_token._client.token import Token
from openfit_token._shared.protocol import DEFAULT_WAIT, MAX_WAIT, encode_request
from openfit_token.errors import ProtocolViolation

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not loaded at run time: it would double the client's start
    from collections.abc import Mapping
    from typing import Final

_AT_ONCE: "Final" = 10.0
"""Seconds for the answer to a call that the daemon needn't wait for, on a busy machine."""
_OPERATION: "Final" = 60.0
"""Seconds for reload and logout: the daemon may have to run a password command (30 s), or to
reach the token server."""

_TEXTS: "Final" = ("profile", "access_token", "token_type", "id", "scope", "api_url")
_NUMBERS: "Final" = ("obtained_at", "expires_at", "expires_in", "refresh_at")


class Call:
    """One call of a method.

    Attributes:
        method: its name on the wire.
        params: its parameters; those that are None are left out.
        patience: seconds within which the daemon answers if it is well.
        again: whether it may be sent a second time when the first one's answer was lost.
    """

    __slots__ = ("again", "method", "params", "patience")

    def __init__(
        self, method: str, params: "Mapping[str, object]", patience: float, *, again: bool = True
    ) -> None:
        self.method = method
        self.params = params
        self.patience = patience
        self.again = again

    def request(self, msgid: int, left: float | None = None) -> bytes:
        """Return the bytes to send; `left` shortens the call's `wait` to these seconds."""
        params = self.params
        if left is not None and "wait" in params:
            params = {**params, "wait": left}
        return encode_request(msgid, self.method, params)


def _patience(wait: float) -> float:
    """Return the seconds of a `wait`. One that the daemon will refuse is refused soon enough."""
    return min(max(0.0, wait), MAX_WAIT)


def hello() -> Call:
    """Ask who answers, and for the profiles that the caller may use."""
    return Call("hello", {}, _AT_ONCE)


def get_token(profile: str | None, min_ttl: float | None, wait: float) -> Call:
    """Ask for the current token; with `min_ttl`, for one that lives so many seconds."""
    params = {"profile": profile, "min_ttl": min_ttl, "wait": wait}
    return Call("get_token", params, _patience(wait))


def refuse(profile: str | None, token: Token | str, wait: float) -> Call:
    """Tell which token the API refused, by itself or by its id, and ask for another."""
    refused = token.id if isinstance(token, Token) else token
    return Call("refuse", {"profile": profile, "id": refused, "wait": wait}, _patience(wait))


def refresh(profile: str | None, wait: float) -> Call:
    """Ask for a replacement of the current token."""
    return Call("refresh", {"profile": profile, "wait": wait}, _patience(wait))


def login(profile: str | None, password: str | None, wait: float) -> Call:
    """Order a login. Sent twice it could spend two of the few passwords that may be wrong."""
    params = {"profile": profile, "password": password, "wait": wait}
    return Call("login", params, _patience(wait), again=False)


def logout(profile: str | None) -> Call:
    """Order a logout. Sent twice it could undo somebody's login in between."""
    return Call("logout", {"profile": profile}, _OPERATION, again=False)


def reload() -> Call:
    """Order a reload of the configuration. Each may be another."""
    return Call("reload", {}, _OPERATION, again=False)


def status(profile: str | None) -> Call:
    """Ask for the state of a profile, or of all that the caller may use."""
    return Call("status", {"profile": profile}, _AT_ONCE)


def fields(answer: object) -> dict[str, object]:
    """Return an answer that is a map.

    Raises:
        ProtocolViolation: it is none.
    """
    if not isinstance(answer, dict):
        raise ProtocolViolation("the daemon's answer is no map")
    return answer  # pyright: ignore[reportUnknownVariableType] -- typing.cast would load typing


def token(answer: object) -> Token:
    """Return the token of an answer, fit to be put into an HTTP header, a line or a variable.

    No control character is in it: a line feed would let the token write headers of its own, and no
    variable holds a NUL.

    Raises:
        ProtocolViolation: a field is missing or of another kind.
    """
    found = fields(answer)
    for name in _TEXTS:
        value = found.get(name)
        if not (isinstance(value, str) and value.isprintable()):
            raise ProtocolViolation(f"the daemon's answer is no token: {name} is no plain text")
    for name in _NUMBERS:
        number = found.get(name)
        if not (isinstance(number, int | float) and isfinite(number)):
            raise ProtocolViolation(f"the daemon's answer is no token: {name} is no number")
    if not isinstance(found.get("degraded"), dict | None):
        raise ProtocolViolation("the daemon's answer is no token: degraded is no error")
    given = Token({"degraded": None, **found})
    if not (given.authorization.isascii() and given.access_token):
        raise ProtocolViolation("the daemon's token doesn't fit into an HTTP header")
    return given


__all__ = [
    "DEFAULT_WAIT",
    "Call",
    "fields",
    "get_token",
    "hello",
    "login",
    "logout",
    "refresh",
    "refuse",
    "reload",
    "status",
    "token",
]
