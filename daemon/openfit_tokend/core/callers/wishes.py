"""How often callers may have a live token replaced before its time: one budget for all that a user wants.

A caller wants another token than the live one when it refuses that, asks for a newer one, or for one
that lives longer. Which of these it is makes no difference. Each user has a budget of its own, so that
nobody who does it again and again slows the others, whose token may really be dead.
"""

from math import inf

from openfit_token._shared.frozen import frozen
from openfit_tokend.core.schedule import MAX_SPACING, RECENT, YOUNG, spacing
from openfit_tokend.core.session import AccessToken, Idle, Session, live


@frozen
class Wishes:
    """What a user wanted of one profile."""

    count: int = 0
    """Young tokens that were replaced for it, as far as they still count."""
    at: float = -inf
    """When a token was last replaced for it."""


def wish(before: Wishes, session: Session, now: float) -> Wishes | float:
    """Return a user's wishes with one more; or the seconds until it may have that one.

    A wish that changes nothing, since a request is under way, due or retried anyway, isn't counted.
    """
    access = live(session, now)
    if access is None or session.wanted or session.failures or not isinstance(session.doing, Idle):
        return before
    quiet = MAX_SPACING + spacing(before.count)
    count = (before.count if now <= before.at + quiet else 0) + _is_young(access, now)
    pause = spacing(count)
    left = before.at + pause - now
    return left if pause > RECENT and left > 0 else Wishes(count, now)  # the session keeps RECENT


def brings_login_forward(session: Session, now: float) -> bool:
    """Return whether a wish would cost a login in the first half of a live token's life."""
    access = live(session, now)
    if access is None or session.refresh is not None:
        return False
    return now < access.obtained + access.lifetime / 2


def _is_young(access: AccessToken, now: float) -> bool:
    return now < access.obtained + max(YOUNG, access.lifetime / 4)
