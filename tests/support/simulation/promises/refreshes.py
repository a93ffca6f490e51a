"""Promise 6: when a refresh token is used, kept and given up."""

from typing import TYPE_CHECKING

from openfit_tokend.core.events import Granted, LogoutOrdered, Revoke
from openfit_tokend.core.session import Refresh
from simulation.promises.promise import A_LITTLE, promise
from simulation.requests import Request
from simulation.seen import Seen

if TYPE_CHECKING:  # the shell is what is watched
    from simulation.daemon import Taken


@promise(6)
def unanswered_only(one: Request, seen: Seen) -> str | None:
    """A refresh token is sent again only while no use of it was answered with yes or no."""
    assert isinstance(one.request, Refresh)
    value = one.request.token.reveal
    if value in seen.spent:
        return f"{value} was answered before, or given up"
    return f"{value} is not the newest: {seen.held}" if value != seen.held else None


@promise(6)
def waited_for(one: Request, seen: Seen, now: float) -> str | None:
    """A refresh isn't given up while its old token lives, or not before a minute has passed."""
    token = seen.token
    if token is None or now >= min(token.expires, one.sent + 60.0 - A_LITTLE):
        return None
    return f"{one} is given up after {now - one.sent:.1f} s, {token.expires - now:.1f} s before"


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
    doubtful = seen.lost >= 2 or seen.unclear >= 3
    if not doubtful or (bar is not None and now < bar.until):
        return None
    return f"a refresh after {seen.lost} lost and {seen.unclear} unclear answers"


@promise(6)
def logs_in_only_where_needed(
    taken: "Taken", seen: Seen, began: float | None, now: float
) -> str | None:
    """While a refresh token is held that is neither doubtful nor worn there is no login."""
    life = taken.keeper.policy.refresh_token_lifetime
    if seen.held is None or began is None or seen.lost >= 2 or seen.unclear >= 3:
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
