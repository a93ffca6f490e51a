"""What a session does next: choices shared by several rows of the table."""

from dataclasses import replace
from math import inf
from typing import Final

from openfit_tokend.core import schedule
from openfit_tokend.core.events import Effect, Failed, Send
from openfit_tokend.core.moment import Moment
from openfit_tokend.core.schedule import PAUSE, Policy
from openfit_tokend.core.session import (
    Idle,
    Login,
    Refresh,
    Requesting,
    Session,
    Stopped,
    barred,
    doubtful,
)

Step = tuple[Session, tuple[Effect, ...]]
"""A session, and the effects to carry out."""

MAX_PACE: Final = 3600.0
"""Seconds at most between retries of what an operator may have to fix, so that a mistake on the
vendor's side doesn't stop us for ever."""


def choose(session: Session, now: float, policy: Policy) -> Step:
    """Send the best request, or wait for the bar."""
    token, bar = session.refresh, session.bar
    if token is not None and (barred(session, now) or not doubtful(token, now, policy)):
        return send_refresh(session)
    if bar is None or now >= bar.until:
        return send(session, Login())
    waiting = Stopped() if bar.until == inf else Idle(max(bar.until, session.ended + PAUSE))
    return replace(session, doing=waiting, error=bar.error), ()


def send_refresh(session: Session) -> Step:
    """Use the refresh token."""
    assert session.refresh is not None  # the callers looked
    return send(session, Refresh(session.refresh.value))


def send(session: Session, request: Login | Refresh) -> Step:
    """Send a request with a new number."""
    number = session.number + 1
    sent = replace(session, doing=Requesting(request), number=number)
    return sent, (Send(number, request),)


def rest(session: Session, now: float) -> Idle:
    """Wait until the token is due, or until a token that a client wants may be requested."""
    earliest = session.ended + PAUSE
    if session.access is None:
        return Idle(max(now, earliest))
    due = session.access.due
    if session.wanted:
        due = min(due, session.ended + schedule.RECENT)
    return Idle(max(due, earliest))


def rescheduled(session: Session, moment: Moment, policy: Policy) -> Session:
    """Return the session with its token's `due` chosen anew, at rest until then."""
    access = session.access
    if access is not None:
        due = schedule.due(access.sent, access.lifetime, access.obtained, moment.chance, policy)
        session = replace(session, access=replace(access, due=due))
    return replace(session, doing=rest(session, moment.now))


def retry_at(session: Session, event: Failed | None, moment: Moment, policy: Policy) -> float:
    """Return when to retry after a failure that `session` has already counted."""
    access, longest = session.access, inf
    if access is not None:
        longest = schedule.late_pause(access.expires - moment.now, access.lifetime, policy)
    retry_after = None if event is None else event.retry_after
    pause = schedule.retry_pause(session.failures, longest, retry_after, moment.chance)
    return moment.now + pause


def mended_at(session: Session, now: float) -> float:
    """Return when to check whether the server accepts our client again. This costs no lockout count."""
    if session.access is None:
        return now + MAX_PACE
    return now + max(60.0, min(MAX_PACE, (session.access.expires - now) / 8))
