"""Promises 2, 3 and 4: what is served, and when there is nothing to be served."""

from typing import TYPE_CHECKING

from openfit_token.errors import ClientRejected
from openfit_tokend.core.callers.answers import Get, Refuse, Renew
from openfit_tokend.core.events import Failed
from openfit_tokend.core.session import AccessToken, Idle
from simulation.promises.promise import A_LITTLE, promise
from simulation.seen import Token

if TYPE_CHECKING:  # the shell is what is watched
    from simulation.daemon import Taken


@promise(2)
def served_alive(  # noqa: PLR0911 -- each line is a way to be wrong
    access: AccessToken, call: object, token: Token | None, now: float, *, dead: bool
) -> str | None:
    """An expired token is never served, nor one in its last second, nor one of another user.

    Nor one that lives shorter than min_ttl.
    """
    if token is None or token.id != access.id:
        return f"served {access.id}, the newest is {token}"
    if now >= token.expires:
        return f"served {now - token.expires:.3f} s after its end"
    if isinstance(call, Renew) and token.obtained < call.asked_at - 10.0 - A_LITTLE:
        return f"{call} was given a token of {token.obtained:.3f}"
    if call == Refuse(access.id):
        return "it is the one that was refused"
    if isinstance(call, Get) and token.expires - now < (call.min_ttl or 0.0) - A_LITTLE:
        return f"served with {token.expires - now:.3f} s left, wanted {call.min_ttl}"
    if dead and token.lifetime >= 16:
        return "it is dead at the server"
    return None


@promise(3)
def served_at_once(call: object, told: object, token: Token | None, now: float) -> str | None:
    """A live token is served at once, whatever else is happening."""
    if call != Get() or token is None or now >= token.expires or isinstance(told, AccessToken):
        return None
    return f"told {told!r}, though {token.id} is live"


@promise(3)
def live_is_held(taken: "Taken", token: Token | None, now: float) -> str | None:
    """A live token is held until it is replaced, logged out or another user's."""
    access = taken.after.access
    if token is not None and now < token.expires and (access is None or access.id != token.id):
        return f"{token.id} is live until {token.expires:.3f}, held is {access}"
    if access is not None and (token is None or now >= token.expires):
        return f"{access.id} is held, though it has ended"
    return None


@promise(4)
def no_gap(token: Token, late: float, *, answers: float, well: bool) -> str | None:
    """While the server answers within half the margin, and when it is well in time: no gap.

    `answers`: seconds of the request that is under way at the token's end; `late`: when it ended.
    """
    if token.excused or not well or token.lifetime < 2:
        return None
    half = token.margin / 2
    if answers > half or token.took > half:
        return None
    if token.failed_at is not None:
        enough = max(1.0, min(10.0, token.margin / 30)) + 0.5 + answers
        if token.expires - token.failed_at <= enough + A_LITTLE:
            return None
    return f"{token.id} ended at {late:.3f} without a newer one; last failure {token.failed_at}"


@promise(4)
def tries_within_a_minute(taken: "Taken", now: float) -> str | None:
    """After an outage there is a try within 60 s, unless a bar, the budget or Retry-After holds."""
    before, after = taken.before, taken.after
    if not isinstance(after.doing, Idle) or after.failures == 0 or before.doing == after.doing:
        return None
    if after.doing.due <= max(now, after.ended) + 60.0 + A_LITTLE:
        return None
    if after.refresh is None and after.bar is not None and now < after.bar.until:
        return None
    if after.error is not None and after.error.raises is ClientRejected:
        left = 0.0 if after.access is None else after.access.expires - now
        longest = max(60.0, left / 8) if left > 0 else 3600.0
        return (
            None
            if after.doing.due <= now + longest + A_LITTLE
            else "an operator may have mended it"
        )
    if isinstance(taken.event, Failed) and taken.event.retry_after is not None:
        return None
    return f"the next try is {after.doing.due - now:.1f} s away"
