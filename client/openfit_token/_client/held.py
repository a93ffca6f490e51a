"""The token that an HTTP adapter holds, and whether it may still be sent. No I/O, no clock.

Rules for this file:
1. A token is sent until its `refresh_at`; then the daemon is asked for the next. The one that is
   held is still alive then, so that question doesn't wait. If the daemon has none now, the held one is
   used, for some seconds without asking again.
2. A 401 may be the token's fault, or the path's: only the daemon can find out, by replacing the token.
   So the request that got it names the token and waits for another one. If there is none now, the 401
   is the answer, and the token goes on. Other requests don't wait for that.
3. An answer counts from the time of its question. One that arrives after the answer to a later
   question is used, but not kept.

No locks: each change is one assignment, of a value that never changes. The worst that
two threads can cause is one question more, or one 401 that is repeated.

`now` is in seconds of a clock that also runs while the machine sleeps.
"""

from dataclasses import replace
from math import inf
from typing import Final

from openfit_token._client.token import Token
from openfit_token._shared.frozen import frozen
from openfit_token.errors import (
    BudgetSpent,
    DaemonUnreachable,
    Internal,
    Overloaded,
    SecretUnavailable,
    Stopping,
    TimedOut,
    TokenError,
    Unavailable,
)

_NOT_NOW = (
    BudgetSpent,
    DaemonUnreachable,
    Internal,
    Overloaded,
    SecretUnavailable,
    Stopping,
    TimedOut,
    Unavailable,
)
"""Temporary errors that say nothing about the caller. The others say that it may not have a token: not
even the held one."""
_REST: Final = 5.0
"""Seconds without asking again after a daemon gave no token. One that hangs costs time at each question."""
_MOMENT: Final = 1.0
"""Seconds that a request waits for a token in place of a live one that the API refused to another request."""


@frozen
class Get:
    """Ask the daemon for its current token, and wait that many seconds."""

    wait: float


@frozen
class Refuse:
    """Tell the daemon that the API refused the token with this id, and ask for another."""

    id: str
    wait: float


Question = Get | Refuse


@frozen
class _Holding:
    """A token, and when it was asked for."""

    token: Token
    asked: float
    refused: bool = False
    rests_until: float = -inf

    @property
    def due(self) -> float:
        # From what was left of it, since the wall clock may have been set meanwhile.
        return self.ends - (self.token.expires_at - self.token.refresh_at)

    @property
    def ends(self) -> float:
        return self.asked + self.token.expires_in


class Held:
    """The token that is held. Threads and tasks may share it.

    To send a request, `look`. If that returns a question, ask the daemon and `keep` the answer; after
    an error, `instead_of` says what to use. If the API answers 401 to a token, `look` with it for the one
    to repeat the request with; if that is the same, there is no other now. A request that can't be
    repeated leaves it to the next one: `refuse` the token.
    """

    def __init__(self, wait: float) -> None:
        self._wait = wait
        self._holding: _Holding | None = None

    def look(self, now: float, refused: Token | None = None) -> Token | Question:
        """Return the token to send, which isn't the one `refused`; or the question to ask the daemon."""
        holding = self._holding
        if refused is not None and (holding is None or holding.token.id == refused.id):
            return Refuse(refused.id, self._wait)
        match holding:
            case None:
                return Get(self._wait)
            case _Holding(token, refused=True):
                return Refuse(token.id, _MOMENT if now < holding.ends else self._wait)
            case _ if now < max(holding.due, min(holding.rests_until, holding.ends)):
                return holding.token
            case _:
                return Get(0.0 if now < holding.ends else self._wait)

    def keep(self, token: Token, asked: float) -> None:
        """Take the daemon's answer to a question that was asked at `asked`."""
        if self._holding is None or asked >= self._holding.asked:
            self._holding = _Holding(token, asked)

    def instead_of(self, error: TokenError, now: float) -> Token:
        """Return the token to send when the daemon answered a question with an error.

        Raises:
            TokenError: that error, if there is no token to use instead.
        """
        holding = self._holding
        if isinstance(error, _NOT_NOW) and holding is not None and now < holding.ends:
            self._holding = replace(holding, refused=False, rests_until=now + _REST)
            return holding.token
        raise error

    def refuse(self, token: Token) -> None:
        """Note that the API answered 401 to this token, for the next request."""
        holding = self._holding
        if holding is not None and holding.token.id == token.id:
            self._holding = replace(holding, refused=True)
