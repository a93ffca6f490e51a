"""Sees all that happens, keeps what it means, and holds it against the promises."""

from math import inf
from typing import TYPE_CHECKING, final

from openfit_token.errors import TokenError
from openfit_tokend.core.events import Failed, Granted, OverBudget
from openfit_tokend.core.session import AccessToken, Refresh, Requesting
from simulation.costs import Costs
from simulation.promises import pace, passwords, refreshes, secrecy, tokens, waiting
from simulation.requests import Request
from simulation.seen import Seen
from simulation.steps import Steps

if TYPE_CHECKING:  # the world is made of this module
    from simulation.daemon import Keeper
    from simulation.world import World


@final
class Witness:
    """All that is seen."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.calm = False
        """All is mended, and nobody disturbs any more."""
        self.requests = 0
        self.costs = Costs(world)
        self.steps = Steps(world)

    # The host and the daemon

    def suspended(self, awake_at: float, timers_at: float) -> None:
        """Take note of a suspend: no token's gap in it is anybody's fault."""
        self.steps.groggy_until = max(awake_at, timers_at)
        for seen in self.steps.seen.values():
            if seen.token is not None:
                seen.token.excused = "suspend"

    def started(self, keeper: "Keeper", *, kept: bool) -> None:
        """Take note of a keeper that begins, with its session or with none."""
        old = self.steps.seen.get(keeper.name)
        if not kept or old is None:
            self.steps.seen[keeper.name] = Seen()
            return
        old.not_before = old.no_login_before = -inf
        old.chain, old.sends, old.ordered = 0, [], set()
        if old.token is not None:
            old.token.excused = "restart"
            if self._world.now >= old.token.expires:
                old.token = None

    def stopped(self, keepers: "list[Keeper]") -> None:
        """Take note that the daemon dies: answers to come are lost."""
        for keeper in keepers:
            doing = keeper.session.doing
            if isinstance(doing, Requesting) and isinstance(doing.request, Refresh):
                self.steps.seen[keeper.name].lost += 1

    def not_well(self, unwell: set[int]) -> None:
        """Complain that all was mended, but isn't well."""
        passwords.well_in_the_end(unwell)

    # Requests

    def sent(self, one: Request) -> None:
        """Judge a request that goes out."""
        self.requests += 1
        seen = self.steps.seen[one.keeper.name]
        if isinstance(one.request, Refresh) and one.number not in seen.voided:
            refreshes.unanswered_only(one, seen)
        if seen.outage:
            seen.sends = [*seen.sends[-200:], self._world.now]
            pace.outage_pace(seen, self._world.now)

    def ended(self, one: Request, event: Granted | Failed) -> None:
        """Take note of what a request brought."""
        self.steps.answer = one
        if one.fate is not None and one.sent + one.fate.ends > self._world.now:
            refreshes.waited_for(one, self.steps.seen[one.keeper.name], self._world.now)
        if one.attempt is not None:
            kind = event.kind if isinstance(event, Failed) else None
            assert not isinstance(kind, OverBudget)  # it was sent
            self.costs.settled(one, kind)
        secrecy.classified(one, event)

    # Calls

    def called(self, keeper: "Keeper", call: object, told: AccessToken | TokenError | None) -> None:
        """Judge an answer."""
        now, token = self._world.now, self.steps.seen[keeper.name].token
        if isinstance(told, AccessToken):
            server = self._world.server
            value = told.value.reveal
            dead = not server.api(value, now) and not server.killed(value)
            tokens.served_alive(told, call, token, now, dead=dead)
        tokens.served_at_once(call, told, token, now)
        secrecy.no_error_tells(told)

    def waited(self, keeper: "Keeper", call: object, told: AccessToken | TokenError | None) -> None:
        """Judge the answer at the end of a wait."""
        waiting.answered_by_its_wait(call, told)
        self.called(keeper, call, told)
