"""The life of a request: its secret, the ledger, its slot, the network, its answer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Final, final
from zlib import crc32

from openfit_token._shared.secret import Secret
from openfit_token.errors import BudgetSpent, LoginRejected, SecretUnavailable, Unavailable
from openfit_tokend.core import budget, oauth
from openfit_tokend.core.budget import Attempt, Fingerprint, Go, Wait
from openfit_tokend.core.events import Failed, Grant, Granted, Kind, OverBudget
from openfit_tokend.core.oauth import Failure
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.schedule import REQUEST_TIMEOUT
from openfit_tokend.core.session import Login, Refresh, Requesting
from openfit_tokend.core.settings.values import Account, Identity
from simulation.clocks import Clock
from simulation.faults import Fate, Fault

if TYPE_CHECKING:  # the world is made of this module
    from simulation.daemon import Keeper
    from simulation.world import World

WALL: Final = 1.7e9
"""Unix seconds at the world's beginning."""


NO_FINGERPRINT: Final = Fingerprint(0)


@dataclass(slots=True, eq=False)
class Request:
    """One request of a keeper, as it was sent."""

    keeper: "Keeper"
    identity: Identity
    account: Account
    number: int
    request: Login | Refresh
    given: Secret | None
    begun: float
    password: str = ""
    fingerprint: Fingerprint = NO_FINGERPRINT
    attempt: Attempt | None = None
    announced: float = -inf
    """When an operator had last announced a secret, as its own was read."""
    waited: bool = False
    """It waited for another login of the account."""
    sent: float = inf
    fate: Fate | None = None
    said: tuple[int, bytes] | None = None
    """The server's own answer, once it acted."""
    dead: bool = False
    """The daemon that sent it is gone."""

    def __str__(self) -> str:
        """Return its name for the story."""
        what = (
            "login" if isinstance(self.request, Login) else f"refresh {self.request.token.reveal}"
        )
        return f"request {self.number} of {self.keeper.name} ({what} {self.password})"


@final
class Requests:
    """All requests of one daemon, its ledgers, and its turns at the server."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._waiting: dict[Account, list[Request]] = {}
        self._free = world.plan.slots
        self._queue: list[tuple[float, int, Request]] = []
        self._order = count()
        self._alive: dict[Request, None] = {}

    def drop(self) -> None:
        """Let nobody hear of what is under way: the daemon is gone."""
        for request in self._alive:
            request.dead = True

    def announce(self, account: Account) -> None:
        """Note an operator's word."""
        disk = self._world.daemon.disk
        disk.put(account, budget.announce(disk.ledger(account), self._world.now))
        self._world.witness.costs.announced(account)

    def revoke(self, token: Secret) -> None:
        """Revoke, best effort: it may get lost."""
        world = self._world
        if world.rng.random() < 0.7:
            world.at(world.now + 0.1, lambda: world.server.revoke(token.reveal))

    def begin(self, keeper: "Keeper", number: int, request: Login | Refresh) -> None:
        """Begin a request."""
        now = self._world.now
        one = Request(
            keeper, keeper.identity, keeper.account, number, request, keeper.slot, begun=now
        )
        keeper.under_way.append(one)
        self._alive[one] = None
        if isinstance(request, Refresh):
            self._later(0.0, self._line_up, one)
        else:
            takes = 0.0 if one.given is not None else keeper.fates.choice((0.001, 0.001, 0.5))
            self._later(takes, self._with_secret, one)

    # A login

    def _with_secret(self, one: Request) -> None:
        if one.dead:
            return
        operators = self._world.operators
        if one.given is None and self._world.now < operators.secret_gone_until:
            problem = Problem(SecretUnavailable, "no secret", "store it", self._world.now)
            self._finish(one, Failed(one.number, Kind.SECRET_UNAVAILABLE, problem), None)
            return
        if one.number != one.keeper.session.number:  # void: it must not ask for a place
            void = Problem(Unavailable, "void", None, self._world.now)
            self._finish(one, Failed(one.number, Kind.UNSENT, void), None)
            return
        one.announced = self._world.daemon.disk.ledger(one.account).announced
        one.password = one.given.reveal if one.given else operators.secret_of(one.identity)
        bits = 0x3 if self._world.plan.collisions else 0xFFFF
        one.fingerprint = Fingerprint(crc32(one.password.encode()) & bits)
        self._admit(one)

    def _admit(self, one: Request) -> None:
        if one.dead:
            return
        world, disk = self._world, self._world.daemon.disk
        assert isinstance(one.request, Login)
        asked = budget.ask(
            disk.ledger(one.account), one.fingerprint, world.now, insisted=one.request.insisted
        )
        match asked:
            case OverBudget():
                ordered = one.number in world.witness.steps.seen[one.keeper.name].ordered
                world.witness.costs.refused(one, asked, ordered=ordered)
                self._finish(one, Failed(one.number, asked, _over_budget(asked, world.now)), None)
            case Wait():
                one.waited = True
                world.witness.costs.waits(one)
                self._waiting.setdefault(one.account, []).append(one)
            case Go(ledger, attempt):
                disk.put(one.account, ledger)
                one.attempt = attempt
                world.witness.costs.admitted(one)
                self._later(0.002, self._line_up, one)

    def _ask_again(self, one: Request) -> None:
        if one.dead:
            return
        if self._world.daemon.disk.ledger(one.account).announced > one.announced:
            self._with_secret(one)  # it may be another one
        else:
            self._admit(one)

    # Its turn, and the network

    def _line_up(self, one: Request) -> None:
        if one.dead:
            return
        if self._free:
            self._free -= 1
            self._send(one)
        else:
            access = one.keeper.session.access
            needed = self._world.now + REQUEST_TIMEOUT if access is None else access.expires
            heappush(self._queue, (needed, next(self._order), one))

    def _send(self, one: Request) -> None:
        if one.dead:
            return
        world, now = self._world, self._world.now
        one.sent = now
        one.fate = fate = world.operators.fate(one)
        world.witness.sent(one)
        if fate.acts is not None:
            world.at(now + fate.acts, lambda: self._act(one))
        if fate.ends < REQUEST_TIMEOUT:
            self._later(fate.ends, self._answered, one)
        else:
            timed_out = partial(self._timed_out, one)
            world.at(now + REQUEST_TIMEOUT, timed_out, Clock.LOOP)

    def _act(self, one: Request) -> None:
        world = self._world
        form = (
            oauth.login_form(one.identity, Secret(one.password))
            if isinstance(one.request, Login)
            else oauth.refresh_form(one.identity, one.request.token)
        )
        one.said = world.server.act(form, world.now)
        world.witness.costs.acted(one)
        if world.story is not None:
            world.tell("server", f"acts on {one}: {one.said[0]}")

    def _answered(self, one: Request) -> None:
        if one.dead:
            return
        fate = one.fate
        assert fate is not None  # it was sent
        fault = fate.fault
        status_and_body: tuple[int, bytes | None] | None = one.said
        if fault is not None and fault is not Fault.SLOW:
            status_and_body = fault.value.reply
        if status_and_body is None:
            kind = Kind.UNSENT if fault is Fault.REFUSED else Kind.UNCERTAIN
            self._end(one, Failure(kind, Unavailable, "no answer"), None)
            return
        meaning = oauth.meaning(one.request, one.identity.scope, *status_and_body)
        self._end(one, meaning, oauth.retry_after(fate.retry_after, WALL + self._world.now))

    def _timed_out(self, one: Request) -> None:
        if not one.dead:
            self._end(one, Failure(Kind.UNCERTAIN, Unavailable, "timed out"), None)

    # Its end

    def _end(self, one: Request, meaning: Grant | Failure, retry_after: float | None) -> None:
        if self._queue:
            self._later(0.0, self._send, heappop(self._queue)[2])
        else:
            self._free += 1
        if isinstance(meaning, Grant):
            self._finish(one, Granted(one.number, one.sent, meaning), None)
            return
        problem = Problem(meaning.raises, meaning.message, meaning.hint, self._world.now)
        failed = Failed(one.number, meaning.kind, problem, retry_after)
        self._finish(one, failed, meaning.kind)

    def _finish(self, one: Request, event: Granted | Failed, kind: Kind | None) -> None:
        world, keeper = self._world, one.keeper
        del self._alive[one]
        keeper.under_way.remove(one)
        if one.attempt is not None:
            disk = world.daemon.disk
            disk.put(
                one.account, budget.settle(disk.ledger(one.account), one.attempt, kind, world.now)
            )
        if keeper.slot is one.given:
            keeper.slot = None
        world.witness.ended(one, event)
        world.daemon.feed(keeper, event)
        doing = keeper.session.doing
        login_to_come = isinstance(doing, Requesting) and (
            isinstance(doing.request, Login) or doing.login_after
        )
        if not login_to_come:
            keeper.slot = None  # the login it was given for wasn't needed any more
        if one.attempt is not None:
            for waiter in self._waiting.pop(one.account, ()):
                self._ask_again(waiter)

    def _later(self, seconds: float, do: Callable[[Request], None], one: Request) -> None:
        self._world.at(self._world.now + seconds, partial(do, one), Clock.HOST)


def _over_budget(refused: OverBudget, now: float) -> Problem:
    if refused.until == inf:
        return Problem(LoginRejected, "rejected before", "reload", now)
    return Problem(BudgetSpent, "too many", "wait", now, until=refused.until)
