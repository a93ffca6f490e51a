"""Whether the daemon's work is where it should be: what the watchdog is fed by."""

from collections.abc import Iterable
from typing import Final

from openfit_tokend.core.session import Session, wake_at

LATE: Final = 120.0
"""Seconds that something may be behind: twice the longest sleep of the alarm, which may notice a
suspend so late, and the longest pause after a fault of ours."""


def late_keepers(sessions: Iterable[tuple[str, Session]], now: float) -> list[str]:
    """Name, with the reason, each profile whose session should have been woken long ago.

    A request under way has no moment to be woken at: see `late_requests`.
    """
    return [
        f"profile {name} should have been looked at {now - wake_at(session):.0f} s ago"
        for name, session in sessions
        if now > wake_at(session) + LATE  # by sums, which round alike
    ]


def late_requests(overruns: Iterable[float]) -> list[str]:
    """Name each request that should have ended long ago: `overruns` are seconds past its limit."""
    return [
        f"a token request should have ended {overrun:.0f} s ago"
        for overrun in overruns
        if overrun > LATE
    ]
