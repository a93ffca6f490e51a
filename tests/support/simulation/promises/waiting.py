"""Promises 1 and 8: one request, and nothing waits for ever."""

from math import inf
from typing import TYPE_CHECKING

from openfit_tokend.core.callers.answers import LogIn, answer
from openfit_tokend.core.events import Failed, Granted, Kind, LoginOrdered, Send
from openfit_tokend.core.session import Idle, Login, Refresh, Requesting, Stopped
from simulation.promises.promise import A_LITTLE, promise
from simulation.requests import Request
from simulation.seen import Seen

if TYPE_CHECKING:  # the shell is what is watched
    from simulation.daemon import Keeper, Taken


@promise(1)
def one_request(keeper: "Keeper", seen: Seen) -> str | None:
    """At most one request whose answer counts is under way."""
    counting = [one.number for one in keeper.under_way if one.number not in seen.voided]
    return f"under way: {counting}" if len(counting) > 1 else None


@promise(8)
def somebody_is_at_work(taken: "Taken") -> str | None:
    """A session that waits for an answer has a request; one that rests wakes; else it is stopped."""
    after = taken.after
    match after.doing:
        case Requesting():
            numbers = [one.number for one in taken.keeper.under_way]
            return None if after.number in numbers else f"waits for {after.number} of {numbers}"
        case Idle(due):
            return None if due < inf else "rests for ever"
        case Stopped():
            bar = after.bar
            good = bar is not None and bar.until == inf and after.refresh is None
            return None if good else "stopped without a reason"


@promise(8)
def answered_in_that_step(keeper: "Keeper", now: float) -> str | None:
    """Every waiter is answered in the very step that makes it answerable."""
    for parked in keeper.parked[:4]:
        told = answer(keeper.session, parked.call, parked.deadline, now)
        if told is not None and now < parked.deadline:
            return f"{parked.call} could be told {told!r}"
    return None


@promise(8)
def nobody_waits_in_vain(taken: "Taken") -> str | None:
    """Nobody waits where nothing can come before the end of the wait."""
    doing = taken.after.doing
    if isinstance(doing, Requesting):
        return None
    due = doing.due if isinstance(doing, Idle) else inf
    for parked in taken.keeper.parked:
        if not isinstance(parked.call, LogIn) and due > parked.deadline:
            return f"{parked.call} waits until {parked.deadline:.3f}, next is {due:.3f}"
    return None


@promise(8)
def orders_are_kept(taken: "Taken") -> str | None:
    """An operator's login follows at once, or right after what is under way."""
    before, event = taken.before.doing, taken.event
    follows = False
    match before:
        case Requesting(Refresh(), Login()):
            follows = isinstance(event, Granted | Failed) and event.number == taken.before.number
        case Requesting():
            pass
        case _:
            follows = isinstance(event, LoginOrdered)
    sent = [effect.request for effect in taken.effects if isinstance(effect, Send)]
    return f"no login, but {sent}" if follows and sent != [Login(insisted=True)] else None


@promise(8)
def orders_lift_bars(taken: "Taken", one: Request) -> str | None:
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
def answered_by_its_wait(call: object, told: object) -> str | None:
    """Every waiter is answered by its `wait`."""
    return f"{call} isn't answered" if told is None else None


@promise(8)
def wishes_are_kept(taken: "Taken", seen: Seen, now: float) -> str | None:
    """A client that waits for a newer token gets a request as soon as the pace allows one."""
    after, token = taken.after, seen.token
    if not taken.keeper.parked or after.failures or token is None or now >= token.expires:
        return None
    if not isinstance(after.doing, Idle) or not any(
        not hasattr(parked.call, "number") and parked.deadline >= after.doing.due
        for parked in taken.keeper.parked
    ):
        return None
    if after.doing.due <= max(now, seen.ended + 10.0) + 1.0 + A_LITTLE:
        return None
    return f"somebody waits, but the next request is at {after.doing.due:.3f}"
