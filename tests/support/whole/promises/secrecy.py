"""Promise 9, and what all promises stand on: words."""

from typing import Final

from openfit_token.errors import TokenError
from openfit_tokend.core.events import Failed, Granted, Kind, OverBudget
from openfit_tokend.core.session import Idle, State, state
from whole.promises.promise import promise
from whole.seen import Request, Taken

LONG: Final = 60.0
"""Seconds that a request is waited for."""
CLOSE: Final = 45.0


@promise(9)
def nothing_is_told(taken: Taken) -> str | None:
    """No secret is in a repr, an error or a status."""
    shown = f"{taken.after!r} {taken.event!r} {taken.effects!r}"
    return shown if "hush" in shown else None


@promise(9)
def no_error_tells(told: object) -> str | None:
    """No secret is in an error."""
    shown = f"{told!r}" if isinstance(told, TokenError) else ""
    return shown if "hush" in shown else None


@promise(0)
def shown_as_it_is(taken: Taken, now: float) -> str | None:
    """A session that is well is shown as such."""
    after = taken.after
    well = isinstance(after.doing, Idle) and after.failures == 0 and after.access is not None
    shown = state(after, now)
    return f"it is well, but shown as {shown}" if well and shown is not State.FRESH else None


@promise(0)
def classified(one: Request, event: Granted | Failed) -> str | None:
    """Each answer is taken for what it is."""
    got = event.kind if isinstance(event, Failed) else None
    if one.sent is None:
        unsent = isinstance(got, OverBudget) or got in {Kind.UNSENT, Kind.SECRET_UNAVAILABLE}
        return None if unsent else f"{one} wasn't sent, and was taken for {got}"
    fate, said, fault = one.sent.fate, one.sent.said, one.sent.fate.fault
    if CLOSE < fate.ends < LONG or one.sent.host.stood_still > one.sent.at:
        return None  # the connection took some of the minute, or the minute was longer
    if fate.ends >= LONG:
        wanted: object = Kind.UNCERTAIN
    elif fault is not None and fault.value.kind is not None:
        wanted = fault.value.kind
    elif said is None or said[0] == 200:
        wanted = None
    else:
        wanted = Kind.CLIENT_REJECTED if b"invalid_client" in said[1] else Kind.GRANT_REJECTED
    return f"{one}: {fate} was taken for {got}" if got != wanted else None
