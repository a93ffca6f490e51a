"""The answer that hands out a token: its bytes, prepared once for many callers.

From one answer to the next only the seconds left differ. They come last, so the rest is prepared,
and a request costs two small packings.
"""

import struct
from typing import Final, Protocol, final

from msgpack import packb

from openfit_tokend.core.problems import Problem
from openfit_tokend.core.reports.health import Health
from openfit_tokend.core.session import AccessToken
from openfit_tokend.core.settings import Profile
from openfit_tokend.host import clock

FRESH: Final = 0.1
"""Seconds for which a prepared answer is used: its times are those of the wall clock at the start."""
MAX_PREPARED: Final = 64
"""Answers that may stay prepared, those prepared last: each is as large as its token."""
_LEFT: Final = struct.Struct(">Bd")
_FLOAT64: Final = 0xCB
"""MessagePack's sign for the eight bytes of a float."""


@final
class Handout:
    """The answer that hands out a token, prepared."""

    __slots__ = ("_body", "_expires", "until")

    def __init__(self, body: bytes, expires: float, until: float) -> None:
        self._body = body
        self._expires = expires
        self.until = until
        """The moment from which it must be prepared again."""

    def at(self, now: float) -> bytes:
        """Return the encoded result, at a moment before `until`."""
        return self._body + _LEFT.pack(_FLOAT64, self._expires - now)


NONE: Final = Handout(b"", 0.0, 0.0)
"""Nothing is prepared."""


class Holder(Protocol):
    """Who holds a prepared answer, or NONE: a keeper."""

    profile: Profile
    handout: Handout

    def health(self, now: float) -> Health:
        """Return how the profile is."""
        ...


@final
class Holders:
    """Those whose answer is prepared. The one prepared last is at the end."""

    def __init__(self) -> None:
        self._holders: dict[Holder, None] = {}

    def answer(self, holder: Holder, access: AccessToken, now: float) -> bytes:
        """Return the encoded result that hands out `access`, a holder's live token."""
        if now >= holder.handout.until:
            self.drop(holder)
            holder.handout = prepared(holder.profile, access, holder.health(now).degraded, now)
            self._holders[holder] = None
            if len(self._holders) > MAX_PREPARED:
                self.drop(next(iter(self._holders)))
        return holder.handout.at(now)

    def drop(self, holder: Holder) -> None:
        """Hold nothing for it any more."""
        self._holders.pop(holder, None)
        holder.handout = NONE


def prepared(profile: Profile, access: AccessToken, trouble: Problem | None, now: float) -> Handout:
    """Prepare the answer that hands out `access`, a live token; `trouble`: see `described`."""
    until = min(access.due, access.expires, now + FRESH)  # from `due` on, `degraded` may change
    whole: bytes = packb(described(profile, access, trouble, now))
    return Handout(whole[: -_LEFT.size], access.expires, until)


def described(
    profile: Profile, access: AccessToken, trouble: Problem | None, now: float
) -> dict[str, object]:
    """Return what is said of a live token; `trouble`: what it is degraded by.

    Its last value, the seconds left, is another each time.
    """
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
