"""Looks into the daemons: at each step of the core, and at each login that a ledger judges."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, final

from openfit_tokend.core import budget
from openfit_tokend.core.budget import Go, Wait
from openfit_tokend.core.events import Event, Kind, OverBudget
from openfit_tokend.core.moment import Moment
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import Login, Refresh, Session
from openfit_tokend.host import clock
from openfit_tokend.keeping import keeper as keeper_module
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving import calls
from openfit_tokend.serving.waiting import Waiting
from openfit_tokend.storage.accounts import Accounts
from whole.costs import Costs
from whole.planted import Method, instead
from whole.seen import Request, Taken
from whole.steps import Steps

if TYPE_CHECKING:  # the world is made of this module
    from openfit_tokend.core.settings import Account, Profile
    from whole.host import Host
    from whole.servers import Sent
    from whole.world import World

_REQUEST: Final[ContextVar[Request | None]] = ContextVar("request", default=None)
"""The request whose task it is."""


@final
class Inside:
    """What is seen from inside. It judges between what the daemons do, and changes nothing of it."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.steps = Steps(world)
        self._costs = Costs(collisions=world.plan.collisions)
        self._at_work: list[Keeper] = []

    @contextmanager
    def watching(self) -> Generator[None]:
        """Look, as long as the block runs."""
        with (
            instead(Keeper, "_take", self._taking),
            instead(keeper_module, "step", self._stepping),
            instead(Keeper, "_begin", self._beginning),
            instead(Keeper, "_request", self._requesting),
            instead(Keeper, "answer", self._answering),
            instead(calls, "token_for", self._serving),
            instead(Waiting, "park", self._parking),
            instead(Waiting, "_forget", self._forgetting),
            instead(Accounts, "fingerprint", self._hashing),
            instead(Accounts, "announce", self._announcing),
            instead(Accounts, "doubt", self._doubting),
            instead(Accounts, "settle", self._settling),
            instead(budget, "ask", self._asking),
        ):
            yield

    def sent(self, sent: "Sent") -> None:
        """Take note of a request that a token server receives, in its sender's task."""
        one = _REQUEST.get()
        if one is not None:
            one.sent, one.sent_at = sent, clock.boot()
            self._judge(self.steps.sent, one)

    def stood_still(self, host: "Host") -> None:
        """Take note that a host has stood still: no token's gap is anybody's fault then."""
        self.steps.stood_still(host)

    def _judge(self, rule: Callable[..., object], *args: object) -> None:
        """Judge something; what is wrong ends the run, and isn't raised in the daemon's work."""
        time = self._world.time
        try:
            rule(*args)
        except Exception as error:  # noqa: BLE001 -- the daemon must not take it for one of its own
            time.broken = time.broken or error

    # Keepers

    def _taking(self, taken: Method) -> Method:
        def take(keeper: Keeper, event: Event, sender: "Profile") -> None:
            self._at_work.append(keeper)
            try:
                taken(keeper, event, sender)
            finally:
                self._at_work.pop()
            if not keeper.stopping:
                self._judge(self.steps.settled, keeper)

        return take

    def _stepping(self, stepped: Method) -> Method:
        def step(session: Session, event: Event, moment: Moment, policy: Policy) -> Any:  # noqa: ANN401 -- it is passed on
            after, effects = stepped(session, event, moment, policy)
            keeper = self._at_work[-1]
            if not keeper.stopping:
                one = Taken(keeper, policy, session, event, moment, after, effects)
                self._judge(self.steps.took, one)
            return after, effects

        return step

    def _beginning(self, begun: Method) -> Method:
        def begin(keeper: Keeper, sender: "Profile", number: int, request: Login | Refresh) -> None:
            one = Request(number, request, sender.account, clock.boot())
            self.steps.seen_of(keeper).under_way[number] = one
            begun(keeper, sender, number, request)

        return begin

    def _requesting(self, requested: Method) -> Method:
        async def request(
            keeper: Keeper, claims: object, sender: object, number: int, request: object
        ) -> None:
            _REQUEST.set(self.steps.seen_of(keeper).under_way.get(number))
            await requested(keeper, claims, sender, number, request)

        return request

    # Calls

    def _answering(self, answered: Method) -> Method:
        def answer(keeper: Keeper, call: object, deadline: float, now: float, *more: object) -> Any:  # noqa: ANN401 -- the same
            told = answered(keeper, call, deadline, now, *more)
            if told is not None:
                self._judge(self.steps.told, keeper, call, told, now)
            return told

        return answer

    def _serving(self, found: Method) -> Method:
        def token_for(session: Session, call: object, now: float) -> Any:  # noqa: ANN401 -- the same
            told = found(session, call, now)
            daemon = self._world.host.daemon
            assert daemon is not None  # it is the one that asks
            keepers = daemon.profiles.keepers.values()
            keeper = next((each for each in keepers if each.session is session), None)
            if keeper is not None:
                self._judge(self.steps.told, keeper, call, told, now)
            return told

        return token_for

    def _parking(self, parked: Method) -> Method:
        def park(waiting: object, connection: object, msgid: int, call: Any) -> None:  # noqa: ANN401 -- the same
            self.steps.parked.setdefault(call.keeper, []).append(call)
            parked(waiting, connection, msgid, call)

        return park

    def _forgetting(self, forgotten: Method) -> Method:
        def forget(waiting: object, owed: Any) -> None:  # noqa: ANN401 -- the same
            if owed.park is not None:
                self.steps.parked[owed.park.keeper].remove(owed.park)
            forgotten(waiting, owed)

        return forget

    # Logins

    def _hashing(self, hashed: Method) -> Method:
        async def fingerprint(accounts: Accounts, account: object, password: object) -> Any:  # noqa: ANN401 -- the same
            found = await hashed(accounts, account, password)
            if (one := _REQUEST.get()) is not None and one.attempt is None:
                one.fingerprint, one.accounts = found, accounts
            return found

        return fingerprint

    def _asking(self, asked: Method) -> Method:
        def ask(ledger: object, fingerprint: object, now: float, *, insisted: bool) -> Any:  # noqa: ANN401 -- the same
            said, one = asked(ledger, fingerprint, now, insisted=insisted), _REQUEST.get()
            if one is None or one.accounts is None:
                return said
            cost = self._costs.of(one.accounts, one.account)
            match said:
                case OverBudget():
                    self._judge(self._costs.refused, one, said, cost, now)
                case Wait():
                    self._judge(self._costs.waits, one, cost, now)
                case Go(_, attempt):
                    one.attempt = attempt
                    self._judge(self._costs.admitted, one, cost, now)
                case _:
                    pass
            return said

        return ask

    def _settling(self, settled: Method) -> Method:
        def settle(
            accounts: Accounts, account: "Account", attempt: object, kind: Kind | None
        ) -> None:
            settled(accounts, account, attempt, kind)
            one = _REQUEST.get()
            if one is not None and one.attempt is attempt:
                cost, now = self._costs.of(accounts, account), clock.boot()
                self._judge(self._costs.settled, one, kind, cost, now)

        return settle

    def _announcing(self, announced: Method) -> Method:
        def announce(accounts: Accounts, account: "Account") -> None:
            announced(accounts, account)
            self._costs.of(accounts, account).announced = clock.boot()

        return announce

    def _doubting(self, doubted: Method) -> Method:
        def doubt(accounts: Accounts, account: "Account") -> None:
            doubted(accounts, account)
            self._costs.begin_anew(accounts, account)

        return doubt
