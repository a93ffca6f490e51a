"""Sees what each account's logins cost, and holds it against promise 5."""

from typing import final

from openfit_tokend.core.events import Kind, OverBudget
from openfit_tokend.core.session import Login
from openfit_tokend.core.settings import Account
from openfit_tokend.storage.accounts import Accounts
from whole.promises import passwords
from whole.seen import Cost, Request


@final
class Costs:
    """All accounts of all daemons that are alone. Times are of a daemon's host."""

    def __init__(self, *, collisions: bool) -> None:
        self._collisions = collisions
        self._costs: dict[tuple[Accounts, Account], Cost] = {}

    def of(self, accounts: Accounts, account: Account) -> Cost:
        """Return what is known of an account."""
        cost = self._costs.get((accounts, account))
        if cost is None:
            cost = self._costs[accounts, account] = Cost.beginning(accounts.ledger(account))
        return cost

    def begin_anew(self, accounts: Accounts, account: Account) -> None:
        """Take what a ledger says for what is known."""
        self._costs.pop((accounts, account), None)

    def admitted(self, one: Request, cost: Cost, now: float) -> None:
        """Judge a login that is about to be sent."""
        if not self._collisions:
            passwords.rejected_stays_unsent(one, cost)
            passwords.clear_before(one, cost, now)
        cost.under_way.append(one)
        passwords.window(cost, now)

    def refused(self, one: Request, refused: OverBudget, cost: Cost, now: float) -> None:
        """Judge a login that isn't sent."""
        if not self._collisions:
            assert isinstance(one.request, Login)
            ordered = one.request.insisted
            passwords.held_only_by_the_budget(one, refused, cost, now, ordered=ordered)

    def waits(self, one: Request, cost: Cost, now: float) -> None:
        """Judge a login that waits for another one."""
        one.waited = True
        if not self._collisions:
            passwords.proven_ones_go_side_by_side(one, cost, now)

    def settled(self, one: Request, kind: Kind | None, cost: Cost, now: float) -> None:
        """Take note of how a login ended; `kind` None: it was accepted."""
        announced, mine = cost.announced > cost.refused_sent, one.fingerprint
        assert mine is not None  # it was asked for with it
        cost.under_way.remove(one)
        match kind:
            case None:
                cost.clear = 0
                cost.entries = [(at, lost) for at, lost in cost.entries if lost != mine]
                cost.rejected.discard(mine)
                cost.proven.add(mine)
                cost.spared.clear()
            case Kind.GRANT_REJECTED:
                cost.clear += 1
                if mine in cost.proven:
                    cost.spared.add(mine)
                passwords.clear_ones(one, cost, announced=announced)
                cost.entries.append((now, None))
                cost.newest_clear = now
                cost.rejected.add(mine)
                cost.proven.discard(mine)
                assert one.attempt is not None
                cost.refused_sent = max(cost.refused_sent, one.attempt.sent)
            case Kind.UNCLEAR:
                cost.entries.append((now, None))
            case Kind.UNCERTAIN:
                cost.entries.append((now, mine))
            case _:
                pass
        passwords.window(cost, now)
        cost.entries = [(at, lost) for at, lost in cost.entries if now < at + 1800.0]
