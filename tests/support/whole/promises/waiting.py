"""Promises 1 and 8: one request, and nothing waits for ever."""

from collections.abc import Sequence
from math import inf

from openfit_tokend.core.callers.answers import Get, Live, LogIn, Refuse, Renew, answer, tried_by
from openfit_tokend.core.events import Failed, Granted, Kind, LoginOrdered, Send
from openfit_tokend.core.session import Idle, Login, Refresh, Requesting, Session, Stopped
from openfit_tokend.serving.connection import Park
from whole.promises.promise import A_LITTLE, promise
from whole.seen import Request, Seen, Taken


@promise(1)
def one_request(counting: Sequence[int]) -> str | None:
    """At most one request whose answer counts is under way."""
    return f"under way: {counting}" if len(counting) > 1 else None


@promise(8)
def somebody_is_at_work(session: Session, numbers: Sequence[int]) -> str | None:
    """A session that waits for an answer has a request; one that rests wakes; else it is stopped."""
    match session.doing:
        case Requesting():
            there = session.number in numbers
            return None if there else f"waits for {session.number} of {numbers}"
        case Idle(due):
            return None if due < inf else "rests for ever"
        case Stopped():
            bar = session.bar
            good = bar is not None and bar.until == inf and session.refresh is None
            return None if good else "stopped without a reason"


@promise(8)
def answered_in_that_step(
    session: Session, parked: Sequence[Park], tried_at: float, now: float
) -> str | None:
    """Every waiter is answered in the very step that makes it answerable."""
    session = tried_by(session, tried_at)
    for each in parked[:4]:
        told = answer(session, each.call, each.deadline, now)
        if told is not None and now < each.deadline:
            return f"{each.call} could be told {told!r}"
    return None


@promise(8)
def nobody_waits_in_vain(session: Session, parked: Sequence[Park], tried_at: float) -> str | None:
    """Nobody waits where nothing can come before the end of the wait."""
    if isinstance(session.doing, Requesting):
        return None
    due = min(tried_at, session.doing.due if isinstance(session.doing, Idle) else inf)
    for each in parked:
        if not isinstance(each.call, LogIn | Live) and due > each.deadline:
            return f"{each.call} waits until {each.deadline:.3f}, next is {due:.3f}"
    return None


@promise(8)
def orders_are_kept(taken: Taken) -> str | None:
    """An operator's login follows at once, or right after what is under way."""
    before, event = taken.before.doing, taken.event
    follows = False
    match before:
        case Requesting(Refresh(), login_after=True):
            follows = isinstance(event, Granted | Failed) and event.number == taken.before.number
        case Requesting():
            pass
        case _:
            follows = isinstance(event, LoginOrdered)
    sent = [effect.request for effect in taken.effects if isinstance(effect, Send)]
    return f"no login, but {sent}" if follows and sent != [Login(insisted=True)] else None


@promise(8)
def orders_lift_bars(taken: Taken, one: Request) -> str | None:
    """A login that was sent over a bar for ever lifts it, unless it is rejected, too."""
    bar, event = taken.after.bar, taken.event
    if not isinstance(one.request, Login) or bar is None or bar.until < inf:
        return None
    if isinstance(event, Failed) and event.kind in {
        Kind.TRANSIENT,
        Kind.UNSENT,
        Kind.UNCERTAIN,
        Kind.UNCLEAR,
        Kind.CLIENT_REJECTED,
    }:
        return f"{event.kind}, and still barred: {bar}"
    return f"accepted, and still barred: {bar}" if isinstance(event, Granted) else None


@promise(8)
def wishes_are_kept(session: Session, parked: Sequence[Park], seen: Seen, now: float) -> str | None:
    """A client that waits for a newer token gets a request as soon as the pace allows one."""
    token, doing = seen.token, session.doing
    if not session.wanted or session.failures or token is None or now >= token.expires:
        return None
    if not isinstance(doing, Idle) or not any(
        isinstance(each.call, Get | Refuse | Renew) and each.deadline >= doing.due
        for each in parked
    ):
        return None
    if doing.due <= max(now, seen.ended + 10.0) + 1.0 + A_LITTLE:
        return None
    return f"somebody waits, but the next request is at {doing.due:.3f}"
