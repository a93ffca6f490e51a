"""Promise 7: how soon one request follows another."""

from math import inf
from typing import TYPE_CHECKING

from openfit_token.errors import BudgetSpent
from openfit_tokend.core.events import Failed, Kind, OverBudget
from openfit_tokend.core.session import AccessToken, Idle, Login, Refresh, Requesting
from simulation.promises.promise import A_LITTLE, promise
from simulation.seen import Seen, Token

if TYPE_CHECKING:  # the shell is what is watched
    from simulation.daemon import Taken


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
    chain = f"{seen.chain} requests in a row" if seen.chain > 3 else None
    match doing.request, event.kind, new.request:
        case Refresh(), Kind.GRANT_REJECTED | Kind.UNCLEAR, Login(insisted=False):
            return chain
        case (
            Login(),
            Kind.GRANT_REJECTED | Kind.CLIENT_REJECTED | Kind.SECRET_UNAVAILABLE | OverBudget(),
            Refresh(),
        ):
            return chain
        case _:
            return f"{new.request} right after {event.kind}"


@promise(7)
def login_follows(taken: "Taken") -> str | None:
    """After a rejected refresh a login follows at once, unless a rejection or the budget bars it."""
    bar = taken.before.bar
    barred = bar is not None and (bar.until == inf or bar.error.raises is BudgetSpent)
    doing = taken.after.doing
    if barred or (isinstance(doing, Requesting) and isinstance(doing.request, Login)):
        return None
    return f"{doing} after a rejected refresh"


@promise(7)
def rests(taken: "Taken", seen: Seen, now: float) -> str | None:
    """Requests start 1 s after the last ended; for clients 10 s.

    After failures they keep the backoff.
    """
    before, token = taken.before, seen.token
    pause = now - seen.ended
    if before.failures == 0 and pause < 1.0 - A_LITTLE:
        return f"{pause:.3f} s after the last"
    if now < seen.not_before - A_LITTLE:
        return f"{seen.not_before - now:.3f} s before the backoff is over"
    if seen.reloaded or before.failures:
        return None
    if token is not None and now < min(token.due, token.expires):
        return None if pause >= 10.0 - A_LITTLE else f"for a client, {pause:.3f} s after the last"
    return None


@promise(7)
def spares_logins(seen: Seen, now: float) -> str | None:
    """After a second lost login in a row the next by itself comes 7.5 minutes later.

    After unclear ones 5 minutes, 10, 20... and where a refresh can be tried meanwhile, a minute.
    """
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
def failures_are_counted(taken: "Taken") -> str | None:
    """Each failure counts for the backoff; one that can't slow a session that goes on doesn't."""
    before, after, event = taken.before, taken.after, taken.event
    unsent = isinstance(event, Failed) and (
        event.kind is Kind.SECRET_UNAVAILABLE or isinstance(event.kind, OverBudget)
    )
    goes_on = after.refresh is not None
    if goes_on and unsent:
        good = after.failures == before.failures
    else:  # a rejected login of a session that rests, too, is as good as none
        good = after.failures == before.failures + 1 or (goes_on and after.failures == 0)
    return None if good else f"{after.failures} failures after {before.failures}"


@promise(7)
def outage_pace(seen: Seen, now: float) -> str | None:
    """In an outage there are 2 requests a minute at most, 80 an hour on average."""
    minute = [at for at in seen.sends if at > now - 60.0 + A_LITTLE]
    hour = [at for at in seen.sends if at > now - 3600.0]
    if len(minute) > 2 or len(hour) > 100:
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
