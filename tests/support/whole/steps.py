"""Sees each step of each profile from inside, and holds it against the promises.

Times are of the profile's host. In a fleet others do what this can't see: there only what holds for a
step by itself is judged.
"""

from math import inf
from typing import TYPE_CHECKING, Any, Final, final

from openfit_tokend.core.callers.answers import Get
from openfit_tokend.core.events import (
    Adopted,
    Failed,
    Granted,
    Kind,
    LoginOrdered,
    LogoutOrdered,
    NewTokenWanted,
    OverBudget,
    Reconfigured,
    Send,
    ServerReached,
    Woken,
)
from openfit_tokend.core.session import (
    AccessToken,
    Idle,
    Login,
    Refresh,
    Requesting,
    Stopped,
)
from openfit_tokend.host import clock
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.connection import Park
from whole.promises import pace, passwords, refreshes, secrecy, tokens, waiting
from whole.seen import Request, Seen, Taken, Token

if TYPE_CHECKING:  # the world is made of this module
    from whole.host import Host
    from whole.world import World

WATCH: Final = 60.0
"""Seconds within which a daemon notices that its host was suspended."""


@final
class Steps:
    """All profiles."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._seen: dict[Keeper, Seen] = {}
        self.parked: dict[Keeper, list[Park]] = {}
        """Calls that wait."""
        self._groggy_until: dict[Host, float] = {}
        """Until then timers may not have noticed that the host has slept, by its clock."""
        self.gaps = 0

    def seen_of(self, keeper: Keeper) -> Seen:
        """Return what is known of a profile."""
        seen = self._seen.get(keeper)
        if seen is None:
            policy = keeper.profile.policy
            seen = Seen.beginning(keeper.session, policy.refresh_before)
            self._seen[keeper] = seen
        return seen

    def stood_still(self, host: "Host") -> None:
        """Take note that a host has stood still: no token's gap in it is anybody's fault."""
        self._groggy_until[host] = host.clock.boot() + WATCH
        if host.daemon is not None:
            for keeper in host.daemon.profiles.keepers.values():
                token = self.seen_of(keeper).token
                if token is not None:
                    token.excused = "suspend"

    def sent(self, one: Request) -> None:
        """Judge a request as the token server receives it."""
        for seen in self._seen.values():
            if seen.outage and seen.under_way.get(one.number) is one:
                seen.sends = [*seen.sends[-200:], one.sent_at]
                pace.outage_pace(seen, one.sent_at)

    def told(self, keeper: Keeper, call: object, told: object, now: float) -> None:
        """Judge what a call is answered; None: nothing yet."""
        if keeper.claims is not None or keeper.stopping:
            return
        token = self.seen_of(keeper).token
        if isinstance(told, AccessToken):
            tokens.served_alive(told, call, token, now)
        if call == Get():
            tokens.served_at_once(call, told, token, now)
        secrecy.no_error_tells(told)

    def settled(self, keeper: Keeper) -> None:
        """Judge what a step has left, once it is carried out."""
        if keeper.claims is not None:
            return
        seen, session, now = self.seen_of(keeper), keeper.session, clock.boot()
        waiting.somebody_is_at_work(session, list(seen.under_way))
        waiting.one_request([each for each in seen.under_way if each not in seen.voided])
        if parked := self.parked.get(keeper, ()):
            inner: Any = keeper
            tried_at = inner._tools.outages.tried_by(keeper)
            waiting.answered_in_that_step(session, parked, tried_at, now)
            waiting.nobody_waits_in_vain(session, parked, tried_at)
            waiting.wishes_are_kept(session, parked, seen, now)

    def took(self, taken: Taken) -> None:
        """Judge a step."""
        seen, now, event = self.seen_of(taken.keeper), taken.moment.now, taken.event
        if not isinstance(event, Adopted):
            passwords.stays_logged_out(taken)
            waiting.orders_are_kept(taken)
        secrecy.shown_as_it_is(taken, now)
        if taken.after.error is not taken.before.error or isinstance(event, Granted):
            secrecy.nothing_is_told(taken)
        if taken.keeper.claims is None:
            self._judge_step(taken, seen, now)
        elif isinstance(event, Granted | Failed):
            seen.under_way.pop(event.number, None)

    def _judge_step(self, taken: Taken, seen: Seen, now: float) -> None:
        event = taken.event
        self._look_for_gap(taken, seen)
        void = isinstance(event, Granted | Failed) and event.number in seen.voided
        refreshes.gives_back(taken, seen, void=void)
        counted = self._take_event(taken, seen)
        for effect in taken.effects:
            if isinstance(effect, Send):
                self._judge_send(taken, seen, effect)
        if counted is not None:
            self._judge_pause(taken, seen, counted)
            waiting.orders_lift_bars(taken, counted)
        tokens.live_is_held(taken, seen.token, now)
        refreshes.given_up_only_when_answered(taken, seen)
        pace.due_is_drawn_once(taken, seen.token)
        tokens.tries_within_a_minute(taken, now)

    def _take_event(self, taken: Taken, seen: Seen) -> Request | None:
        """Take an event for what it is; give the request that it answers, if it counts."""
        event = taken.event
        match event:
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
            case ServerReached():
                seen.not_before, seen.reloaded = -inf, True
                seen.sends, seen.outage = [], False
            case Granted() | Failed():
                one = seen.under_way.pop(event.number, None)
                if one is None or one.number in seen.voided:
                    return None
                secrecy.classified(one, event)
                self._take_answer(taken, seen, one)
                return one
            case _:
                pass
        return None

    def _take_new_due(self, taken: Taken, token: Token) -> None:
        after = taken.after
        if after.access is None:
            return
        token.due = after.access.due
        token.margin = min(taken.policy.refresh_before, token.lifetime / 4)
        if isinstance(after.doing, Idle) and taken.before.failures == after.failures == 0:
            pace.due_is_in_time(after.access, taken.policy.refresh_before)

    def _give_up(self, taken: Taken, seen: Seen) -> None:
        seen.voided.update(seen.under_way)
        if isinstance(taken.event, Reconfigured) and isinstance(taken.before.doing, Requesting):
            seen.ended = taken.moment.now
        if seen.held is not None:
            seen.spent.add(seen.held)
        seen.token = seen.held = None
        seen.lost = seen.unclear = seen.lost_logins = seen.unclear_logins = 0
        seen.not_before = seen.no_login_before = -inf
        seen.sends, seen.chain = [], 0

    def _take_answer(self, taken: Taken, seen: Seen, one: Request) -> None:
        now, event = taken.moment.now, taken.event
        if not (isinstance(event, Failed) and _is_unsent(event.kind)):
            seen.ended, seen.reloaded = now, False
        if isinstance(event, Failed):
            rejected = event.kind is Kind.GRANT_REJECTED
            if isinstance(one.request, Refresh) and rejected:
                seen.spent.add(one.request.token.reveal)
                seen.held, seen.lost, seen.unclear, seen.no_login_before = None, 0, 0, -inf
                seen.sends = []  # the server answers again
                pace.login_follows(taken)
            self._count_failure(seen, one, event, now)
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
        margin = min(taken.policy.refresh_before, grant.lifetime / 4)
        token = Token(
            id=grant.id,
            sent=event.sent,
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
                pace.due_is_in_time(access, taken.policy.refresh_before)
            if self._is_groggy(now):
                token.excused = "suspend"
            seen.token = token
            seen.not_before, seen.sends = -inf, []

    def _count_failure(self, seen: Seen, one: Request, event: Failed, now: float) -> None:
        if isinstance(one.request, Refresh):
            seen.lost += event.kind is Kind.UNCERTAIN
            seen.unclear += event.kind is Kind.UNCLEAR
        else:
            self._count_lost_login(seen, event, now)

    def _count_lost_login(self, seen: Seen, event: Failed, now: float) -> None:
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
        seen.no_login_before = now + pause

    def _blame(self, taken: Taken, seen: Seen, event: Failed) -> None:
        token = seen.token
        if token is None:
            return
        token.failed_at = taken.moment.now
        if event.retry_after is not None:
            token.excused = "Retry-After"
        elif event.kind in {Kind.CLIENT_REJECTED, Kind.SECRET_UNAVAILABLE} or isinstance(
            event.kind, OverBudget
        ):
            token.excused = str(event.kind)
        elif taken.after.bar is not None and taken.after.refresh is None:
            token.excused = "bar"

    def _judge_send(self, taken: Taken, seen: Seen, send: Send) -> None:
        now, event = taken.moment.now, taken.event
        if isinstance(send.request, Refresh):
            refreshes.unanswered_only(send.request, seen)
            refreshes.worn_out_only_when_barred(taken, self._age(send.request.token.reveal))
            refreshes.doubtful_only_when_barred(taken, seen, now)
        elif not send.request.insisted and isinstance(event, Woken | NewTokenWanted):
            pace.spares_logins(seen, now)
            refreshes.logs_in_only_where_needed(taken, seen, self._age(seen.held or ""))
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

    def _judge_pause(self, taken: Taken, seen: Seen, one: Request) -> None:
        event, after, now, token = taken.event, taken.after, taken.moment.now, seen.token
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

    def _look_for_gap(self, taken: Taken, seen: Seen) -> None:
        token, now = seen.token, taken.moment.now
        if token is None or now < token.expires:
            return
        seen.token = None
        self.gaps += 1
        for one in seen.under_way.values():
            if one.waited or one.sent is None:
                token.excused = token.excused or "its turn"
        if isinstance(taken.before.doing, Stopped) or self._is_groggy(now):
            token.excused = token.excused or "stopped"
        counting = (one for one in seen.under_way.values() if one.number not in seen.voided)
        pending = next(counting, None)
        answers, well = self._world.plan.latency[1], True
        if pending is not None and pending.sent is not None:
            answers = pending.sent_at + pending.sent.fate.ends - pending.begun
            well = pending.sent.fate.fault is None
        tokens.no_gap(token, now, answers=answers, well=well)

    def _is_groggy(self, now: float) -> bool:
        return now < self._groggy_until.get(self._world.host, -inf)

    def _age(self, refresh_token: str) -> float | None:
        """Return the seconds since the login from which a refresh token descends."""
        began = self._world.servers.model.began(refresh_token)
        return None if began is None else self._world.time.now - began


def _is_unsent(kind: Kind | OverBudget) -> bool:
    return kind is Kind.SECRET_UNAVAILABLE or isinstance(kind, OverBudget)
