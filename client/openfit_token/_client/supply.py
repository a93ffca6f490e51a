"""What the HTTP adapters have in common: where their tokens come from, and to whom they go."""

from collections.abc import Iterable, Iterator
from inspect import currentframe
from pwd import getpwnam
from time import (
    CLOCK_BOOTTIME,
    clock_gettime,
)
from typing import TypeVar
from weakref import WeakSet

from openfit_token._client.blocking import TokenClient
from openfit_token._client.held import Get, Held, Question
from openfit_token._client.token import Token
from openfit_token._shared.local_peer import Connected, Stranger, judging
from openfit_token._shared.origin import ANYBODY, PORTS, Origin, Origins
from openfit_token._shared.protocol import DEFAULT_WAIT
from openfit_token.errors import ForeignOrigin, TokenError

_T = TypeVar("_T")

_PROXY_HINT = "a proxy would read the token: set NO_PROXY=localhost,127.0.0.1,::1, or give the client no proxy"


class Supply:
    """The tokens to send. Threads may share it, a fork is noticed, and nothing has to be closed.

    Args:
        profile: whose token; left out: the daemon's default, or the only one.
        socket: the daemon's socket; left out: $OPENFIT_TOKEN_SOCKET, else the user's own daemon's,
            else the machine's.
        wait: seconds to wait while the daemon has no suitable token.
        origins: where tokens may go besides the origin of their `api_url`, such as
            "https://gateway.example.org"; http is only for loopback.
        loopback_user: who may listen where a token is sent over http, besides root and the program's own
            user: a name or a uid, or "anybody on this machine".

    Raises:
        ValueError: one of `origins` isn't an origin, or there is no such user.
    """

    def __init__(
        self,
        profile: str | None = None,
        *,
        socket: str | None = None,
        wait: float = DEFAULT_WAIT,
        origins: Iterable[str] = (),
        loopback_user: str | int | None = None,
    ) -> None:
        self._loopback_user = _uid_of(loopback_user)
        self._judged: WeakSet[object] = WeakSet()
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
        """Return the token to send: another than the API `refused`, if there is one now. Raises TokenError."""
        found = self._held.look(now(), refused)
        if isinstance(found, Token):
            return found
        asked = now()
        try:
            token = self._ask(found)
        except TokenError as error:
            return self._held.instead_of(error, now())
        self._held.keep(token, asked)
        return token

    def _judging(
        self, connection: object, own: Connected, asked: Origin, limit: float | None
    ) -> Iterator[float]:
        """Judge the connection that a token is about to be sent over, in the clear; wait as it says.

        `connection`: what the library keeps for the connection as long as that lives; it is judged once.
        `limit`: the seconds to wait for whoever listens to accept it.

        Raises:
            ForeignOrigin: it leads to somebody whom the token isn't for.
        """
        try:
            there: object = own.getpeername()
        except OSError:  # the connection has ended: the library finds out
            return
        if not asked.is_at(there):
            raise not_direct(asked)
        if connection in self._judged:
            return
        waited = 0.0
        try:
            for pause in judging(own, {self._loopback_user}):
                if limit is not None and waited > limit:
                    raise ForeignOrigin(
                        f"nobody accepts the connection to {asked}, so it can't be known who would",
                        "see whether that server hangs, or use https",
                    )
                yield pause
                waited += pause
        except Stranger as stranger:
            raise ForeignOrigin(f"{asked}: {stranger.message}", stranger.hint) from None
        self._judged.add(connection)

    def _ask(self, question: Question) -> Token:
        if isinstance(question, Get):
            return self._client.get_token(wait=question.wait)
        return self._client.refuse(question.id, wait=question.wait)


def now() -> float:
    """Return the seconds of the clock for a token's life: it runs during suspend too."""
    return clock_gettime(CLOCK_BOOTTIME)


def is_clear(asked: Origin, goes_to: Origin) -> bool:
    """Return whether a request for an http origin goes there in the clear.

    If not, it was redirected from port 80 to https at the same host, with its token, as both libraries do.

    Raises:
        ForeignOrigin: it goes elsewhere, to a proxy.
    """
    if goes_to == asked:
        return True
    if asked.port != PORTS["http"] or goes_to != Origin("https", asked.host, PORTS["https"]):
        raise not_direct(asked)
    return False


def not_direct(asked: Origin) -> ForeignOrigin:
    """Return the error for a request that doesn't go straight to its origin on this machine."""
    return ForeignOrigin(f"a token for {asked} only goes there directly", _PROXY_HINT)


def caller(*kinds: type[_T]) -> _T | None:
    """Return the nearest object of these classes in whose method this is called.

    Neither library hands over the connection that it is about to write to: see decision 41.
    """
    frame = currentframe()
    try:
        while frame is not None:
            frame = frame.f_back  # the first one isn't looked at: it would contain itself
            found: object = None if frame is None else frame.f_locals.get("self")
            if isinstance(found, kinds):
                return found
        return None
    finally:
        del frame  # else what these frames hold, such as connections, would stay open


def _uid_of(user: str | int | None) -> str | int | None:
    """Return the uid of a name; what isn't a name stays."""
    if not isinstance(user, str) or user == ANYBODY:
        return user
    try:
        return getpwnam(user).pw_uid
    except KeyError:
        raise ValueError(f"loopback_user: there is no user {user!r}") from None
