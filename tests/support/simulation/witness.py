"""Sees all that happens, keeps what it means, and holds it against the promises."""

from math import inf
from typing import TYPE_CHECKING, final

from openfit_token.errors import TokenError
from openfit_tokend.core.events import (
    Failed,
    Granted,
    Kind,
    LoginOrdered,
    LogoutOrdered,
    NewTokenWanted,
    OverBudget,
    Reconfigured,
    Send,
    Woken,
)
from openfit_tokend.core.session import AccessToken, Idle, Login, Refresh, Requesting, Stopped
from openfit_tokend.core.settings import Account
from simulation import promises
from simulation.requests import Request
from simulation.seen import Cost, Seen, Token

if TYPE_CHECKING:  # the world is made of this module
    from simulation.daemon import Keeper, Taken
    from simulation.world import World

LATE = 31.0
"""Seconds after everybody gave up within which the server may still act."""


@final
class Witness:
    """All that is seen."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.calm = False
        self.requests = 0
        self.gaps = 0
        self._seen: dict[int, Seen] = {}
        self._costs: dict[Account, Cost] = {}
        self._answer: Request | None = None
        self._groggy_until = -inf
        self._slack = LATE

    # The host and the daemon

    def suspended(self, awake_at: float, timers_at: float) -> None:
        """Take note of a suspend: no token's gap in it is anybody's fault."""
        self._groggy_until = max(awake_at, timers_at)
        self._excuse_all("suspend")

    def started(self, keeper: "Keeper", *, kept: bool) -> None:
        """Take note of a keeper that begins, with its session or with none."""
        old = self._seen.get(keeper.name)
        if not kept or old is None:
            self._seen[keeper.name] = Seen()
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
                self._seen[keeper.name].lost += 1

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

    def rejected_since(self, keeper: "Keeper") -> bool:
        """Tell whether a login sent after the last announcement was clearly rejected."""
        cost = self._cost(keeper.account)
        return cost.refused_sent > cost.announced

    def not_well(self, unwell: set[int]) -> None:
        """Complain that all was mended, but isn't well."""
        promises.well_in_the_end(unwell)

    # The account

    def announced(self, account: Account) -> None:
        """Take note of an operator's word."""
        self._cost(account).announced = self._world.now

    def admitted(self, one: Request) -> None:
        """Judge a login that is about to be sent."""
        cost = self._cost(one.account)
        if not self._world.plan.collisions:
            promises.rejected_stays_unsent(one, cost)
            promises.clear_before(one, cost, self._world.now)
        cost.under_way.append(one)
        promises.window(cost, self._world.now)

    def refused(self, one: Request, refused: OverBudget) -> None:
        """Judge a login that isn't sent."""
        cost, seen = self._cost(one.account), self._seen[one.keeper.name]
        if not self._world.plan.collisions:
            ordered = one.number in seen.ordered
            promises.held_only_by_the_budget(
                one, refused, cost, self._world.now, ordered=ordered
            )

    def waits(self, one: Request) -> None:
        """Judge a login that waits for another one."""
        if not self._world.plan.collisions:
            promises.proven_ones_go_side_by_side(one, self._cost(one.account), self._world.now)

    def acted(self, one: Request) -> None:
        """Judge what the server did."""
        if not isinstance(one.request, Login) or one.said is None:
            return
        if one.said[0] == 400 and b"invalid_grant" in one.said[1]:  # noqa: PLR2004 -- HTTP's no
            cost, now = self._cost(one.account), self._world.now
            cost.at_server.append((now, one))
            promises.server_window(cost, now, self._slack)

    def _settled(self, one: Request, kind: Kind | None) -> None:
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
                promises.clear_ones(one, cost, announced=announced)
                if one.password in cost.proven:
                    cost.spared.add(one.password)
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
        promises.window(cost, now)
        cost.entries = [(at, fp) for at, fp in cost.entries if now < at + 1800.0]

    # Requests

    def sent(self, one: Request) -> None:
        """Judge a request that goes out."""
        self.requests += 1
        seen = self._seen[one.keeper.name]
        if isinstance(one.request, Refresh) and one.number not in seen.voided:
            promises.unanswered_only(one, seen)
        if seen.outage:
            seen.sends = [*seen.sends[-200:], self._world.now]
            promises.outage_pace(seen, self._world.now)

    def ended(self, one: Request, event: Granted | Failed) -> None:
        """Take note of what a request brought."""
        self._answer = one
        if one.attempt is not None:
            self._settled(one, event.kind if isinstance(event, Failed) else None)  # type: ignore[arg-type]
        promises.classified(one, event) if one.fate is not None else None

    # Calls

    def called(self, keeper: "Keeper", call: object, told: AccessToken | TokenError | None) -> None:
        """Judge an answer."""
        now, token = self._world.now, self._seen[keeper.name].token
        if isinstance(told, AccessToken):
            server = self._world.server
            value = told.value.reveal
            dead = not server.api(value, now) and not server.killed(value)
            promises.served_alive(told, call, token, now, dead=dead)
        promises.served_at_once(call, told, token, now)
        promises.no_error_tells(told)

    def waited(self, keeper: "Keeper", call: object, told: AccessToken | TokenError | None) -> None:
        """Judge the answer at the end of a wait."""
        promises.answered_by_its_wait(call, told)
        self.called(keeper, call, told)

    # Steps

    def took(self, taken: "Taken") -> None:
        """Judge a step."""
        keeper, now = taken.keeper, self._world.now
        seen = self._seen[keeper.name]
        self._look_for_gap(taken, seen)
        self._count_refusals(taken, seen)
        sends = [effect for effect in taken.effects if isinstance(effect, Send)]
        void = isinstance(taken.event, Granted | Failed) and taken.event.number in seen.voided
        promises.gives_back(taken, seen, void=void)
        promises.stays_logged_out(taken)
        promises.orders_are_kept(taken)
        counted = self._take_event(taken, seen)
        for send in sends:
            self._judge_send(taken, seen, send)
        if counted is not None:
            self._judge_pause(taken, seen, counted)
        promises.one_request(keeper, seen)
        promises.live_is_held(taken, seen.token, now)
        promises.given_up_only_when_answered(taken, seen)
        promises.due_is_drawn_once(taken, seen.token)
        promises.tries_within_a_minute(taken, now)
        promises.somebody_is_at_work(taken)
        promises.shown_as_it_is(taken, now)
        if keeper.parked:
            promises.answered_in_that_step(keeper, now)
            promises.nobody_waits_in_vain(taken)
            promises.wishes_are_kept(taken, seen, now)
        if taken.after.error is not taken.before.error or isinstance(taken.event, Granted):
            promises.nothing_is_told(taken)

    def _take_event(self, taken: "Taken", seen: Seen) -> Request | None:
        """Take an event for what it is; give the request that it answers, if it counts."""
        match taken.event:
            case LogoutOrdered() | Reconfigured(identity=True):
                self._give_up(taken, seen)
            case Reconfigured(schedule=moved):
                seen.not_before = seen.no_login_before = -inf
                seen.sends, seen.reloaded, seen.lost_logins = [], True, 0
                if moved and seen.token is not None:
                    seen.token.excused = "reload"
                    self._take_new_due(taken, seen.token)
            case LoginOrdered():
                seen.sends, seen.outage, seen.chain = [], False, 0
            case Granted() | Failed():
                one, self._answer = self._answer, None
                assert one is not None  # it just ended
                if one.number in seen.voided:
                    return None
                self._take_answer(taken, seen, one)
                return one
            case _:
                pass
        return None

    def _take_new_due(self, taken: "Taken", token: Token) -> None:
        after = taken.after
        if after.access is None:
            return
        token.due = after.access.due
        token.margin = min(taken.keeper.policy.refresh_before, token.lifetime / 4)
        if isinstance(after.doing, Idle) and taken.before.attempt == after.attempt == 0:
            promises.due_is_in_time(after.access, taken.keeper.policy.refresh_before)

    def _give_up(self, taken: "Taken", seen: Seen) -> None:
        seen.voided.update(one.number for one in taken.keeper.under_way)
        if isinstance(taken.event, Reconfigured) and isinstance(taken.before.doing, Requesting):
            seen.ended = self._world.now
        if seen.held is not None:
            seen.spent.add(seen.held)
        seen.token = seen.held = None
        seen.lost = seen.unclear = seen.lost_logins = 0
        seen.not_before = seen.no_login_before = -inf
        seen.sends, seen.chain = [], 0

    def _take_answer(self, taken: "Taken", seen: Seen, one: Request) -> None:
        now, event = self._world.now, taken.event
        if one.fate is not None:
            seen.ended, seen.reloaded = now, False
            seen.least_refusals = self._refusals(seen)
        if isinstance(event, Failed):
            rejected = event.kind is Kind.GRANT_REJECTED
            if isinstance(one.request, Refresh) and rejected:
                seen.spent.add(one.request.token.reveal)
                seen.held, seen.lost, seen.unclear, seen.no_login_before = None, 0, 0, -inf
                promises.login_follows(taken)
            self._count_failure(seen, one, event)
            self._blame(taken, seen, event)
            return
        assert isinstance(event, Granted)
        grant = event.grant
        seen.lost = seen.unclear = 0
        if isinstance(one.request, Login):
            seen.lost_logins, seen.no_login_before = 0, -inf
            seen.held = None if grant.refresh_token is None else grant.refresh_token.reveal
        elif grant.refresh_token is not None:
            old, seen.held = seen.held, grant.refresh_token.reveal
            if old is not None and old != seen.held:
                seen.spent.add(old)
        margin = min(taken.keeper.policy.refresh_before, grant.lifetime / 4)
        token = Token(
            id=grant.id,
            account=0,
            sent=one.sent,
            lifetime=grant.lifetime,
            obtained=now,
            due=inf,
            margin=margin,
            took=now - one.begun,
        )
        if now < token.expires:
            access = taken.after.access
            if access is not None:
                token.due = access.due
                promises.due_is_in_time(access, taken.keeper.policy.refresh_before)
            if now < self._groggy_until:
                token.excused = "suspend"
            seen.token = token
            seen.not_before, seen.sends = -inf, []

    def _count_failure(self, seen: Seen, one: Request, event: Failed) -> None:
        if isinstance(one.request, Refresh):
            seen.lost += event.kind is Kind.UNCERTAIN
            seen.unclear += event.kind is Kind.UNCLEAR
        elif event.kind is Kind.UNCERTAIN:
            seen.lost_logins += 1
            if seen.lost_logins > 1:
                seen.no_login_before = self._world.now + 450.0
        else:
            seen.lost_logins, seen.no_login_before = 0, -inf

    def _blame(self, taken: "Taken", seen: Seen, event: Failed) -> None:
        token = seen.token
        if token is None:
            return
        token.failed_at = self._world.now
        if event.retry_after is not None:
            token.excused = "Retry-After"
        elif event.kind in {Kind.CLIENT_REJECTED, Kind.SECRET_UNAVAILABLE} or isinstance(
            event.kind, OverBudget
        ):
            token.excused = str(event.kind)
        elif taken.after.bar is not None and taken.after.refresh is None:
            token.excused = "bar"

    def _judge_send(self, taken: "Taken", seen: Seen, send: Send) -> None:
        now, event = self._world.now, taken.event
        if isinstance(send.request, Refresh):
            one = taken.keeper.under_way[-1]
            token = seen.token if seen.token and now < seen.token.expires else None
            promises.ends_by_its_timeout(one, token, taken.keeper.policy.refresh_before)
            promises.unanswered_only(one, seen)
            began = self._world.server.began(send.request.token.reveal)
            promises.worn_out_only_when_barred(taken, began, now)
            promises.doubtful_only_when_barred(taken, seen, now)
        elif not send.request.insisted and isinstance(event, Woken | NewTokenWanted):
            promises.spares_logins(seen, now)
            began = self._world.server.began(seen.held or "")
            promises.logs_in_only_where_needed(taken, seen, began, now)
        elif send.request.insisted:
            seen.ordered.add(send.number)
        if isinstance(event, LoginOrdered):
            return
        if isinstance(event, Granted | Failed):
            seen.chain += 1
            seen.outage = False  # an exception, and mostly the server is well again
            promises.follows_at_once_only_where_allowed(taken, seen)
            return
        seen.chain = 0
        promises.rests(taken, seen, now)
        seen.outage = taken.before.attempt >= 7 and seen.token is None  # noqa: PLR2004 -- 2^6 s
        if not seen.outage:
            seen.sends = []

    def _judge_pause(self, taken: "Taken", seen: Seen, one: Request) -> None:
        event, after, now, token = taken.event, taken.after, self._world.now, seen.token
        if not isinstance(after.doing, Idle) or after.attempt == 0:
            return
        least = min(60.0, 2.0 ** min(10, after.attempt - 1))
        if token is not None and now < token.expires:
            late = max(1.0, (token.expires - now) / 8, min(10.0, token.margin / 30))
            least = min(least, late)
        least /= 2
        if isinstance(event, Failed):
            if event.retry_after is not None:
                least = max(least, min(600.0, event.retry_after))
            if isinstance(event.kind, OverBudget):
                least = 1.0
            elif event.kind is Kind.CLIENT_REJECTED:
                least = 60.0
            elif event.kind is Kind.GRANT_REJECTED and isinstance(one.request, Refresh):
                least = 1.0  # a login follows at its bar's end
        promises.backs_off(taken, least, now)
        seen.not_before = now + least

    def _count_refusals(self, taken: "Taken", seen: Seen) -> None:
        event, token, now = taken.event, seen.token, self._world.now
        counted = self._refusals(seen)
        if (
            isinstance(event, NewTokenWanted)
            and event.refused is not None
            and not isinstance(taken.before.doing, Stopped)
            and token is not None
            and now < token.expires
            and token.id == event.refused
        ):
            if seen.refused_at < token.obtained and now - token.obtained < 60.0:  # noqa: PLR2004 -- young
                counted += 1
            seen.refusals, seen.refused_at = counted, now
        seen.least_refusals = min(seen.least_refusals, counted)

    def _refusals(self, seen: Seen) -> int:
        quiet = 600.0 + min(600.0, 10.0 * 2.0 ** min(10, max(0, seen.refusals - 2)))
        return seen.refusals if self._world.now <= seen.refused_at + quiet else 0

    def _look_for_gap(self, taken: "Taken", seen: Seen) -> None:
        token, now = seen.token, self._world.now
        if token is None or now < token.expires:
            return
        seen.token = None
        self.gaps += 1
        for one in taken.keeper.under_way:
            if one.waited or one.fate is None:
                token.excused = token.excused or "its turn"
        if isinstance(taken.before.doing, Stopped) or now < self._groggy_until:
            token.excused = token.excused or "stopped"
        pending = next(
            (one for one in taken.keeper.under_way if one.number not in seen.voided), None
        )
        answers, well = 0.0, True
        if pending is not None and pending.fate is not None:
            answers = pending.sent + pending.fate.ends - pending.begun
            well = pending.fate.fault is None
        else:
            answers = self._world.plan.latency[1]
        promises.no_gap(token, now, answers=answers, well=well)

    def _excuse_all(self, why: str) -> None:
        for seen in self._seen.values():
            if seen.token is not None:
                seen.token.excused = why

    def _cost(self, account: Account) -> Cost:
        return self._costs.setdefault(account, Cost())

