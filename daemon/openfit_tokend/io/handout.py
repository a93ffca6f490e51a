"""A token as it is handed out: the bytes of the answer, prepared once for many callers.

Of one answer to the next only the seconds left differ. They stand last, so that the rest is
prepared and a request costs two small packings.
"""

import struct
from typing import Final, final

from msgpack import packb

from openfit_tokend.core.session import AccessToken, Session, degraded
from openfit_tokend.core.settings import Profile
from openfit_tokend.io import clock

_TOLERANCE: Final = 0.001
"""Seconds that the wall clock may have moved against CLOCK_BOOTTIME before times are shown anew."""
_LEFT: Final = struct.Struct(">Bd")
_FLOAT64: Final = 0xCB
"""MessagePack's sign for the eight bytes of a float."""


@final
class Handout:
    """The answers that hand out one profile's token."""

    __slots__ = ("_body", "_epoch", "_profile", "_session")

    def __init__(self) -> None:
        self._body = b""
        self._epoch = 0.0
        self._session: Session | None = None
        self._profile: Profile | None = None

    def answer(self, profile: Profile, session: Session, access: AccessToken, now: float) -> bytes:
        """Give the encoded result that hands out `access`, a live token of this session."""
        epoch = clock.wall() - now  # what turns CLOCK_BOOTTIME into Unix time
        if (
            session is not self._session
            or profile is not self._profile
            or session.attempt  # then `degraded` depends on the time
            or not -_TOLERANCE < epoch - self._epoch < _TOLERANCE
        ):
            self._body = _body(profile, session, access, now, epoch)
            self._epoch, self._session, self._profile = epoch, session, profile
        return self._body + _LEFT.pack(_FLOAT64, access.expires - now)


def _body(
    profile: Profile, session: Session, access: AccessToken, now: float, epoch: float
) -> bytes:
    """Give the bytes of the whole map but for its last value, `expires_in`."""
    trouble = degraded(session, now)
    whole: bytes = packb(
        {
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
            else {"code": trouble.kind.code, "message": trouble.message},
            "expires_in": 0.0,
        }
    )
    return whole[: -_LEFT.size]
