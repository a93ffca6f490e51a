"""What the network makes of a request: each fault with what it says, what it means, and whether
the server acted.
"""

import json
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum, unique
from math import inf
from random import Random
from typing import Final

from openfit_tokend.core.events import Kind
from openfit_tokend.core.schedule import REQUEST_TIMEOUT

_PAGE: Final = b"<!DOCTYPE html><title>Service</title><p>hush-page"


@dataclass(frozen=True, slots=True)
class Means:
    """What a fault is. `reply`: what is answered instead of the server's own words."""

    kind: Kind | None
    """What must be made of it; None: whatever the server said."""
    acts: bool | None = False
    """Whether the server acted; None: by chance."""
    reply: tuple[int, bytes | None] | None = None
    slow: bool = False
    """Whether it takes its time, perhaps for ever."""
    retry_after: bool = False


def _said(status: int, **fields: object) -> tuple[int, bytes]:
    return status, json.dumps(fields).encode()


@unique
class Fault(Enum):
    """All that can go wrong."""

    REFUSED = Means(Kind.UNSENT)
    LOST_BEFORE = Means(Kind.UNCERTAIN)
    LOST_AFTER = Means(Kind.UNCERTAIN, acts=True)
    HANGS_BEFORE = Means(Kind.UNCERTAIN, slow=True)
    HANGS_AFTER = Means(Kind.UNCERTAIN, acts=True, slow=True)
    ACTS_LATE = Means(Kind.UNCERTAIN, acts=True, slow=True, reply=(0, None))
    SLOW = Means(None, acts=True, slow=True)
    PAGE_200 = Means(Kind.UNCERTAIN, acts=True, reply=(200, _PAGE))
    HUGE_200 = Means(Kind.UNCERTAIN, acts=True, reply=(200, None))
    EMPTY_200 = Means(Kind.UNCERTAIN, acts=True, reply=(200, b""))
    NUMBER_200 = Means(Kind.UNCERTAIN, acts=True, reply=_said(200, access_token=7, expires_in=60))
    SOON_200 = Means(
        Kind.UNCERTAIN, acts=True, reply=_said(200, access_token="hush-soon", expires_in="soon")
    )
    ZERO_200 = Means(
        Kind.UNCERTAIN, acts=True, reply=_said(200, access_token="hush-zero", expires_in=0)
    )
    BROKEN_LINE_200 = Means(
        Kind.UNCERTAIN, acts=True, reply=_said(200, access_token="hush\r\nx", expires_in=60)
    )
    ERROR_500 = Means(Kind.UNCERTAIN, acts=None, reply=(500, _PAGE))
    GATEWAY_502 = Means(Kind.UNCERTAIN, acts=None, reply=(502, _PAGE))
    GATEWAY_504 = Means(Kind.UNCERTAIN, acts=None, reply=(504, b""))
    SERVER_ERROR_400 = Means(Kind.UNCERTAIN, acts=None, reply=_said(400, error="server_error"))
    BUSY_503 = Means(Kind.TRANSIENT, reply=(503, _PAGE))
    BUSY_503_LATER = Means(Kind.TRANSIENT, reply=(503, _PAGE), retry_after=True)
    BUSY_429 = Means(Kind.TRANSIENT, reply=(429, b""))
    BUSY_429_LATER = Means(Kind.TRANSIENT, reply=(429, b"{}"), retry_after=True)
    TIMEOUT_408 = Means(Kind.TRANSIENT, reply=(408, b""))
    SLOW_DOWN_400 = Means(Kind.TRANSIENT, reply=_said(400, error="slow_down"))
    BUSY_400 = Means(Kind.TRANSIENT, reply=_said(400, error="temporarily_unavailable"))
    REDIRECT_302 = Means(Kind.TRANSIENT, reply=(302, b""))
    NOT_FOUND_404 = Means(Kind.TRANSIENT, reply=(404, _PAGE))
    PAGE_400 = Means(Kind.UNCLEAR, acts=True, reply=(400, _PAGE))
    PAGE_403 = Means(Kind.UNCLEAR, acts=None, reply=(403, _PAGE))
    UNREADABLE_401 = Means(Kind.UNCLEAR, acts=None, reply=(401, None))
    TEAPOT_418 = Means(Kind.UNCLEAR, acts=None, reply=(418, b"{}"))
    EMPTY_401 = Means(Kind.UNCLEAR, reply=(401, b""))
    EMPTY_403 = Means(Kind.UNCLEAR, reply=(403, b" "))
    LIST_400 = Means(Kind.UNCLEAR, reply=(400, b"[1]"))
    UNKNOWN_400 = Means(Kind.UNCLEAR, reply=_said(400, error="hush-nonsense"))
    CLIENT_401 = Means(Kind.CLIENT_REJECTED, reply=_said(401, error="invalid_client"))
    SCOPE_400 = Means(Kind.CLIENT_REJECTED, reply=_said(400, error="invalid_scope"))


OUTAGES: Final = (
    Fault.REFUSED,
    Fault.REFUSED,
    Fault.HANGS_BEFORE,
    Fault.LOST_BEFORE,
    Fault.BUSY_503,
    Fault.BUSY_429_LATER,
    Fault.GATEWAY_502,
    Fault.PAGE_403,
    Fault.EMPTY_403,
    Fault.HANGS_AFTER,
)
"""What a whole outage can consist of."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one request. Seconds count from its sending.

    `ends`: when there is something to be read, or the connection breaks; inf: never. `acts`: when
    the server acts; None: never.
    """

    fault: Fault | None
    ends: float
    acts: float | None
    retry_after: str | None = None


def fate(rng: Random, fault: Fault | None, took: float, wall: float) -> Fate:
    """Return what a fault makes of a request that would take `took` seconds."""
    if fault is None:
        return Fate(None, took, took / 2)
    means = fault.value
    acts = means.acts if means.acts is not None else rng.random() < 0.5
    ends = took
    if fault is Fault.SLOW:
        ends = rng.uniform(1.0, 70.0)
    elif fault is Fault.REFUSED:
        ends = rng.choice((took / 2, took / 2, 10.0))
    elif means.slow:
        ends = inf
    acts_at = ends * rng.random() if ends < inf else took
    if fault is Fault.ACTS_LATE:
        acts_at = REQUEST_TIMEOUT + rng.uniform(0.0, 30.0)
    said = _retry_after(rng, wall) if means.retry_after else None
    return Fate(fault, ends, acts_at if acts else None, said)


def _retry_after(rng: Random, wall: float) -> str:
    seconds = rng.choice((0, 2, 20, 120, 5000))
    return rng.choice((str(seconds), formatdate(wall + seconds, usegmt=True), "hush-later"))
