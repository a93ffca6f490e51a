"""The nine promises. Each function gives a complaint, or None where its sentence holds.

The formulas are written here a second time, on purpose: a mistake in the core's must not hide.
"""

from collections.abc import Callable
from functools import wraps
from math import inf
from typing import TYPE_CHECKING, ParamSpec

from openfit_token.errors import BudgetSpent, ClientRejected, LoggedOut, TokenError
from openfit_tokend.core.answers import Get, LogIn, Refuse, Renew, answer
from openfit_tokend.core.events import (
    Failed,
    Granted,
    Kind,
    LoginOrdered,
    LogoutOrdered,
    OverBudget,
    Revoke,
    Send,
)
from openfit_tokend.core.session import (
    AccessToken,
    Idle,
    Login,
    Refresh,
    Requesting,
    State,
    Stopped,
    state,
)
from simulation.requests import Request
from simulation.seen import Cost, Seen, Token

if TYPE_CHECKING:  # the daemon's shell is what is watched
    from simulation.daemon import Keeper, Taken

P = ParamSpec("P")
A_LITTLE = 1e-6
"""Seconds of rounding."""


class Broken(AssertionError):
    """A promise that doesn't hold."""

    def __init__(self, promise: int, rule: str, sentence: str, complaint: str) -> None:
        super().__init__(f"promise {promise} ({rule}): {sentence}\n  {complaint}")
        self.promise = promise
        self.rule = rule


def promise(number: int) -> Callable[[Callable[P, str | None]], Callable[P, None]]:
    """Raise Broken where the function complains."""

    def decorate(rule: Callable[P, str | None]) -> Callable[P, None]:
        @wraps(rule)
        def hold(*args: P.args, **kwargs: P.kwargs) -> None:
            complaint = rule(*args, **kwargs)
            if complaint is not None:
                name = getattr(rule, "__name__", "?")
                raise Broken(number, name, (rule.__doc__ or "").strip(), complaint)

        return hold

    return decorate


# 1: requests


@promise(1)
def one_request(keeper: "Keeper", seen: Seen) -> str | None:
    """At most one request whose answer counts is under way."""
    counting = [one.number for one in keeper.under_way if one.number not in seen.voided]
    return f"under way: {counting}" if len(counting) > 1 else None


# 2 and 3: tokens


@promise(2)
def served_alive(
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
    if dead and token.lifetime >= 16:  # noqa: PLR2004 -- below, the guard is less than a second
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


# 4: gaps


@promise(4)
def no_gap(token: Token, late: float, *, answers: float, well: bool) -> str | None:
    """While the server answers within half the margin, and when it is well in time: no gap.

    `answers`: seconds of the request that is under way at the token's end; `late`: when it ended.
    """
    if token.excused or not well or token.lifetime < 2:  # noqa: PLR2004 -- promised from 2 s on
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
    if not isinstance(after.doing, Idle) or after.attempt == 0 or before.doing == after.doing:
        return None
    if after.doing.due <= max(now, after.ended) + 60.0 + A_LITTLE:
        return None
    if after.refresh is None and after.bar is not None and now < after.bar.until:
        return None
    if after.error is not None and after.error.kind is ClientRejected:
        left = 0.0 if after.access is None else after.access.expires - now
        longest = max(60.0, left / 8) if left > 0 else 3600.0
        return None if after.doing.due <= now + longest + A_LITTLE else "an operator may have mended it"
    if isinstance(taken.event, Failed) and taken.event.retry_after is not None:
        return None
    return f"the next try is {after.doing.due - now:.1f} s away"


# 5: passwords


@promise(5)
def rejected_stays_unsent(one: Request, cost: Cost) -> str | None:
    """A rejected password is not sent again by any profile, unless an operator came between."""
    assert isinstance(one.request, Login)
    if one.password in cost.rejected and not one.request.insisted:
        return f"{one} was rejected before"
    return None


@promise(5)
def clear_before(one: Request, cost: Cost, now: float) -> str | None:
    """After 3 clear rejections one login at a time, each for an operator or a proven password.

    And no sooner than 15 minutes after the last rejection.
    """
    assert isinstance(one.request, Login)
    if cost.clear < 3:  # noqa: PLR2004 -- as promised
        return None
    if now < cost.newest_clear + 900.0 - A_LITTLE:
        return f"{one} is sent {now - cost.newest_clear:.0f} s after the last clear rejection"
    announced = cost.announced > cost.refused_sent
    if one.request.insisted or announced or one.password in cost.proven:
        return None
    return f"{one} is the account's next after {cost.clear} clear rejections"


@promise(5)
def held_only_by_the_budget(
    one: Request, refused: OverBudget, cost: Cost, now: float, *, ordered: bool
) -> str | None:
    """An operator's login, and a proven password, are held only by the budget."""
    if ordered and refused.until == inf:
        return f"{one} was ordered, but is held for ever"
    young = [at for at, _ in cost.entries if now < at + 900.0]
    free = len(young) < 3 and now >= cost.newest_clear + 900.0  # noqa: PLR2004 -- as promised
    proven = one.password in cost.proven and one.password not in cost.rejected
    return f"{one} is proven, but held: {refused}" if proven and free else None


@promise(5)
def proven_ones_go_side_by_side(one: Request, cost: Cost, now: float) -> str | None:
    """A proven password waits for no sibling while the budget would bear its rejection."""
    young = [at for at, _ in cost.entries if now < at + 900.0]
    bears = len(young) + len(cost.under_way) < 3  # noqa: PLR2004 -- as promised
    return f"{one} waits" if bears and one.password in cost.proven else None


@promise(5)
def stays_logged_out(taken: "Taken") -> str | None:
    """Only an operator's login ends a logout."""
    bar, after = taken.before.bar, taken.after
    out = isinstance(taken.before.doing, Stopped) and bar is not None
    if bar is None or not out or bar.error.kind is not LoggedOut:
        return None
    barred = after.bar is not None and after.bar.error.kind is LoggedOut
    stays = barred and isinstance(after.doing, Stopped)
    return f"{after.doing} after a logout" if not stays and taken.event != LoginOrdered() else None


@promise(5)
def window(cost: Cost, now: float) -> str | None:
    """Never more than 3 logins in 15 minutes that were, or may have been, rejected."""
    young = [at for at, _ in cost.entries if now < at + 900.0]
    if len(young) + len(cost.under_way) > 3:  # noqa: PLR2004 -- as promised
        return f"{len(young)} young entries and {len(cost.under_way)} under way"
    return None


@promise(5)
def server_window(cost: Cost, now: float, slack: float) -> str | None:
    """Never more than 3 in 15 minutes, by the server's own count either.

    `slack`: seconds by which it may act after everybody gave up.
    """
    young = [at for at, _ in cost.at_server if now < at + 900.0 - slack]
    return f"it rejected at {young}" if len(young) > 3 else None  # noqa: PLR2004 -- as promised


@promise(5)
def clear_ones(one: Request, cost: Cost, *, announced: bool) -> str | None:
    """Never more than 3 clear rejections since the last accepted login without an operator.

    Or one more per password that was accepted before.
    """
    assert isinstance(one.request, Login)
    if cost.clear <= 3 or one.request.insisted or announced:  # noqa: PLR2004 -- as promised
        return None
    if one.password in cost.proven and one.password not in cost.spared:
        return None
    return f"{cost.clear} clear rejections, the last of {one}"


@promise(5)
def well_in_the_end(unwell: set[int]) -> str | None:
    """A secret that an operator announced is tried, and what is mended becomes well."""
    return f"not well: {sorted(unwell)}"


# 6: refresh tokens


@promise(6)
def unanswered_only(one: Request, seen: Seen) -> str | None:
    """A refresh token is sent again only while no use of it was answered with yes or no."""
    assert isinstance(one.request, Refresh)
    value = one.request.token.reveal
    if value in seen.spent:
        return f"{value} was answered before, or given up"
    return f"{value} is not the newest: {seen.held}" if value != seen.held else None


@promise(6)
def given_up_only_when_answered(taken: "Taken", seen: Seen) -> str | None:
    """A refresh token is given up only when rejected, replaced, logged out or another user's."""
    held = taken.after.refresh
    value = None if held is None else held.value.reveal
    return f"held is {value}, but should be {seen.held}" if value != seen.held else None


@promise(6)
def worn_out_only_when_barred(taken: "Taken", began: float | None, now: float) -> str | None:
    """A refresh token near the end of its login's life is used only where no login may start."""
    life = taken.keeper.policy.refresh_token_lifetime
    if began is None or now - began < 0.8 * life + 100.0:  # its request took its time
        return None
    bar = taken.after.bar
    if bar is not None and now < bar.until:
        return None
    return f"a refresh, {now - began:.0f} s after its login, of {life:.0f} s"


@promise(6)
def doubtful_only_when_barred(taken: "Taken", seen: Seen, now: float) -> str | None:
    """From the second lost answer on, or the third unclear one, a login is tried first."""
    bar = taken.after.bar
    doubtful = seen.lost >= 2 or seen.unclear >= 3  # noqa: PLR2004 -- as promised
    if not doubtful or (bar is not None and now < bar.until):
        return None
    return f"a refresh after {seen.lost} lost and {seen.unclear} unclear answers"


@promise(6)
def logs_in_only_where_needed(
    taken: "Taken", seen: Seen, began: float | None, now: float
) -> str | None:
    """While a refresh token is held that is neither doubtful nor worn there is no login."""
    life = taken.keeper.policy.refresh_token_lifetime
    if seen.held is None or began is None or seen.lost >= 2 or seen.unclear >= 3:  # noqa: PLR2004 -- as promised
        return None
    worn = now - began >= 0.8 * life - 100.0  # its request took its time
    return None if worn else f"a login, though {seen.held} is held"


@promise(6)
def gives_back(taken: "Taken", seen: Seen, *, void: bool) -> str | None:
    """What logout or a void answer leaves is revoked, and nothing else ever is."""
    revoked = [effect.token.reveal for effect in taken.effects if isinstance(effect, Revoke)]
    wanted = list[str]()
    event = taken.event
    if isinstance(event, LogoutOrdered) and seen.held is not None:
        wanted = [seen.held]
    if void and isinstance(event, Granted) and event.grant.refresh_token is not None:
        wanted = [event.grant.refresh_token.reveal]
    return f"revoked {revoked}, not {wanted}" if revoked != wanted else None


# 7: pace


@promise(7)
def follows_at_once_only_where_allowed(taken: "Taken", seen: Seen) -> str | None:
    """A request right after another: a login after a refused refresh, a refresh after a login.

    Or a login that an operator ordered.
    """
    doing, event = taken.before.doing, taken.event
    assert isinstance(doing, Requesting)
    new = taken.after.doing
    assert isinstance(new, Requesting)
    if doing.login_after and isinstance(new.request, Login):
        return None
    if not isinstance(event, Failed):
        return f"{new.request} after {event}"
    chain = f"{seen.chain} requests in a row" if seen.chain > 3 else None  # noqa: PLR2004 -- see above
    match doing.request, event.kind, new.request:
        case Refresh(), Kind.GRANT_REJECTED | Kind.UNCLEAR, Login(insisted=False):
            return chain
        case (
            Login(),
            Kind.GRANT_REJECTED
            | Kind.CLIENT_REJECTED
            | Kind.SECRET_UNAVAILABLE
            | OverBudget(),
            Refresh(),
        ):
            return chain
        case _:
            return f"{new.request} right after {event.kind}"


@promise(7)
def login_follows(taken: "Taken") -> str | None:
    """After a rejected refresh a login follows at once, unless a rejection or the budget bars it."""
    bar = taken.before.bar
    barred = bar is not None and (bar.until == inf or bar.error.kind is BudgetSpent)
    doing = taken.after.doing
    if barred or (isinstance(doing, Requesting) and isinstance(doing.request, Login)):
        return None
    return f"{doing} after a rejected refresh"


@promise(7)
def rests(taken: "Taken", seen: Seen, now: float) -> str | None:
    """Requests start 1 s after the last ended; for clients 10 s, and more after refusals.

    After failures they keep the backoff.
    """
    before, token = taken.before, seen.token
    pause = now - seen.ended
    if before.attempt == 0 and pause < 1.0 - A_LITTLE:
        return f"{pause:.3f} s after the last"
    if now < seen.not_before - A_LITTLE:
        return f"{seen.not_before - now:.3f} s before the backoff is over"
    if seen.reloaded or before.attempt:
        return None
    if token is not None and now < min(token.due, token.expires):
        least = min(600.0, 10.0 * 2.0 ** max(0, seen.least_refusals - 2))
        if pause < least - A_LITTLE:
            return f"for a client, {pause:.3f} s after the last: {least:.0f} s at least"
    return None


@promise(7)
def spares_logins(seen: Seen, now: float) -> str | None:
    """After a second lost login in a row the next by itself comes 7.5 minutes later."""
    early = seen.no_login_before - now
    return f"a login {early:.0f} s early" if early > A_LITTLE else None


@promise(7)
def backs_off(taken: "Taken", least: float, now: float) -> str | None:
    """After failures there is a pause that doubles up to 60 s, more often near the token's end."""
    after = taken.after
    if not isinstance(after.doing, Idle) or after.doing.due >= now + least - A_LITTLE:
        return None
    return f"the next try comes after {after.doing.due - now:.3f} s: {least:.3f} s at least"


@promise(7)
def outage_pace(seen: Seen, now: float) -> str | None:
    """In an outage there are 2 requests a minute at most, 80 an hour on average."""
    minute = [at for at in seen.sends if at > now - 60.0 + A_LITTLE]
    hour = [at for at in seen.sends if at > now - 3600.0]
    if len(minute) > 2 or len(hour) > 100:  # noqa: PLR2004 -- chance may make some more an hour
        return f"{len(minute)} in the last minute, {len(hour)} in the last hour"
    return None


@promise(7)
def due_is_drawn_once(taken: "Taken", token: Token | None) -> str | None:
    """The `due` of a token is drawn once and moves only at a reload."""
    access = taken.after.access
    moved = token is not None and access is not None and access.due != token.due
    return f"{access} was due at {token and token.due}" if moved else None


@promise(7)
def due_is_in_time(access: AccessToken, refresh_before: float) -> str | None:
    """A token is due a margin before its end, at most a tenth of that earlier."""
    margin = min(refresh_before, access.lifetime / 4)
    end = access.sent + access.lifetime
    soon, late = end - 1.1 * margin, max(end - margin, access.obtained + 1.0)
    if soon - A_LITTLE <= access.due <= late + A_LITTLE:
        return None
    return f"due {end - access.due:.3f} s before its end"


# 8: nothing waits for ever


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
        case Requesting(Refresh(), login_after=True):
            follows = isinstance(event, Granted | Failed) and event.number == taken.before.number
        case Requesting():
            pass
        case _:
            follows = isinstance(event, LoginOrdered)
    sent = [effect.request for effect in taken.effects if isinstance(effect, Send)]
    return f"no login, but {sent}" if follows and sent != [Login(insisted=True)] else None


@promise(8)
def answered_by_its_wait(call: object, told: object) -> str | None:
    """Every waiter is answered by its `wait`."""
    return f"{call} isn't answered" if told is None else None


@promise(8)
def wishes_are_kept(taken: "Taken", seen: Seen, now: float) -> str | None:
    """A client that waits for a newer token gets a request as soon as the pace allows one."""
    after, token = taken.after, seen.token
    if not taken.keeper.parked or after.attempt or token is None or now >= token.expires:
        return None
    if not isinstance(after.doing, Idle) or not any(
        not hasattr(parked.call, "number") and parked.deadline >= after.doing.due
        for parked in taken.keeper.parked
    ):
        return None
    longest = min(600.0, 10.0 * 2.0 ** min(10, max(0, seen.refusals - 2)))
    if after.doing.due <= max(now, seen.ended + longest) + 1.0 + A_LITTLE:
        return None
    return f"somebody waits, but the next request is at {after.doing.due:.3f}"


@promise(8)
def ends_by_its_timeout(one: Request, token: Token | None, refresh_before: float) -> str | None:
    """Every request ends by its time-out: 60 s, refreshes of short tokens sooner."""
    assert isinstance(one.request, Refresh)
    margin = 1e9 if token is None else min(refresh_before, token.lifetime / 4)
    most = min(60.0, max(10.0, margin / 2))
    return f"{one.request.timeout} s, not {most}" if one.request.timeout != most else None


# 9: secrets


@promise(9)
def nothing_is_told(taken: "Taken") -> str | None:
    """No secret is in a repr, an error or a status."""
    shown = f"{taken.after!r} {taken.event!r} {taken.effects!r}"
    return shown if "hush" in shown else None


@promise(9)
def no_error_tells(told: object) -> str | None:
    """No secret is in an error."""
    shown = f"{told!r}" if isinstance(told, TokenError) else ""
    return shown if "hush" in shown else None


# What all stand on


@promise(0)
def shown_as_it_is(taken: "Taken", now: float) -> str | None:
    """A session that is well is shown as such."""
    after = taken.after
    well = isinstance(after.doing, Idle) and after.attempt == 0 and after.access is not None
    shown = state(after, now)
    return f"it is well, but shown as {shown}" if well and shown is not State.FRESH else None


@promise(0)
def classified(one: Request, event: Granted | Failed) -> str | None:
    """Each answer is taken for what it is."""
    if one.fate is None or isinstance(event, Failed) and event.kind is None:
        return None
    fault = one.fate.fault
    got = event.kind if isinstance(event, Failed) else None
    if one.fate.ends >= one.timeout:
        wanted: object = Kind.UNCERTAIN
    elif fault is not None and fault.value.kind is not None:
        wanted = fault.value.kind
    elif one.said is None or one.said[0] == 200:  # noqa: PLR2004 -- HTTP's yes
        wanted = None
    else:
        bad = b"invalid_client" in one.said[1]
        wanted = Kind.CLIENT_REJECTED if bad else Kind.GRANT_REJECTED
    return f"{one}: {one.fate} was taken for {got}" if got != wanted else None
