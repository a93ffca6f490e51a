"""Answers that hand out a token, prepared once for many callers.

From one answer to the next only the seconds left differ. They come last, so the rest is prepared.
Each dialect has its own bytes for it.
"""

from collections.abc import Callable
from typing import Final, TypeVar, final

from openfit_tokend.core.session import AccessToken
from openfit_tokend.host import clock
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.connection import Connection

FRESH: Final = 0.1
"""Seconds for which a prepared answer is used: its times are those of the wall clock at the start."""
MAX_PREPARED: Final = 64
"""Answers of one dialect that may stay prepared, the newest ones: each is as large as its token."""
LOOKS: Final = 8
"""Answers of one keeper to one user within FRESH for which the daemon looks who asks, if it doesn't know."""
MAX_KNOWN: Final = 1024
"""Requests that a dialect remembers. Clients of one kind send the same bytes: one or two for each profile."""


def fresh_until(access: AccessToken, now: float) -> float:
    """Return the moment from which an answer that was prepared now must be prepared again."""
    return min(access.due, access.expires, now + FRESH)  # from `due` on, `degraded` may change


class Prepared:
    """An answer that hands out a keeper's live token, for as long as its session is this one."""

    __slots__ = ("expires", "id", "looks", "session", "until")

    def __init__(self, keeper: Keeper, access: AccessToken, now: float) -> None:
        self.session = keeper.session
        self.id = access.id
        self.looks: dict[int, int] = {}  # by uid
        self.expires = access.expires
        self.until = fresh_until(access, now)


Answer = TypeVar("Answer", bound=Prepared)


@final
class Answers(dict[Keeper, Answer]):
    """The prepared answers of one dialect. The one prepared last is at the end."""

    def __init__(self, prepare: Callable[[Keeper, AccessToken, float], Answer]) -> None:
        super().__init__()
        self._prepare = prepare

    def ready(self, keeper: Keeper, caller: Connection, now: float) -> Answer | None:
        """Count a token that is handed out the short way, and return the answer that does it.

        None: it isn't prepared, or the log is to say who asks. Of a user whose programs ask more often than
        LOOKS, some may be named later.
        """
        answer = self.get(keeper)
        if answer is None or answer.session is not keeper.session or now >= answer.until:
            return None
        if caller.named != answer.id:
            looks = answer.looks.get(caller.user.uid, 0)
            if looks < LOOKS:
                answer.looks[caller.user.uid] = looks + 1
                return None
        keeper.counters.served += 1
        return answer

    def hand_out(self, keeper: Keeper, access: AccessToken, now: float) -> Answer:
        """Count a token that is handed out, and return the answer that does it.

        `access` is the live token of the keeper's session.
        """
        keeper.counters.served += 1
        answer = self.get(keeper)
        if answer is None or answer.session is not keeper.session or now >= answer.until:
            self.forget(keeper)
            answer = self[keeper] = self._prepare(keeper, access, now)
            if len(self) > MAX_PREPARED:
                del self[next(iter(self))]
        return answer

    def forget(self, keeper: Keeper) -> None:
        """Drop a keeper's answer: how its profile is has changed, or it is no more."""
        self.pop(keeper, None)


def described(keeper: Keeper, access: AccessToken, now: float) -> dict[str, object]:
    """Return what is said of a keeper's live token.

    Its last value, the seconds left, is another each time.
    """
    profile, trouble = keeper.profile, keeper.health(now).degraded
    epoch = clock.wall() - now  # what turns CLOCK_BOOTTIME into Unix time
    return {
        "profile": profile.name,
        "access_token": access.value.reveal,
        "token_type": "Bearer",
        "id": access.id,
        "scope": access.scope,
        "api_url": profile.api_url,
        "obtained_at": access.obtained + epoch,
        "expires_at": access.expires + epoch,
        "refresh_at": access.due + epoch,
        "degraded": None
        if trouble is None
        else {"code": trouble.raises.code, "message": trouble.message},
        "expires_in": 0.0,
    }
