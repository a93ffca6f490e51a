"""Whether the daemon keeps up with its work: the condition for feeding the watchdog."""

from collections.abc import Iterable
from typing import Final

from openfit_tokend.core.session import Session, wake_at

LATE: Final = 120.0
"""Seconds that something may be late: twice the longest sleep of the alarm, which may notice a
suspend that late, and the longest pause after an internal error."""


def late_keepers(sessions: Iterable[tuple[str, Session]], now: float) -> list[str]:
    """Return a line for each profile whose session should have been woken long ago.

    A request under way has no moment to be woken at: see `late_requests`.
    """
    return [
        f"profile {name} should have been looked at {now - wake_at(session):.0f} s ago"
        for name, session in sessions
        if now > wake_at(session) + LATE  # sums, which round alike
    ]


def late_requests(overruns: Iterable[float]) -> list[str]:
    """Return a line for each request that should have ended long ago; `overruns`: seconds past limits."""
    return [
        f"a token request should have ended {overrun:.0f} s ago"
        for overrun in overruns
        if overrun > LATE
    ]
