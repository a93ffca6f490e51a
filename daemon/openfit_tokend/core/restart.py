"""What the daemon starts with: each profile's session, and whether a rejection was forgotten."""

from dataclasses import replace
from math import inf

from openfit_tokend.core import problems
from openfit_tokend.core.schedule import PAUSE
from openfit_tokend.core.session import (
    Idle,
    Refresh,
    Requesting,
    Session,
    Stopped,
    is_logged_out,
    is_rejected,
    logged_out_session,
    new_session,
)


def begun(
    stored: Session | None, stored_at: float, *, logged_out: bool, noted_at: float, now: float
) -> Session:
    """Return the session with which a profile starts. Feed it one Reconfigured if it was stored.

    `stored`: the session that outlived the restart, if any; `logged_out`: what the ledger's file
    says. They are as of `stored_at` and `noted_at`; the newer one says whether an operator's logout
    holds, since the older one could no longer be written.
    """
    if stored is not None and (stored_at > noted_at or is_logged_out(stored) == logged_out):
        return restored(stored, now)
    return logged_out_session(now) if logged_out else new_session(now)


def forgotten(stored: Session, stored_at: float, *, unwritten: bool, noted_at: float) -> bool:
    """Return whether a rejection of a stored session's account isn't in the ledger's file.

    `unwritten`: it lacked one when the session was stored; `noted_at`: as in `begun`, and -inf: it
    says nothing of this boot.
    """
    return (unwritten and stored_at > noted_at) or (noted_at == -inf and is_rejected(stored))


def restored(session: Session, now: float) -> Session:
    """Return a stored session as it is after a restart.

    It was stored before its request was sent, so what was under way may have been acted upon.
    """
    if not isinstance(session.doing, Requesting):
        return session
    refresh = session.refresh
    if refresh is not None and isinstance(session.doing.request, Refresh):
        refresh = replace(refresh, lost=refresh.lost + 1)
    barred_for_ever = session.bar is not None and session.bar.until == inf
    return replace(
        session,
        doing=Stopped() if refresh is None and barred_for_ever else Idle(now + PAUSE),
        refresh=refresh,
        number=session.number + 1,
        failures=max(1, session.failures),
        error=problems.interrupted(now),
    )
