"""Sees what each account's logins cost, and holds it against promise 5."""

from typing import TYPE_CHECKING, Final, final

from openfit_tokend.core.events import Kind, OverBudget
from openfit_tokend.core.session import Login
from openfit_tokend.core.settings.values import Account
from simulation.promises import passwords, secrecy
from simulation.requests import Request
from simulation.seen import Cost

if TYPE_CHECKING:  # the world is made of this module
    from simulation.daemon import Keeper
    from simulation.world import World

LATE: Final = 31.0
"""Seconds after everybody gave up within which the server may still act."""


@final
class Costs:
    """All accounts."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._costs: dict[Account, Cost] = {}
        self._slack = LATE

    def announced(self, account: Account) -> None:
        """Take note of an operator's word."""
        self._cost(account).announced = self._world.now

    def admitted(self, one: Request) -> None:
        """Judge a login that is about to be sent."""
        cost = self._cost(one.account)
        if not self._world.plan.collisions:
            passwords.rejected_stays_unsent(one, cost)
            passwords.clear_before(one, cost, self._world.now)
        cost.under_way.append(one)
        secrecy.stays_with_its_account(one)
        passwords.window(cost, self._world.now)

    def refused(self, one: Request, refused: OverBudget, *, ordered: bool) -> None:
        """Judge a login that isn't sent."""
        cost = self._cost(one.account)
        if not self._world.plan.collisions:
            passwords.held_only_by_the_budget(one, refused, cost, self._world.now, ordered=ordered)

    def waits(self, one: Request) -> None:
        """Judge a login that waits for another one."""
        if not self._world.plan.collisions:
            passwords.proven_ones_go_side_by_side(one, self._cost(one.account), self._world.now)

    def acted(self, one: Request) -> None:
        """Judge what the server did."""
        if not isinstance(one.request, Login) or one.said is None:
            return
        if one.said[0] == 400 and b"invalid_grant" in one.said[1]:
            cost, now = self._cost(one.account), self._world.now
            cost.at_server.append((now, one))
            passwords.server_window(cost, now, self._slack)

    def rejected_since(self, keeper: "Keeper") -> bool:
        """Return whether a login sent after the last announcement was clearly rejected."""
        cost = self._cost(keeper.account)
        return cost.refused_sent > cost.announced

    def restarted(self, *, rebooted: bool) -> None:
        """Take note that it starts again: what was under way may have been rejected."""
        if rebooted:
            self._slack = LATE + 60.0  # a moment to come of the old boot is taken for now
        now = self._world.now
        for cost in self._costs.values():
            known = [min(at, now) if rebooted else at for at, _ in cost.entries]
            known.extend(now + 60.0 for _ in cost.under_way)
            cost.entries = [(at, None) for at in known]  # nobody knows whose they were
            cost.under_way.clear()
            cost.proven.clear()

    def settled(self, one: Request, kind: Kind | None) -> None:
        """Take note of how a login ended; `kind` None: it was accepted."""
        cost, now = self._cost(one.account), self._world.now
        announced = cost.announced > cost.refused_sent
        cost.under_way.remove(one)
        match kind:
            case None:
                cost.clear = 0
                cost.entries = [(at, fp) for at, fp in cost.entries if fp != one.fingerprint]
                forgiven = {each for each, fp in cost.lost.items() if fp == one.fingerprint}
                cost.at_server = [
                    (at, each)
                    for at, each in cost.at_server
                    if each not in forgiven and now < at + 1800.0
                ]
                cost.rejected.discard(one.password)
                cost.proven.add(one.password)
                cost.spared.clear()
            case Kind.GRANT_REJECTED:
                cost.clear += 1
                if one.password in cost.proven:
                    cost.spared.add(one.password)
                passwords.clear_ones(one, cost, announced=announced)
                cost.entries.append((now, None))
                cost.newest_clear = now
                cost.rejected.add(one.password)
                cost.proven.discard(one.password)
                assert one.attempt is not None
                cost.refused_sent = max(cost.refused_sent, one.attempt.sent)
            case Kind.UNCLEAR:
                cost.entries.append((now, None))
            case Kind.UNCERTAIN:
                cost.entries.append((now, one.fingerprint))
                cost.lost[one] = one.fingerprint
            case _:
                pass
        passwords.window(cost, now)
        cost.entries = [(at, fp) for at, fp in cost.entries if now < at + 1800.0]

    def _cost(self, account: Account) -> Cost:
        return self._costs.setdefault(account, Cost())
