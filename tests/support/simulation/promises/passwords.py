"""Promise 5: what a rejected password may cost."""

from math import inf
from typing import TYPE_CHECKING

from openfit_token.errors import LoggedOut
from openfit_tokend.core.events import LoginOrdered, OverBudget
from openfit_tokend.core.session import Login, Stopped
from simulation.promises.promise import A_LITTLE, promise
from simulation.requests import Request
from simulation.seen import Cost

if TYPE_CHECKING:  # the shell is what is watched
    from simulation.daemon import Taken


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

    And no sooner than 15 minutes after the last rejection, or lost answer.
    """
    assert isinstance(one.request, Login)
    if cost.clear < 3:
        return None
    newest = max([cost.newest_clear, *(at for at, lost in cost.entries if lost is not None)])
    if now < newest + 900.0 - A_LITTLE:
        return f"{one} is sent {now - newest:.0f} s after one that may have been rejected"
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
    most = 3 if cost.clear < 3 else 1
    free = len(young) < most and now >= cost.newest_clear + 900.0
    proven = one.password in cost.proven and one.password not in cost.rejected
    return f"{one} is proven, but held: {refused}" if proven and free else None


@promise(5)
def proven_ones_go_side_by_side(one: Request, cost: Cost, now: float) -> str | None:
    """A proven password waits for no sibling while the budget would bear its rejection."""
    young = [at for at, _ in cost.entries if now < at + 900.0]
    bears = max(len(young), cost.clear) + len(cost.under_way) < 3
    return f"{one} waits" if bears and one.password in cost.proven else None


@promise(5)
def stays_logged_out(taken: "Taken") -> str | None:
    """Only an operator's login ends a logout."""
    bar, after = taken.before.bar, taken.after
    out = isinstance(taken.before.doing, Stopped) and bar is not None
    if bar is None or not out or bar.error.raises is not LoggedOut:
        return None
    barred = after.bar is not None and after.bar.error.raises is LoggedOut
    stays = barred and isinstance(after.doing, Stopped)
    return f"{after.doing} after a logout" if not stays and taken.event != LoginOrdered() else None


@promise(5)
def window(cost: Cost, now: float) -> str | None:
    """Never more than 3 logins in 15 minutes that were, or may have been, rejected."""
    young = [at for at, _ in cost.entries if now < at + 900.0]
    if len(young) + len(cost.under_way) > 3:
        return f"{len(young)} young entries and {len(cost.under_way)} under way"
    return None


@promise(5)
def server_window(cost: Cost, now: float, slack: float) -> str | None:
    """Never more than 3 in 15 minutes, by the server's own count either.

    `slack`: seconds by which it may act after everybody gave up.
    """
    young = [at for at, _ in cost.at_server if now < at + 900.0 - slack]
    return f"it rejected at {young}" if len(young) > 3 else None


@promise(5)
def clear_ones(one: Request, cost: Cost, *, announced: bool) -> str | None:
    """Never more than 3 clear rejections since the last accepted login without an operator.

    Or one more per password that was accepted before.
    """
    assert isinstance(one.request, Login)
    if cost.clear <= 3 + len(cost.spared) or one.request.insisted or announced:
        return None
    return f"{cost.clear} clear rejections, the last of {one}"


@promise(5)
def well_in_the_end(unwell: set[int]) -> str | None:
    """A secret that an operator announced is tried, and what is mended becomes well."""
    return f"not well: {sorted(unwell)}"
