"""When to act: the formulas of the schedule, in seconds of CLOCK_BOOTTIME.

`chance` is one random number in [0, 1): it spreads many daemons, and is an argument so that
everything here stays a function.
"""

from typing import Final

from openfit_token._shared.frozen import frozen

PAUSE: Final = 1.0
"""Seconds at least between the end of a request and the next one by schedule."""
GUARD: Final = 1.0
"""Seconds before its end from which a token is no longer served: servers count whole seconds."""
RECENT: Final = 10.0
"""Seconds in which a token counts as just replaced; and the pause between two that clients want."""
YOUNG: Final = 60.0
"""Seconds after its arrival, or a quarter of its life, in which who wants a token replaced may soon
want the next one replaced."""
MAX_SPACING: Final = 600.0
"""Seconds at most between two replacements that a user wants."""
MAX_BACKOFF: Final = 60.0
"""Seconds at most between two retries in an outage, unless the server asked for more."""
MAX_RETRY_AFTER: Final = 600.0
"""Seconds of a server's Retry-After that are honoured."""
REQUEST_TIMEOUT: Final = 60.0
"""Seconds for a whole request: the token server may have to start first. Shorter for none: a refresh
that is given up while the server is working on it has spent its token."""
WORN: Final = 0.8
"""The part of a refresh token's life after which a login is preferred: it is planned for then."""
OVERDUE: Final = 0.85
"""The part after which it is reported that this login fails, though it is still tried."""


@frozen
class Policy:
    """The schedule's settings of one profile, in seconds."""

    refresh_before: float = 300.0
    refresh_token_lifetime: float = 30 * 86400.0


def margin(lifetime: float, policy: Policy) -> float:
    """Return how long before its end a token is due for replacement."""
    return min(policy.refresh_before, lifetime / 4)


def expires(sent: float, lifetime: float) -> float:
    """Return the moment from which a token that was requested at `sent` is no longer served."""
    return sent + lifetime - min(GUARD, lifetime / 16)


def due(sent: float, lifetime: float, arrival: float, chance: float, policy: Policy) -> float:
    """Return the moment at which to replace a token."""
    early = margin(lifetime, policy) * (1 + chance / 10)
    return max(sent + lifetime - early, arrival + PAUSE)


def late_pause(left: float, lifetime: float, policy: Policy) -> float:
    """Return the longest pause between retries while a token has `left` seconds of its lifetime left.

    About 30 retries fall into a margin of 300 s, at most 10 s apart in its last quarter.
    """
    return max(1.0, left / 8, min(10.0, margin(lifetime, policy) / 30))


def doubled(first: float, times: int, longest: float) -> float:
    """Return a pause that began at `first` and was doubled so many times, `longest` at most."""
    return min(longest, first * 2.0 ** min(times, 64))  # many more would be too large for a float


def retry_pause(failures: int, longest: float, retry_after: float | None, chance: float) -> float:
    """Return the seconds until the next retry, after `failures` failures in a row.

    The pause doubles up to MAX_BACKOFF or `longest`; a server's Retry-After outweighs both.
    """
    pause = doubled(1.0, failures - 1, min(MAX_BACKOFF, longest)) * (1 + chance) / 2
    if retry_after is None:
        return pause
    return max(pause, min(retry_after, MAX_RETRY_AFTER) * (1 + chance / 10))


def spacing(wishes: int) -> float:
    """Return how long after the last replacement that a user wanted the next one may follow.

    `wishes`: those of the user that count, with this one.
    """
    return doubled(RECENT, max(0, wishes - 2), MAX_SPACING)


def worn(since: float, now: float, policy: Policy) -> bool:
    """Return whether a refresh token that descends from a login at `since` is near its end."""
    return now - since >= WORN * policy.refresh_token_lifetime


def overdue(since: float, now: float, policy: Policy) -> bool:
    """Return whether the login has been due for long that would replace such a refresh token."""
    return now - since >= OVERDUE * policy.refresh_token_lifetime
