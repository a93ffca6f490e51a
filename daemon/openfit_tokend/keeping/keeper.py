"""One profile's keeper: feeds events to the core's `step`, and carries out the effects.

The session may be read at any time and is written only in `feed`, which never awaits. Each request
runs in its own task; when the daemon ends, requests not yet sent are dropped, and those that were
sent are waited for.
"""

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Protocol, final

from anyio import CancelScope, get_cancelled_exc_class
from anyio.abc import TaskGroup

from openfit_token._shared.frozen import frozen
from openfit_token._shared.secret import Secret
from openfit_token.errors import TokenError
from openfit_tokend.config.passwords import Passwords
from openfit_tokend.core import budget, problems
from openfit_tokend.core.callers.answers import (
    Answer,
    Call,
    LoginEnded,
    answer,
    ended_login,
    is_news,
    tried_by,
)
from openfit_tokend.core.callers.rights import Rights
from openfit_tokend.core.events import (
    Adopted,
    Effect,
    Event,
    Failed,
    Granted,
    Kind,
    LoginOrdered,
    LogoutOrdered,
    NewTokenWanted,
    Reconfigured,
    Revoke,
    Send,
    Woken,
)
from openfit_tokend.core.problems import Problem, hint_for
from openfit_tokend.core.reports.health import Condition, Health, health
from openfit_tokend.core.reports.notices import told_before
from openfit_tokend.core.restart import begun, forgotten, restored
from openfit_tokend.core.schedule import MAX_BACKOFF, REQUEST_TIMEOUT, doubled
from openfit_tokend.core.session import (
    Login,
    Refresh,
    Requesting,
    Session,
    Stopped,
    is_logged_out,
    live,
    needs_another_secret,
    wake_at,
)
from openfit_tokend.core.settings.values import Profile
from openfit_tokend.core.step import step
from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.keeping.claims import Claims
from openfit_tokend.keeping.endpoint import Endpoint, Order
from openfit_tokend.keeping.outages import Outages
from openfit_tokend.keeping.queue import Queue, Work
from openfit_tokend.keeping.record import Counters, Record, token_id
from openfit_tokend.keeping.stored_secret import StoredSecret
from openfit_tokend.keeping.token_requests import Sent, TokenRequests
from openfit_tokend.storage.accounts import Accounts
from openfit_tokend.storage.session_form import StoredSession
from openfit_tokend.storage.stored_sessions import StoredSessions


class Changed(Protocol):
    """Is called when a session changed."""

    def __call__(self, keeper: "Keeper", ended: LoginEnded | None) -> None:
        """Check the calls that wait for this keeper; `ended`: a login that has just ended."""
        ...


@frozen
class Tools:
    """What all keepers share."""

    endpoint: Endpoint
    accounts: Accounts
    alarm: Alarm
    sessions: StoredSessions
    tasks: TaskGroup
    logins: Queue
    passwords: Passwords
    outages: Outages
    join: Callable[["Keeper"], Claims]
    """Gives a keeper its claims, with the identity that its profile has now."""


@final
class Keeper:
    """One profile: its session, its timer, its requests."""

    def __init__(self, profile: Profile, rights: Rights, tools: Tools, changed: Changed) -> None:
        self.profile = profile
        self.rights = rights
        """Those of the configuration that `profile` comes from. `Profiles` asks them."""
        self.counters = Counters()
        self.waiting = 0
        """Calls parked for this profile; the server counts them."""
        self.answered = False
        """The profile has had a first answer, of any kind."""
        self.last_success_at: float | None = None
        self.stopping = False
        """The daemon, or this profile, is ending: nothing new is started."""
        self.reported = Condition.WELL
        """What `notify_command` reported last before a restart."""
        self.file_problem: Problem | None = None
        """Why `token_file` can't be kept current."""
        self._tools = tools
        self._changed = changed
        self._removed = False  # then the name may be another keeper's
        self._record = Record(profile.name, self.counters)
        self._requests = TokenRequests(
            tools.endpoint, tools.accounts, tools.passwords, self.counters
        )
        self._secret = StoredSecret(self, tools)
        self._faults = 0  # internal errors since the last token
        self._password: Secret | None = None  # an operator's, until that login ends
        self._newest: CancelScope | None = None  # of the newest request; earlier ones are void
        now, stored, accounts = clock.boot(), tools.sessions.take(profile.name), tools.accounts
        self.session = begun(
            None if stored is None else stored.session,
            -inf if stored is None else stored.at,
            logged_out=accounts.is_logged_out(profile.name),
            noted_at=accounts.saved_at,
            now=now,
        )
        self._timer = tools.alarm.at(wake_at(self.session), self.wake)
        self.claims = tools.join(self)
        if stored is not None:
            self._go_on(stored, now)
        self.answered = live(self.session, now) is not None or isinstance(
            self.session.doing, Stopped
        )

    def answer(
        self, call: Call, deadline: float, now: float, ended: LoginEnded | None = None
    ) -> Answer:
        """Return the answer to a call, as `core.answers.answer` does."""
        session = tried_by(self.session, self._tools.outages.tried_by(self))
        given = answer(session, call, deadline, now, ended)
        if isinstance(given, TokenError):
            given.hint = hint_for(self.profile.name, given.hint)
        return given

    def health(self, now: float) -> Health:
        """Return how the profile is."""
        others = (self.blocked, self.file_problem, self._tools.accounts.problem)
        known = [problem for problem in others if problem is not None]
        return health(self.session, now, self.profile.policy, self._secret.problem, known)

    def tell(self) -> None:
        """Tell of a change in how the profile is, though its session is the same."""
        self._changed(self, None)

    # Events

    def feed(self, event: Event, sender: Profile | None = None) -> None:
        """Let the core decide what an event means, and carry it out. Never raises.

        `sender`: the profile as it was when the request that this event answers was sent.
        """
        if self.stopping and not isinstance(event, Granted | Failed | Adopted):
            return
        try:
            self._take(event, sender or self.profile)
        except Exception:  # noqa: BLE001 -- an internal error: only this profile starts over
            log.exception("internal_fault", profile=self.profile.name)
            self._start_over()

    def _take(self, event: Event, sender: Profile) -> None:
        before = self.session
        if isinstance(event, NewTokenWanted):
            self._tools.outages.wanted(self)
        self.session, effects = step(before, event, clock.moment(), self.profile.policy)
        if not _login_to_come(self.session):
            self._password = None  # the login that it was given for was no longer needed
        if self.session != before:
            self._set_timer(wake_at(self.session))
            self._mark()
            self._record.session_changed(before, self.session)
            if isinstance(event, Adopted):
                self._note_adopted(before)
            if before.bar != self.session.bar or isinstance(event, Granted):
                self._consider_secret()
            if is_news(before, self.session):
                self._keep()  # before anything is sent
                self._changed(self, ended_login(before, event, self.session))
        for effect in effects:
            self._carry_out(effect, sender)

    def _go_on(self, stored: StoredSession, now: float) -> None:
        """Continue with what was stored before a restart, as after a reload."""
        accounts = self._tools.accounts
        self.reported = told_before(stored.session, now, stored.policy)
        self.last_success_at = stored.last_success_at
        if not self.claims.is_shared and forgotten(
            stored.session, stored.at, unwritten=stored.unwritten, noted_at=accounts.saved_at
        ):
            accounts.doubt(self.profile.account)
        self._mark()
        self.feed(Reconfigured(schedule=stored.policy != self.profile.policy))
        if self.session != stored.session:
            self._keep()
        if needs_another_secret(stored.session):
            self._secret.look()

    def _consider_secret(self) -> None:
        if needs_another_secret(self.session) or self._secret.problem is not None:
            self._secret.look()

    def _note_adopted(self, before: Session) -> None:
        """Note what another daemon of the fleet achieved, as if it had been asked for here."""
        session = self.session
        if not isinstance(session.doing, Requesting):
            self.answered = True
        if session.access is not None and token_id(session) != token_id(before):
            self.last_success_at = session.access.obtained

    def _mark(self) -> None:
        """Write down whether the profile is logged out, if that has changed."""
        out = is_logged_out(self.session)
        if not self._removed and self._tools.accounts.mark(self.profile.name, logged_out=out):
            self._tools.tasks.start_soon(self._tools.accounts.write)

    def _keep(self) -> None:
        """Store the session so that it outlives the daemon, if there is a store."""
        if not self._removed:
            unwritten = self._tools.accounts.is_behind(self.profile.account)
            self._tools.sessions.keep(
                self.profile, self.session, self.last_success_at, unwritten=unwritten
            )

    def _start_over(self) -> None:
        """Continue after an internal error as after a restart, more slowly each time."""
        now = clock.boot()
        self._faults += 1
        self.session = restored(self.session, now)
        self._set_timer(max(wake_at(self.session), now + doubled(1.0, self._faults, MAX_BACKOFF)))

    def _set_timer(self, moment: float) -> None:
        self._tools.alarm.cancel(self._timer)
        self._timer = self._tools.alarm.at(moment, self.wake)

    def order_login(self, password: Secret | None, refresh_token: Secret | None = None) -> None:
        """Log in on an operator's order, with one of these or else the stored password, read again."""
        self._password = password  # the newest order counts, also one for the stored password
        order = LoginOrdered(refresh_token)
        self.claims.ordered(order)
        if refresh_token is None:
            self._tools.accounts.announce(self.profile.account)
        self.feed(order)

    def order_logout(self, done: Callable[[bool], None]) -> None:
        """Forget both tokens on an operator's order, and stay logged out.

        `done` is called with True when that is on disk, or with False if it can't be written.
        """
        self._password = None
        self.claims.ordered(LogoutOrdered())
        self.feed(LogoutOrdered())
        self._tools.tasks.start_soon(self._write_and_tell, self.claims, done)

    def reconfigure(self, profile: Profile, rights: Rights) -> None:
        """Apply what a reload brought. An unchanged profile keeps its session."""
        assert not self.stopping  # noqa: S101 -- it would serve the old session by the new rights
        old, moves = self.profile, profile.identity != self.profile.identity
        if moves:
            self.claims.leave()
        self.profile, self.rights = profile, rights
        if moves:
            self._password = None  # it was another user's, or for another server
            self.last_success_at = None  # the same
            self.claims = self._tools.join(self)
        self._tools.accounts.announce(profile.account)
        suspect = needs_another_secret(self.session) or self._secret.problem is not None
        self.feed(Reconfigured(identity=moves, schedule=profile.policy != old.policy))
        if suspect:
            self._secret.look()

    def retire(self) -> None:
        """Start nothing new: the daemon ends. What is under way is finished, and written down."""
        self._tools.alarm.cancel(self._timer)
        self._secret.retire()
        self.stopping = True

    def remove(self) -> None:
        """Retire for good: the profile is no longer in the configuration."""
        self._removed = True
        self._tools.outages.ended(self, self.profile, got_through=True)
        self.retire()
        self.claims.leave()

    # Effects

    def wake(self) -> None:
        """Do what is due. The timer sees to it in time, unless the host was suspended."""
        self.feed(Woken())

    def _carry_out(self, effect: Effect, sender: Profile) -> None:
        match effect:
            case Send(number) if self.stopping:  # else it would be stored as one that was sent
                self.feed(Failed(number, Kind.UNSENT, problems.not_sent(clock.boot())), sender)
            case Send(number, request):
                self._begin(self.profile, number, request)
            case Revoke(token):
                self.claims.revoke(partial(self._revoke, sender, token))

    def _revoke(self, sender: Profile, token: Secret) -> None:
        self._tools.tasks.start_soon(self._tools.endpoint.revoke, sender, token)

    def _begin(self, sender: Profile, number: int, request: Login | Refresh) -> None:
        """Start a request. An earlier one that wasn't sent yet, whatever it waits for, is cancelled."""
        if self._newest is not None:
            self._newest.cancel()
        self._newest = CancelScope()
        ask = partial(self._request, self.claims, sender, number, request)
        work = partial(self._within, self._newest, ask)
        if isinstance(request, Refresh) or request.insisted:
            self._tools.tasks.start_soon(work)
        else:
            self._tools.logins.start(sender.identity.id_server, work)

    async def _within(self, scope: CancelScope, ask: Work) -> None:
        try:
            with scope:
                await ask()
        finally:
            if self._newest is scope:
                self._newest = None  # a scope takes a KiB

    async def _request(
        self, claims: Claims, sender: Profile, number: int, request: Login | Refresh
    ) -> None:
        order = self._order(sender, number, request)
        try:
            event = await self._answer_to(request, number, order, claims)
        except Exception:  # noqa: BLE001 -- an internal error: only this profile retries
            log.exception("internal_fault", profile=sender.name)
            event = Failed(number, Kind.UNCERTAIN, problems.internal_error(clock.boot()))
        except get_cancelled_exc_class():
            # It wasn't sent, and the daemon ends: it must not be stored as one that may have been.
            # Or a newer one takes its place, and the session no longer knows its number.
            event = Failed(number, Kind.UNSENT, problems.not_sent(clock.boot()))
            if claims.ended(event):
                self.feed(event, sender)
            raise
        with CancelScope(shield=True):
            if isinstance(event, Failed) and isinstance(request, Login):
                await self._tools.accounts.write()  # who is told of a rejection may rely on it
            if not self._is_void(number):
                self.answered = True
                if isinstance(event, Granted):
                    self._faults, self.last_success_at = 0, clock.boot()
                self._record.request_ended(request, event)
                unsent = isinstance(event, Failed) and event.kind is Kind.UNSENT
                self._tools.outages.ended(self, sender, got_through=not unsent)
            if claims.ended(event):
                self.feed(event, sender)
            await self._tools.accounts.write()

    async def _answer_to(
        self, request: Login | Refresh, number: int, order: Order, claims: Claims
    ) -> Granted | Failed:
        if isinstance(request, Refresh) or request.given is not None:
            return await self._requests.refresh(number, order, claims)
        given = self._password
        try:
            return await self._requests.log_in(number, order, given, claims)
        finally:
            # Else a newer one came meanwhile, or this one is for the login that took the place of
            # this: the fleet had another request under way.
            if self._password is given and not (
                self._is_void(number) and _login_to_come(self.session)
            ):
                self._password = None

    async def _write_and_tell(self, claims: Claims, done: Callable[[bool], None]) -> None:
        told = await claims.logout_written()
        done(await self._tools.accounts.write() and told)

    def _order(self, sender: Profile, number: int, request: Login | Refresh) -> Order:
        access = self.session.access
        return Order(
            profile=sender,
            request=request,
            password=None,
            deadline=clock.boot() + REQUEST_TIMEOUT if access is None else access.expires,
            is_void=lambda: self._is_void(number),
            worked=self.last_success_at is not None,
        )

    def _is_void(self, number: int) -> bool:
        """Return whether nobody waits for a request any more: there is no need to send or report it."""
        return self._removed or number != self.session.number

    @property
    def blocked(self) -> Problem | None:
        """Return why nothing can be requested, if so: the fleet's row can't be used."""
        return self.claims.problem

    @property
    def sent(self) -> tuple[Sent, ...]:
        """Return the requests that were sent last, the latest at the end."""
        return self._requests.last

    @property
    def ledger(self) -> budget.Ledger:
        """Return the ledger of the profile's account."""
        return self._tools.accounts.ledger(self.profile.account)


def _login_to_come(session: Session) -> bool:
    match session.doing:
        case Requesting(request, login_after):
            return login_after is not None or isinstance(request, Login)
        case _:
            return False
