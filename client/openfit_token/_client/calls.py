"""What each method sends, and what its answer must look like. No I/O: both clients use this.

A traceback may be shown with the values in its frames. So no frame that an error leaves has a name for a
password, a token, or the bytes or answers that contain one; here and in the two clients.
"""

from math import isfinite

from openfit_token._client.token import Token
from openfit_token._shared.protocol import MAX_WAIT, encode_request
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

_NO_MAP: "Final" = "the daemon's answer is not a map"
_TEXTS: "Final" = ("profile", "access_token", "token_type", "id", "scope", "api_url")
_NUMBERS: "Final" = ("obtained_at", "expires_at", "expires_in", "refresh_at")


class Call:
    """One call of a method.

    Attributes:
        method: its name on the wire.
        params: its parameters; those that are None are left out.
        patience: seconds within which a healthy daemon answers.
        again: whether it may be sent again if the answer to the first was lost.
    """

    __slots__ = ("again", "method", "params", "patience")

    def __init__(
        self, method: str, params: "Mapping[str, object]", patience: float, *, again: bool = True
    ) -> None:
        self.method = method
        self.params = params
        self.patience = patience
        self.again = again

    def request(self, msgid: int, left: float | None = None) -> memoryview:
        """Return the bytes to send, in a form that doesn't show them.

        `left` shortens the call's `wait` to these seconds.
        """
        params = self.params
        if left is not None and "wait" in params:
            params = {**params, "wait": left}
        return memoryview(encode_request(msgid, self.method, params))


def _patience(wait: float) -> float:
    """Return the seconds of a `wait`, within the limits: the daemon refuses others at once."""
    return min(max(0.0, wait), MAX_WAIT)


def hello() -> Call:
    """Ask for the daemon's identity, and the profiles that the caller may use."""
    return Call("hello", {}, _AT_ONCE)


def get_token(profile: str | None, min_ttl: float | None, wait: float) -> Call:
    """Ask for the current token; with `min_ttl`, for one that lives that many seconds."""
    params = {"profile": profile, "min_ttl": min_ttl, "wait": wait}
    return Call("get_token", params, _patience(wait))


def refuse(profile: str | None, token: Token | str, wait: float) -> Call:
    """Say which token the API refused, by the token or its id, and ask for another."""
    refused = token.id if isinstance(token, Token) else token
    return Call("refuse", {"profile": profile, "id": refused, "wait": wait}, _patience(wait))


def refresh(profile: str | None, wait: float) -> Call:
    """Ask for a replacement of the current token."""
    return Call("refresh", {"profile": profile, "wait": wait}, _patience(wait))


def login(
    profile: str | None, password: str | None, wait: float, refresh_token: str | None = None
) -> Call:
    """Order a login. Sent twice, it could use two of the few logins that may be rejected."""
    from openfit_token._shared.secret import Secret  # noqa: PLC0415 -- a script that gets a token needs none

    secret = None if password is None else Secret(password)
    token = None if refresh_token is None else Secret(refresh_token)
    del password, refresh_token
    params = {"profile": profile, "password": secret, "refresh_token": token, "wait": wait}
    return Call("login", params, _patience(wait), again=False)


def logout(profile: str | None) -> Call:
    """Order a logout. Sent twice, it could undo a login in between."""
    return Call("logout", {"profile": profile}, _OPERATION, again=False)


def reload() -> Call:
    """Order a reload of the configuration. Sent twice, it could read two different ones."""
    return Call("reload", {}, _OPERATION, again=False)


def status(profile: str | None, *, for_support: bool = False) -> Call:
    """Ask for the state of a profile, or of all that the caller may use."""
    return Call("status", {"profile": profile, "for_support": for_support or None}, _AT_ONCE)


def fields(answer: object) -> dict[str, object]:
    """Return an answer that is a map.

    Raises:
        ProtocolViolation: it isn't one.
    """
    if not isinstance(answer, dict):
        raise ProtocolViolation(_NO_MAP)
    return answer  # pyright: ignore[reportUnknownVariableType] -- typing.cast would load typing


def token(answer: object) -> Token:
    """Return the token of an answer, safe for an HTTP header, a line or a variable.

    It has no control characters: a line feed would let the token add headers, and a variable can't
    hold a NUL.

    Raises:
        ProtocolViolation: a field is missing or has the wrong type.
    """
    wrong = _fault(answer)
    if wrong is None:
        return Token({"degraded": None, **fields(answer)})
    del answer
    raise ProtocolViolation(wrong)


def _fault(answer: object) -> str | None:
    """Return why an answer is no token; None if it is one."""
    if not isinstance(answer, dict):
        return _NO_MAP
    found = fields(answer)  # pyright: ignore[reportUnknownArgumentType] -- typing.cast would load typing
    for name in _TEXTS:
        value = found.get(name)
        if not (isinstance(value, str) and value.isprintable()):
            return f"the daemon's answer is not a token: {name} is not plain text"
    for name in _NUMBERS:
        number = found.get(name)
        if not (isinstance(number, int | float) and isfinite(number)):
            return f"the daemon's answer is not a token: {name} is not a number"
    if not isinstance(found.get("degraded"), dict | None):
        return "the daemon's answer is not a token: degraded is not an error"
    if not (f"{found['token_type']}{found['access_token']}".isascii() and found["access_token"]):
        return "the daemon's token doesn't fit into an HTTP header"
    return None
