"""What the HTTP adapters have in common: where their tokens come from."""

from collections.abc import Iterable
from time import (
    CLOCK_BOOTTIME,
    clock_gettime,
)

from openfit_token._client.blocking import TokenClient
from openfit_token._client.held import Get, Held, Question
from openfit_token._client.token import Token
from openfit_token._shared.origin import Origins
from openfit_token._shared.protocol import DEFAULT_WAIT
from openfit_token.errors import TokenError


class Supply:
    """The tokens to send. Threads may share it, a fork is noticed, and nothing has to be closed.

    Args:
        profile: whose token; left out: the daemon's default, or the only one.
        socket: the daemon's socket; left out: $OPENFIT_TOKEN_SOCKET, else the user's own daemon's,
            else the machine's.
        wait: seconds to wait while the daemon has no suitable token.
        origins: where tokens may go besides the origin of their `api_url`, such as
            "https://gateway.example.org"; http is only for loopback.

    Raises:
        ValueError: one of `origins` isn't an origin.
    """

    def __init__(
        self,
        profile: str | None = None,
        *,
        socket: str | None = None,
        wait: float = DEFAULT_WAIT,
        origins: Iterable[str] = (),
    ) -> None:
        self._held = Held(wait)
        self._origins = Origins(origins)
        self._client = TokenClient(profile, socket)
        # It is asked once in a token's life: a kept connection would only stay open.
        self._client.close()

    def api_url(self) -> str:
        """Return the URL of the API that the tokens are for, without a trailing slash.

        Raises:
            TokenError: there is no token.
        """
        return self._token().api_url

    def _token(self, refused: Token | None = None) -> Token:
        """Return the token to send; never the one that the API `refused`. Raises TokenError."""
        found = self._held.look(now(), refused)
        if isinstance(found, Token):
            return found
        asked = now()
        try:
            token = self._ask(found)
        except TokenError as error:
            return self._held.instead_of(found, error, now())
        self._held.keep(token, asked)
        return token

    def _ask(self, question: Question) -> Token:
        if isinstance(question, Get):
            return self._client.get_token(wait=question.wait)
        return self._client.refuse(question.id, wait=question.wait)


def now() -> float:
    """Return the seconds of the clock for a token's life: it runs during suspend too."""
    return clock_gettime(CLOCK_BOOTTIME)
