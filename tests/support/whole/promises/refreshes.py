"""Promise 6: when a refresh token is used, kept and given up."""

from openfit_tokend.core.events import Granted, LogoutOrdered, Revoke
from openfit_tokend.core.session import Refresh
from whole.promises.promise import promise
from whole.seen import Seen, Taken


@promise(6)
def unanswered_only(request: Refresh, seen: Seen) -> str | None:
    """A refresh token is sent again only while no use of it was answered with yes or no."""
    value = request.token.reveal
    if value in seen.spent:
        return f"{value} was answered before, or given up"
    return f"{value} is not the newest: {seen.held}" if value != seen.held else None


@promise(6)
def given_up_only_when_answered(taken: Taken, seen: Seen) -> str | None:
    """A refresh token is given up only when rejected, replaced, logged out or another user's."""
    held = taken.after.refresh
    value = None if held is None else held.value.reveal
    return f"held is {value}, but should be {seen.held}" if value != seen.held else None


@promise(6)
def worn_out_only_when_barred(taken: Taken, age: float | None) -> str | None:
    """A refresh token near the end of its login's life is used only where no login may start."""
    life = taken.policy.refresh_token_lifetime
    if age is None or age < 0.8 * life + 100.0:  # its request took its time
        return None
    bar = taken.after.bar
    if bar is not None and taken.moment.now < bar.until:
        return None
    return f"a refresh, {age:.0f} s after its login, of {life:.0f} s"


@promise(6)
def doubtful_only_when_barred(taken: Taken, seen: Seen, now: float) -> str | None:
    """From the second lost answer on, or the third unclear one, a login is tried first."""
    bar = taken.after.bar
    doubtful = seen.lost >= 2 or seen.unclear >= 3
    if not doubtful or (bar is not None and now < bar.until):
        return None
    return f"a refresh after {seen.lost} lost and {seen.unclear} unclear answers"


@promise(6)
def logs_in_only_where_needed(taken: Taken, seen: Seen, age: float | None) -> str | None:
    """While a refresh token is held that is neither doubtful nor worn there is no login."""
    life = taken.policy.refresh_token_lifetime
    if seen.held is None or age is None or seen.lost >= 2 or seen.unclear >= 3:
        return None
    worn = age >= 0.8 * life - 100.0  # its request took its time
    return None if worn else f"a login, though {seen.held} is held"


@promise(6)
def gives_back(taken: Taken, seen: Seen, *, void: bool) -> str | None:
    """What logout or a void answer leaves is revoked, and nothing else ever is."""
    revoked = [effect.token.reveal for effect in taken.effects if isinstance(effect, Revoke)]
    wanted = list[str]()
    event = taken.event
    if isinstance(event, LogoutOrdered) and seen.held is not None:
        wanted = [seen.held]
    if void and isinstance(event, Granted) and event.grant.refresh_token is not None:
        wanted = [event.grant.refresh_token.reveal]
    return f"revoked {revoked}, not {wanted}" if revoked != wanted else None
