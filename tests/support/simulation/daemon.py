"""A shell round the core, in the world's time: keepers, calls that wait, orders, restarts."""

from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import TYPE_CHECKING, final

from openfit_token._shared.secret import Secret
from openfit_token.errors import TokenError
from openfit_tokend.core.callers.answers import (
    Call,
    Get,
    LogIn,
    LoginEnded,
    Refuse,
    Renew,
    answer,
    ended_login,
    is_news,
    login_call,
    token_for,
)
from openfit_tokend.core.events import (
    Effect,
    Event,
    LoginOrdered,
    LogoutOrdered,
    NewTokenWanted,
    Reconfigured,
    Send,
    Woken,
)
from openfit_tokend.core.moment import Moment
from openfit_tokend.core.restart import restored
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import (
    AccessToken,
    Idle,
    Session,
    is_logged_out,
    live,
    logged_out_session,
    new_session,
    wake_at,
)
from openfit_tokend.core.settings.values import Account, Identity
from openfit_tokend.core.step import step
from simulation.clocks import Clock
from simulation.disk import Disk
from simulation.requests import Request, Requests

if TYPE_CHECKING:  # the world is made of this module
    from simulation.world import World


@dataclass(slots=True)
class Parked:
    """A call that waits."""

    call: Call
    deadline: float
    answered: bool = False


@dataclass(slots=True, eq=False)
class Keeper:
    """One profile."""

    name: int
    identity: Identity
    policy: Policy
    session: Session
    chances: Random
    fates: Random
    slot: Secret | None = None
    """The password given with `login`, until that login ends."""
    parked: list[Parked] = field(default_factory=list[Parked])
    under_way: list[Request] = field(default_factory=list[Request])
    timer: int = 0
    """Stamps timers: only the newest counts."""

    @property
    def account(self) -> Account:
        """Return whose failed logins it adds to."""
        return Account(self.identity.id_server, self.identity.username)


@dataclass(frozen=True, slots=True)
class Taken:
    """One step of one keeper."""

    keeper: Keeper
    before: Session
    event: Event
    moment: Moment
    after: Session
    effects: tuple[Effect, ...]


@final
class Daemon:
    """All keepers."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.disk = Disk(world.rng.randbytes(16))
        self.requests = Requests(world)
        self.running = False
        self.keepers: list[Keeper] = []

    # Start and end

    def start(self, stored: dict[int, Session] | None = None) -> None:
        """Begin with the configuration of now, and the sessions that were stored, if any."""
        world, now = self._world, self._world.now
        self.running = True
        self.requests = Requests(world)
        old = {keeper.name: keeper for keeper in self.keepers}
        self.keepers = []
        for name, (identity, policy) in enumerate(world.operators.config):
            out = self.disk.is_logged_out(name) or name in world.plan.absent
            fresh = logged_out_session(now) if out else new_session(now)
            before = old.get(name)
            keeper = Keeper(
                name=name,
                identity=identity,
                policy=policy,
                session=fresh,
                chances=_chances(world.plan.seed * 7919 + name)
                if before is None
                else before.chances,
                fates=_chances(world.plan.seed * 104729 + name) if before is None else before.fates,
            )
            self.keepers.append(keeper)
            if stored is not None and before is not None:
                keeper.session = restored(stored[name], now)
                changed = before.identity != identity
                world.witness.started(keeper, kept=True)
                self.feed(keeper, Reconfigured(changed, schedule=before.policy != policy))
            else:
                world.witness.started(keeper, kept=False)
            self._set_timer(keeper)

    def stop(self) -> dict[int, Session]:
        """Die at once, and give the sessions that were stored."""
        self.running = False
        self.requests.drop()
        for keeper in self.keepers:
            keeper.timer += 1
            keeper.parked.clear()
            keeper.under_way.clear()
            keeper.slot = None
        return {keeper.name: keeper.session for keeper in self.keepers}

    # What happens

    def feed(self, keeper: Keeper, event: Event) -> None:
        """Let the core decide, and carry it out."""
        world = self._world
        before = keeper.session
        moment = Moment(world.now, keeper.chances.random())
        after, effects = step(before, event, moment, keeper.policy)
        keeper.session = after
        told = list[tuple[Call, AccessToken | TokenError]]()
        if after != before:
            self._set_timer(keeper)
            self.disk.mark(keeper.name, logged_out=is_logged_out(after))
            ended = ended_login(before, event, after)
            if keeper.parked and is_news(before, after):
                told = self._answer_parked(keeper, ended)
        for effect in effects:
            self._carry_out(keeper, effect)
        if world.story is not None and keeper.name not in world.plan.absent:
            world.tell(f"profile {keeper.name}", (event, effects), after)
        world.witness.steps.took(Taken(keeper, before, event, moment, after, effects))
        for call, what in told:
            world.witness.called(keeper, call, what)

    def _carry_out(self, keeper: Keeper, effect: Effect) -> None:
        if isinstance(effect, Send):
            self.requests.begin(keeper, effect.number, effect.request)
        else:
            self.requests.revoke(effect.token)

    def _set_timer(self, keeper: Keeper) -> None:
        keeper.timer += 1
        moment, stamp = wake_at(keeper.session), keeper.timer
        if moment < inf:
            self._world.at(moment, lambda: self._wake(keeper, stamp), Clock.TIMER)

    def _wake(self, keeper: Keeper, stamp: int) -> None:
        if stamp == keeper.timer and self.running:
            self.feed(keeper, Woken())

    # Calls

    def call(
        self, keeper: Keeper, call: Get | Refuse | Renew, wait: float
    ) -> AccessToken | TokenError | None:
        """Answer a client's call, or let it wait (None)."""
        world, now = self._world, self._world.now
        found: AccessToken | TokenError | None = token_for(keeper.session, call, now)
        if found is None:
            self.feed(keeper, NewTokenWanted())
            found = answer(keeper.session, call, now + wait, now)
            if found is None:
                self._park(keeper, call, now + wait)
        elif isinstance(found, AccessToken) and now >= found.due:
            self.feed(keeper, Woken())
        world.witness.called(keeper, call, found)
        if world.story is not None:
            world.tell(f"client of {keeper.name}", (call, found))
        return found

    def _park(self, keeper: Keeper, call: Call, deadline: float) -> None:
        parked = Parked(call, deadline)
        keeper.parked.append(parked)
        self._world.at(deadline, lambda: self._end_wait(keeper, parked), Clock.TIMER)

    def _end_wait(self, keeper: Keeper, parked: Parked) -> None:
        if parked in keeper.parked:
            told = answer(keeper.session, parked.call, parked.deadline, self._world.now)
            self._world.witness.waited(keeper, parked.call, told)
            keeper.parked.remove(parked)

    def _answer_parked(
        self, keeper: Keeper, ended: LoginEnded | None
    ) -> list[tuple[Call, AccessToken | TokenError]]:
        world, left = self._world, list[Parked]()
        answered = list[tuple[Call, AccessToken | TokenError]]()
        for parked in keeper.parked:
            told = answer(keeper.session, parked.call, parked.deadline, world.now, ended)
            if told is None:
                left.append(parked)
            else:
                answered.append((parked.call, told))
                if world.story is not None:
                    world.tell(f"waiter of {keeper.name}", (parked.call, told))
        keeper.parked = left
        return answered

    # Orders

    def order_login(self, keeper: Keeper, password: str | None, wait: float) -> None:
        """Log in at an operator's word."""
        keeper.slot = None if password is None else Secret(password)
        self.requests.announce(keeper.account)
        self.feed(keeper, LoginOrdered())
        call: LogIn = login_call(keeper.session)
        self._park(keeper, call, self._world.now + wait)

    def order_logout(self, keeper: Keeper) -> None:
        """Forget both tokens."""
        keeper.slot = None
        self.feed(keeper, LogoutOrdered())

    def reload(self) -> None:
        """Take over the configuration."""
        for keeper in self.keepers:
            identity, policy = self._world.operators.config[keeper.name]
            changed, moved = identity != keeper.identity, policy != keeper.policy
            if changed:
                keeper.slot = None  # it was another user's
            keeper.identity, keeper.policy = identity, policy
            self.requests.announce(keeper.account)
            self.feed(keeper, Reconfigured(changed, moved))

    # What is asked in the end

    def well(self) -> set[int]:
        """Return the keepers that have a fresh token, or were logged out."""
        return {keeper.name for keeper in self.keepers if self.running and self._is_well(keeper)}

    def _is_well(self, keeper: Keeper) -> bool:
        session = keeper.session
        if is_logged_out(session):
            return True
        fresh = isinstance(session.doing, Idle) and session.failures == 0
        return fresh and live(session, self._world.now) is not None


def _chances(seed: int) -> Random:
    return Random(seed)  # noqa: S311 -- a seed is to decide it
