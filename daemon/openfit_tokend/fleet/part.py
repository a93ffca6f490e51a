"""One keeper's part in a row: what it wants to send, what it has sent, what others must be told."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, final

import anyio

from openfit_token._shared.secret import Secret
from openfit_tokend.core.budget import Attempt, Fingerprint
from openfit_tokend.core.events import Event, Failed, Granted, Kind, LogoutOrdered
from openfit_tokend.core.fleet.row import Claim, Shared
from openfit_tokend.core.problems import Problem, not_needed
from openfit_tokend.core.session import Login, Refresh, Requesting, is_logged_out
from openfit_tokend.core.step import step
from openfit_tokend.host import clock, log
from openfit_tokend.keeping.claims import Claimed, FleetKeeper, NotClaimed, Occupied, Word

LOGOUT_TIME: Final = 10.0
"""Seconds within which an operator's logout must be written; else the operator is told."""


@dataclass(slots=True, eq=False)
class Want:
    """A request that waits to be claimed."""

    number: int
    request: Login | Refresh
    password: Secret | None
    fingerprint: tuple[bytes, Fingerprint] | None = None
    """A login's, and the salt that it was made with."""
    outcome: float | NotClaimed | Occupied | None = None
    answered: anyio.Event = field(default_factory=anyio.Event)

    def answer(self, outcome: float | NotClaimed | Occupied) -> None:
        """Let the request go out until a moment, or not at all."""
        self.outcome = outcome
        self.answered.set()


@dataclass(slots=True, eq=False)
class Flight:
    """A request that was claimed and hasn't ended."""

    number: int
    request: Login | Refresh
    claim: Claim
    attempt: Attempt | None
    """A login's, in moments of this host."""
    superseded: bool = False
    """Others gave it up: what it brings is nobody's."""


class Owner(Protocol):
    """What a part asks of the copy that it is a part of."""

    problem: Problem | None
    """Why nothing can be claimed."""

    def stir(self) -> None:
        """Read or write soon."""
        ...

    def settle(self, flight: Flight, kind: Kind | None) -> None:
        """Write down how a login ended; None: it was accepted."""
        ...


@final
class Leaver:
    """What stays in the fleet of a keeper that leaves: its session. It sends and revokes nothing."""

    def __init__(self, keeper: FleetKeeper) -> None:
        self.profile = keeper.profile
        self.session = keeper.session
        self._keeper = keeper

    @property
    def stopping(self) -> bool:
        """Return whether nothing new is to be started."""
        return self._keeper.stopping

    def tell(self) -> None:
        """Tell nobody: the profile is gone."""

    def feed(self, event: Event) -> None:
        """Let the core decide what an event means for others. Never raises."""
        try:
            self.session, _ = step(self.session, event, clock.moment(), self.profile.policy)
        except Exception:  # noqa: BLE001 -- an internal error: only this profile goes without it
            log.exception("internal_fault", profile=self.profile.name)


@final
class Part:
    """See `Claims`, which it is to its keeper."""

    def __init__(self, owner: Owner, keeper: FleetKeeper, key: bytes) -> None:
        self.keeper: FleetKeeper = keeper
        self.key = key
        """Of its session in the row."""
        self.base: Shared | None = None
        """What the keeper's session goes on from, in moments of the store."""
        self._based_at = 0.0
        self.want: Want | None = None
        self.flights: dict[int, Flight] = {}
        """By number. All but the newest are void."""
        self.dirty = False
        """Something came to pass that others are to know of."""
        self.changes = 0
        """Counts what came to pass, so that nothing is forgotten that does during a write."""
        self.out = False
        """A logout was ordered, and isn't written yet."""
        self.shaken = False
        """The store couldn't be reached: once it is again, the fleet's word counts anew."""
        self.claimed: tuple[int, float] = (-1, 0.0)
        """The number of the last request that was claimed, and the store's clock at that time."""
        self.adopted = -1
        """The number of the session when another's request was last adopted."""
        self.leaves = False
        """Its keeper has left; it goes once others know all that came to pass."""
        self._owner = owner
        self._revocations: list[Callable[[], None]] = []
        self._written = anyio.Event()

    # What its keeper calls

    @property
    def problem(self) -> Problem | None:
        """Return why nothing can be claimed now, if so."""
        return self._owner.problem

    async def claim(self, number: int, request: Login | Refresh, password: Secret | None) -> float:
        """Wait until the row has the claim."""
        if self.leaves:
            raise NotClaimed(Failed(number, Kind.TRANSIENT, not_needed(clock.boot())))
        want = self.want = Want(number, request, password)
        self._owner.stir()
        await want.answered.wait()
        assert want.outcome is not None  # noqa: S101 -- whoever answered set it
        if isinstance(want.outcome, NotClaimed | Occupied):
            raise want.outcome
        return want.outcome

    def ended(self, number: int, event: Granted | Failed) -> bool:
        """Take note of how a request ended."""
        if self.want is not None and self.want.number == number:
            self.want = None
        flight = self.flights.pop(number, None)
        if flight is None:
            return True
        if flight.attempt is not None:
            kind = event.kind if isinstance(event, Failed) else None
            assert kind is None or isinstance(kind, Kind)  # noqa: S101 -- what is over budget has no flight
            self._owner.settle(flight, kind)
        if self._has_claim(flight) and not _is_unsent(event):  # else its claim is taken back
            self.change()
        counts = not flight.superseded and not self.is_void(number)
        self._owner.stir()
        if counts and self.leaves:
            self.keeper.feed(event)
            return False
        # A void refresh isn't given back to the server while others may live on its family of tokens.
        in_use = flight.superseded and not is_logged_out(self.keeper.session)
        return not (in_use and isinstance(flight.request, Refresh))

    def order_login(self) -> None:
        """Forget a logout that others don't know of yet: they are to hear of the login alone."""
        if self.out:
            self.out = self.dirty = False
        self._revocations = []

    def order_logout(self) -> None:
        """Tell others."""
        self.out, self._written = True, anyio.Event()
        self.change()
        self._owner.stir()

    async def logout_written(self) -> bool:
        """Wait until the row has it."""
        with anyio.move_on_after(LOGOUT_TIME):
            await self._written.wait()
        return self._written.is_set()

    def hold(self, revoke: Callable[[], None]) -> bool:
        """Keep it until the logout is written."""
        if self.out:
            self._revocations.append(revoke)
        return self.out

    def word(self) -> Word | None:
        """Return who wrote the base, and when that was seen."""
        base = self.base
        if base is None:
            return None
        claim = base.claim
        claimed = None
        if claim is not None:
            claimed = Claimed(claim.by, self._based_at, self._based_at + claim.term)
        return Word(base.by, self._based_at, claimed)

    def leave(self) -> None:
        """Let others be told of what is under way, and want nothing new."""
        self.leaves, self.keeper = True, Leaver(self.keeper)
        self.fail(not_needed(clock.boot()))
        self._owner.stir()

    def _has_claim(self, flight: Flight) -> bool:
        """Return whether the row has a flight's claim, as far as is known."""
        claim = None if self.base is None else self.base.claim
        return claim is not None and claim.id == flight.claim.id

    # What the copy asks and does

    @property
    def flight(self) -> Flight | None:
        """Return the request under way that counts."""
        return self.flights.get(self.keeper.session.number)

    @property
    def asks(self) -> bool:
        """Return whether a request of its own is to be sent, rather than another's awaited."""
        session = self.keeper.session
        return isinstance(session.doing, Requesting) and session.number != self.adopted

    @property
    def is_over(self) -> bool:
        """Return whether it has left, and all is told."""
        return self.leaves and not self.flights and not self.dirty

    def rest_on(self, base: Shared | None) -> None:
        """Note what the keeper's session goes on from."""
        self.base, self._based_at = base, clock.boot()

    def is_void(self, number: int) -> bool:
        """Return whether nobody waits for a request any more."""
        return number != self.keeper.session.number

    def change(self) -> None:
        """Note that something came to pass."""
        self.dirty = True
        self.changes += 1

    def wanted(self, now: float) -> Want | None:
        """Return the request to be claimed, if somebody still waits for it."""
        if self.want is not None and self.is_void(self.want.number):
            self.fail(not_needed(now))
        return self.want

    def fail(self, problem: Problem) -> None:
        """Let the request that waits fail, if there is one: it certainly isn't sent."""
        if self.want is not None:
            self.refuse(Failed(self.want.number, Kind.TRANSIENT, problem))

    def refuse(self, event: Failed) -> None:
        """Let the request that waits end with this."""
        if self.want is not None:
            self.want.answer(NotClaimed(event))
            self.want = None

    def put_off(self, may_be_over: anyio.Event) -> None:
        """Let the request that waits ask again later."""
        if self.want is not None:
            self.want.answer(Occupied(may_be_over))
            self.want = None

    def take_off(self, flight: Flight, not_after: float, store_clock: float) -> None:
        """Let the claimed request go out."""
        assert self.want is not None  # noqa: S101 -- it is what was claimed
        self.flights[flight.number] = flight
        self.claimed = (flight.number, store_clock)
        self.want.answer(not_after)
        self.want = None

    def supersede(self, problem: Problem) -> None:
        """Give up a request under way: others have gone on without it."""
        flight = self.flight
        if flight is not None and not flight.superseded:
            flight.superseded = True
            self.keeper.feed(Failed(flight.number, Kind.UNCERTAIN, problem))
        self.dirty = False

    def stay_out(self) -> None:
        """Log out what others logged in before they knew of the logout here."""
        if self.out and is_logged_out(self.keeper.session):
            self.told(self.changes)  # they know: the answer to its write was lost, or it is theirs
        elif self.out:
            self.keeper.feed(LogoutOrdered())
            self.change()

    def told(self, changes: int) -> None:
        """Note that the row has what came to pass until then."""
        self.shaken = False
        if self.changes == changes:
            self.dirty = self.out = False
            self._written.set()
            revocations, self._revocations = self._revocations, []
            for revoke in revocations:
                if not self.keeper.stopping:
                    revoke()


def _is_unsent(event: Granted | Failed) -> bool:
    return isinstance(event, Failed) and event.kind is Kind.UNSENT
