"""Sees each step of each profile, and holds it against the promises."""

from math import inf
from typing import TYPE_CHECKING, final

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
from openfit_tokend.core.session import Idle, Login, Refresh, Requesting, Stopped
from simulation.promises import pace, passwords, refreshes, secrecy, tokens, waiting
from simulation.requests import Request
from simulation.seen import Seen, Token

if TYPE_CHECKING:  # the world is made of this module
    from simulation.daemon import Taken
    from simulation.world import World


@final
class Steps:
    """All profiles."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.seen: dict[int, Seen] = {}
        self.answer: Request | None = None
        """What has just ended: the next step is told."""
        self.groggy_until = -inf
        """Until then the host sleeps, or its timers haven't noticed that it doesn't."""
        self.gaps = 0

    def took(self, taken: "Taken") -> None:
        """Judge a step."""
        keeper, now = taken.keeper, self._world.now
        seen = self.seen[keeper.name]
        self._look_for_gap(taken, seen)
        sends = [effect for effect in taken.effects if isinstance(effect, Send)]
        void = isinstance(taken.event, Granted | Failed) and taken.event.number in seen.voided
        refreshes.gives_back(taken, seen, void=void)
        passwords.stays_logged_out(taken)
        waiting.orders_are_kept(taken)
        counted = self._take_event(taken, seen)
        for send in sends:
            self._judge_send(taken, seen, send)
        if counted is not None:
            self._judge_pause(taken, seen, counted)
            waiting.orders_lift_bars(taken, counted)
        waiting.one_request(keeper, seen)
        tokens.live_is_held(taken, seen.token, now)
        refreshes.given_up_only_when_answered(taken, seen)
        pace.due_is_drawn_once(taken, seen.token)
        tokens.tries_within_a_minute(taken, now)
        waiting.somebody_is_at_work(taken)
        secrecy.shown_as_it_is(taken, now)
        if keeper.parked:
            waiting.answered_in_that_step(keeper, now)
            waiting.nobody_waits_in_vain(taken)
            waiting.wishes_are_kept(taken, seen, now)
        if taken.after.error is not taken.before.error or isinstance(taken.event, Granted):
            secrecy.nothing_is_told(taken)

    def _take_event(self, taken: "Taken", seen: Seen) -> Request | None:
        """Take an event for what it is; give the request that it answers, if it counts."""
        match taken.event:
            case LogoutOrdered() | Reconfigured(identity=True):
                self._give_up(taken, seen)
            case Reconfigured(schedule=moved):
                seen.not_before = seen.no_login_before = -inf
                seen.sends, seen.chain, seen.reloaded = [], 0, True
                seen.lost_logins = seen.unclear_logins = 0
                if moved and seen.token is not None:
                    seen.token.excused = "reload"
                    self._take_new_due(taken, seen.token)
            case LoginOrdered():
                seen.sends, seen.outage, seen.chain = [], False, 0
            case Granted() | Failed():
                one, self.answer = self.answer, None
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
        if isinstance(after.doing, Idle) and taken.before.failures == after.failures == 0:
            pace.due_is_in_time(after.access, taken.keeper.policy.refresh_before)

    def _give_up(self, taken: "Taken", seen: Seen) -> None:
        seen.voided.update(one.number for one in taken.keeper.under_way)
        if isinstance(taken.event, Reconfigured) and isinstance(taken.before.doing, Requesting):
            seen.ended = self._world.now
        if seen.held is not None:
            seen.spent.add(seen.held)
        seen.token = seen.held = None
        seen.lost = seen.unclear = seen.lost_logins = seen.unclear_logins = 0
        seen.not_before = seen.no_login_before = -inf
        seen.sends, seen.chain = [], 0

    def _take_answer(self, taken: "Taken", seen: Seen, one: Request) -> None:
        now, event = self._world.now, taken.event
        if one.fate is not None:
            seen.ended, seen.reloaded = now, False
        if isinstance(event, Failed):
            rejected = event.kind is Kind.GRANT_REJECTED
            if isinstance(one.request, Refresh) and rejected:
                seen.spent.add(one.request.token.reveal)
                seen.held, seen.lost, seen.unclear, seen.no_login_before = None, 0, 0, -inf
                seen.sends = []  # the server answers again
                pace.login_follows(taken)
            self._count_failure(seen, one, event)
            self._blame(taken, seen, event)
            return
        assert isinstance(event, Granted)
        grant = event.grant
        seen.lost = seen.unclear = 0
        if isinstance(one.request, Login):
            seen.lost_logins = seen.unclear_logins = 0
            seen.no_login_before = -inf
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
                pace.due_is_in_time(access, taken.keeper.policy.refresh_before)
            if now < self.groggy_until:
                token.excused = "suspend"
            seen.token = token
            seen.not_before, seen.sends = -inf, []

    def _count_failure(self, seen: Seen, one: Request, event: Failed) -> None:
        if isinstance(one.request, Refresh):
            seen.lost += event.kind is Kind.UNCERTAIN
            seen.unclear += event.kind is Kind.UNCLEAR
        else:
            self._count_lost_login(seen, event)

    def _count_lost_login(self, seen: Seen, event: Failed) -> None:
        lost, unclear = seen.lost_logins, seen.unclear_logins
        seen.lost_logins = seen.unclear_logins = 0
        pause = -inf
        match event.kind:
            case Kind.UNCERTAIN:
                seen.lost_logins = lost + 1
                pause = 450.0 if lost else -inf
            case Kind.UNCLEAR:
                seen.unclear_logins = unclear + 1
                pause = min(3600.0, 300.0 * 2.0 ** min(unclear, 10))
            case Kind.TRANSIENT | Kind.UNSENT if seen.held is not None:
                pause = 60.0
            case _:
                pass
        seen.no_login_before = self._world.now + pause

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
            refreshes.unanswered_only(one, seen)
            began = self._world.server.began(send.request.token.reveal)
            refreshes.worn_out_only_when_barred(taken, began, now)
            refreshes.doubtful_only_when_barred(taken, seen, now)
        elif not send.request.insisted and isinstance(event, Woken | NewTokenWanted):
            pace.spares_logins(seen, now)
            began = self._world.server.began(seen.held or "")
            refreshes.logs_in_only_where_needed(taken, seen, began, now)
        elif send.request.insisted:
            seen.ordered.add(send.number)
        if isinstance(event, LoginOrdered):
            return
        if isinstance(event, Granted | Failed):
            seen.chain += 1
            seen.outage = False  # an exception, and mostly the server is well again
            pace.follows_at_once_only_where_allowed(taken, seen)
            return
        seen.chain = 0
        pace.rests(taken, seen, now)
        seen.outage = taken.before.failures >= 7 and seen.token is None
        if not seen.outage:
            seen.sends = []

    def _judge_pause(self, taken: "Taken", seen: Seen, one: Request) -> None:
        event, after, now, token = taken.event, taken.after, self._world.now, seen.token
        if isinstance(event, Failed) or after.failures:
            pace.failures_are_counted(taken)
        if not isinstance(after.doing, Idle) or after.failures == 0:
            return
        least = min(60.0, 2.0 ** min(10, after.failures - 1))
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
        pace.backs_off(taken, least, now)
        seen.not_before = now + least

    def _look_for_gap(self, taken: "Taken", seen: Seen) -> None:
        token, now = seen.token, self._world.now
        if token is None or now < token.expires:
            return
        seen.token = None
        self.gaps += 1
        for one in taken.keeper.under_way:
            if one.waited or one.fate is None:
                token.excused = token.excused or "its turn"
        if isinstance(taken.before.doing, Stopped) or now < self.groggy_until:
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
        tokens.no_gap(token, now, answers=answers, well=well)
