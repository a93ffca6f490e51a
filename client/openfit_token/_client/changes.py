"""A profile's changes: each new token and each change of state, as the daemon reports them.

Nothing here waits: the clients do that. `Feed` says what to send, what was received, and what to do
when the daemon is gone.
"""

from dataclasses import field
from math import isfinite
from typing import TYPE_CHECKING, Final

from openfit_token._client.connection import pauses, unreachable
from openfit_token._shared.frozen import frozen
from openfit_token._shared.protocol import (
    MAX_ANSWER,
    Decoder,
    Incomplete,
    Malformed,
    encode_request,
    parse_notification,
    parse_response,
)
from openfit_token.errors import (
    DaemonUnreachable,
    Overloaded,
    ProtocolViolation,
    Stopping,
    TokenError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openfit_token._shared.protocol import Value

_ANSWER: Final = 10.0
"""Seconds that the daemon may take for each part of its first answer."""
_MSGID = 1


@frozen
class Change:
    """A profile's new state.

    Attributes:
        profile: its name.
        state: fresh, refreshing, retrying, down, locked, ... (see the protocol's document).
        id: that of the token held; None without a token.
        expires_at: Unix seconds; None without a token.
    """

    profile: str
    state: str
    id: str | None
    expires_at: float | None = field(compare=False)  # the daemon works it out anew each time


class Feed:
    """One profile's changes, over as many connections as needed."""

    def __init__(self, profile: str | None) -> None:
        self._params = {} if profile is None else {"profile": profile}
        self._decoder = Decoder(MAX_ANSWER)
        self._last: Change | None = None
        self._answered = False
        self._worked = False
        self._pauses = pauses()

    def begin(self) -> bytes:
        """Return the bytes to send on a new connection."""
        self._decoder = Decoder(MAX_ANSWER)
        self._answered = False
        return encode_request(_MSGID, "subscribe", self._params)

    @property
    def patience(self) -> float | None:
        """Seconds to wait for what comes next. None: no limit, since nothing may change."""
        return None if self._answered else _ANSWER

    def take(self, data: bytes) -> list[Change]:
        """Take what was read and return the changes in it; the first one is the present state.

        A state that is the same as before the connection was lost is left out.

        Raises:
            ConnectionResetError: the daemon closed the connection.
            TokenError: what it answered instead.
        """
        if not data:
            raise ConnectionResetError
        told: list[Change] = []
        try:
            message = self._decoder.feed(data)
            while not isinstance(message, Incomplete):
                change = _change(message)
                if change != self._last:
                    told.append(change)
                self._last = change
                self._answered = self._worked = True
                self._pauses = pauses()
                message = self._decoder.next()
        except Malformed as error:
            raise ProtocolViolation(
                f"the daemon's notification breaks the protocol: {error}"
            ) from error
        return told

    def after(self, error: OSError | TokenError) -> float:
        """Return the seconds until the next connection is to be made, after an error of this one.

        A daemon that has answered before may be restarting: it is worth waiting for.

        Raises:
            TokenError: the daemon has never answered, or refuses.
        """
        waits = isinstance(error, OSError | DaemonUnreachable | Stopping | Overloaded)
        if waits and self._worked:
            return next(self._pauses)
        if isinstance(error, TokenError):
            raise error
        raise unreachable(error) from error


def _change(message: "Value") -> Change:
    """Return what a message of the daemon says: the answer to `subscribe`, or a notification."""
    fields = parse_notification(message, "changed")
    if fields is None:
        msgid, error, result = parse_response(message)
        if error is not None:
            raise error
        if msgid != _MSGID or not isinstance(result, dict):
            raise ProtocolViolation("the daemon answered a call that wasn't made")
        fields = result
    return _checked(fields)


def _checked(fields: "Mapping[Value, Value]") -> Change:
    """Return the change that these fields are. Raises ProtocolViolation if they break the protocol."""
    profile, state, token, expires_at = (
        fields.get(name) for name in ("profile", "state", "id", "expires_at")
    )
    if (
        not isinstance(profile, str)
        or not isinstance(state, str)
        or not isinstance(token, str | None)
        or not isinstance(expires_at, int | float | None)
        or not isfinite(expires_at or 0.0)
        # They become lines and variables, which a control character would break.
        or not f"{profile}{state}{token}".isprintable()
    ):
        raise ProtocolViolation("the daemon's notification breaks the protocol")
    return Change(profile, state, token, expires_at)
