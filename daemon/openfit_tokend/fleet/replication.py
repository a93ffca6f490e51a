"""Keeps a replica in step with its row: carries out what `exchange` decides.

Keepers tell of their requests at any time. The store is used by the fleet's task alone, in `sync`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from secrets import token_bytes
from typing import TYPE_CHECKING, Final, assert_never, final

import anyio

from openfit_token._shared.secret import Secret
from openfit_tokend.core.events import Failed, Granted, LoginOrdered, LogoutOrdered
from openfit_tokend.core.fleet.exchange import exchange, is_void, owes
from openfit_tokend.core.fleet.messages import (
    Deny,
    Doubted,
    Effect,
    Ended,
    Event,
    Expired,
    Feed,
    GaveUp,
    Grant,
    Joined,
    Left,
    Ordered,
    PutOff,
    ReadRow,
    Release,
    RowRead,
    Turn,
    Unreached,
    WakeAt,
    Wanted,
    Withhold,
    WriteRow,
    Written,
)
from openfit_tokend.core.fleet.replica import Held, Here, Logout, Replica
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import Login, Refresh
from openfit_tokend.core.settings.values import Account
from openfit_tokend.fleet.row_form import ID_SIZE, opened, row_key, sealed
from openfit_tokend.fleet.store import TAG_SIZE, RowTrouble
from openfit_tokend.host import clock, log
from openfit_tokend.keeping.claims import Claimed, Claims, LastWriter, NotClaimed, Occupied, Send
from openfit_tokend.keeping.endpoint import Order, Reply
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.storage.session_form import digest

if TYPE_CHECKING:  # it makes these
    from openfit_tokend.fleet.fleet import Fleet

ROUNDS: Final = 8
"""Exchanges in a row with the store for one row, before others have their turn."""
LOGOUT_TIME: Final = 10.0
"""Seconds within which an operator's logout must be written; else the operator is told."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A keeper's task that waits for a claim."""

    outcome: float | NotClaimed | Occupied | None = None
    answered: anyio.Event = field(default_factory=anyio.Event)


@final
class Replication:
    """One account's replica."""

    def __init__(self, fleet: "Fleet", account: Account) -> None:
        self.account = account
        self.accounts = fleet.accounts
        self.key = row_key(account)
        self.replica = Replica(fleet.member)
        self.problem: Problem | None = None
        """Why the row can't be used."""
        self._fleet = fleet
        self._numbers = count()
        self._participations = dict[int, Participation]()
        self._waiting = dict[bytes, _Waiting]()
        self._reseals = True  # the row, if another key than the first has
        self._refusal: RowTrouble | None = None  # of the last write
        self._changed = anyio.Event()

    def join(self, keeper: Keeper) -> "Participation":
        """Return a new participation of a keeper."""
        who = next(self._numbers)
        made = self._participations[who] = Participation(self, keeper, who)
        self.tell(Joined(who, digest(keeper.profile.identity)))
        return made

    @property
    def owes(self) -> bool:
        """Return whether others have yet to be told of something."""
        return owes(self.replica)

    # Events, and what comes of them

    def tell(self, event: Event) -> tuple[Effect, ...]:
        """Let something happen of which the store may have to hear soon."""
        self._fleet.give_turn(self)
        return self._take(event)

    def _learn(self, event: Event) -> None:
        """Let the row change, or a claim in it end: what was put off is wanted again."""
        self._take(event)
        self._changed.set()
        self._changed = anyio.Event()

    def _take(self, event: Event) -> tuple[Effect, ...]:
        """Let an event happen. What is to be done at the store is left to `sync`."""
        sessions = {
            who: Held(each.keeper.session, each.keeper.profile.policy)
            for who, each in self._participations.items()
        }
        here, before = Here(clock.moment(), self._fleet.offset, sessions), self.replica
        self.replica, effects = exchange(before, event, here)
        counted, salt = self.replica.counted, self.replica.salt
        if counted is not before.counted and self.accounts.mirror(self.account, salt, counted):
            self._fleet.mirrored()
        for effect in effects:
            self._carry_out(effect)
        return effects

    async def want(
        self, who: int, number: int, request: Login | Refresh, password: Secret | None
    ) -> float:
        """Wait until a request is claimed; return until when it may be sent; see `Order.claim`."""
        accounts, claim = self.accounts, token_bytes(ID_SIZE)
        made = None
        if password is not None:
            salt = accounts.salt(self.account)
            made = salt, await accounts.fingerprint(self.account, password)
        waiting = self._waiting[claim] = _Waiting()
        try:
            self.tell(Wanted(claim, who, number, request, made))
            await waiting.answered.wait()
        finally:
            del self._waiting[claim]
        assert waiting.outcome is not None  # noqa: S101 -- whoever answered set it
        if isinstance(waiting.outcome, NotClaimed | Occupied):
            raise waiting.outcome
        return waiting.outcome

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Grant(claim, not_after):
                self._answer(claim, not_after)
            case Deny(claim, event):
                self._answer(claim, NotClaimed(event))
            case PutOff(claim, at_once):
                again = self._changed
                if at_once:
                    again = anyio.Event()
                    again.set()
                self._answer(claim, Occupied(again))
            case Feed(who, event):
                self._participations[who].keeper.feed(event)
            case Release(who):
                self._participations[who].release()
            case WakeAt(moment, key, claim):
                self._fleet.alarm.at(moment, partial(self._learn, Expired(key, claim)))
            case GaveUp(by):
                log.warning("fleet_request_given_up", username=self.account.username, by=by)
            case ReadRow() | WriteRow() | Withhold():
                pass  # for whoever let the event happen
            case _:
                assert_never(effect)

    def _answer(self, claim: bytes, outcome: float | NotClaimed | Occupied) -> None:
        waiting = self._waiting.get(claim)
        if waiting is not None:  # else it was cancelled, and will say so
            waiting.outcome = outcome
            waiting.answered.set()

    # The store

    @property
    def _tag(self) -> bytes | None:
        """Return the row's tag, as last seen."""
        return None if self.replica.row is None else self.replica.row.tag

    def noticed(self, tag: bytes) -> None:
        """Take note that the row has this tag now."""
        if tag != self._tag:
            self.tell(Doubted())

    def keys_changed(self) -> None:
        """Write the row anew if another key than the first has sealed it.

        Only now: hosts whose keys are in another order would do so in turn for ever.
        """
        self._reseals = True
        self.tell(Doubted())

    def unreached(self, problem: Problem) -> None:
        """Let requests that wait for a claim fail: nothing may be sent."""
        self._note(problem)
        resync = self._refusal is None  # else each try would begin anew
        self._learn(Unreached(problem, resync))

    def _note(self, problem: Problem | None) -> None:
        before, self.problem = self.problem, problem
        if (before is None) != (problem is None):
            for each in self._participations.values():
                each.keeper.tell()

    async def sync(self) -> None:
        """Read and write until there is nothing left to do, or other rows are to have their turn.

        Raises:
            RowTrouble: the row can't be read, or isn't taken.
            Unreached: the store gave no answer.
        """
        accounts = self.accounts
        for _ in range(ROUNDS):
            known, salt = accounts.ledger(self.account), accounts.salt(self.account)
            match self._take(Turn(token_bytes(TAG_SIZE), known, salt)):
                case [*_, ReadRow()]:
                    await self._read()
                case [*_, WriteRow() as write]:
                    await self._write(write)
                case _:
                    break
        else:
            self._fleet.give_turn(self)
            return
        staying = self.replica.participants
        self._participations = {w: p for w, p in self._participations.items() if w in staying}
        if not staying:
            self._fleet.gone(self)
        if self._refusal is not None:
            raise self._refusal
        self._note(None)

    async def _read(self) -> None:
        said = await self._fleet.store.read(self.key)
        self._fleet.learn(said)
        keys, row = self._fleet.keys, None
        if said.tag is not None or said.data is not None:
            row = opened(keys, self.key, said.tag, said.data)
        old_seal = said.data is not None and keys.is_old_seal(said.data)
        reseal, self._reseals = self._reseals and old_seal, False
        before = self._tag
        self._learn(RowRead(row, reseal))
        if self._tag != before:  # the store took somebody's write
            self._refusal = None

    async def _write(self, write: WriteRow) -> None:
        data = sealed(self._fleet.keys, self.key, write.row)
        said = await self._fleet.store.write(self.key, write.old_tag, write.row.tag, data)
        if said is None:
            await self._look_who_wrote(write.old_tag)
            return
        self._fleet.learn(said)
        self._refusal = None
        self._learn(Written(write, said.clock))
        if write.took_over and write.claims:
            log.info("fleet_took_over", username=self.account.username)

    async def _look_who_wrote(self, old: bytes | None) -> None:
        """Read what took the place of the row: else nothing would be gained by writing again."""
        await self._read()
        if self._tag == old:
            self._refusal = RowTrouble(
                "the fleet's row isn't taken by the store, though nobody has changed it",
                "look for what refuses it: row security, a trigger, a pooler that reads elsewhere",
            )
            raise self._refusal


@final
class Participation(Claims):
    """A profile's claims in its fleet."""

    is_shared = True

    def __init__(self, replication: Replication, keeper: Keeper, who: int) -> None:
        super().__init__(replication.accounts)
        self.keeper = keeper
        self._replication = replication
        self._who = who
        self._revocations: list[Callable[[], None]] = []
        self._written = anyio.Event()

    @property
    def problem(self) -> Problem | None:
        """Return why nothing can be claimed now, if so."""
        return self._replication.problem

    async def send(self, number: int, order: Order, send: Send) -> Reply:
        """Let a request be claimed in the row once its turn at the server is there."""
        request, password = order.request, order.password
        claim = partial(self._replication.want, self._who, number, request, password)

        def is_void_now() -> bool:
            replica = self._replication.replica
            return order.is_void() or is_void(replica, self._who, number, clock.boot())

        return await send(replace(order, claim=claim, is_void=is_void_now))

    def ended(self, event: Granted | Failed) -> bool:
        """Take note of how a request ended."""
        return Withhold() not in self._replication.tell(Ended(self._who, event))

    def ordered(self, order: LoginOrdered | LogoutOrdered) -> None:
        """Tell others of a logout, or forget one that they don't know of yet."""
        if isinstance(order, LogoutOrdered):
            self._written = anyio.Event()
        else:
            self._revocations = []
        self._replication.tell(Ordered(self._who, order))

    async def logout_written(self) -> bool:
        """Wait until the row has it."""
        with anyio.move_on_after(LOGOUT_TIME):
            await self._written.wait()
        return self._written.is_set()

    def revoke(self, revoke: Callable[[], None]) -> None:
        """Do it at once, unless it is for a logout that isn't written yet."""
        participant = self._replication.replica.participants.get(self._who)
        if participant is None or participant.untold != Logout():
            revoke()
        else:
            self._revocations.append(revoke)

    def release(self) -> None:
        """Revoke what was held: the logout is written."""
        self._written.set()
        revocations, self._revocations = self._revocations, []
        for revoke in revocations:
            if not self.keeper.stopping:
                revoke()

    def last_writer(self) -> LastWriter | None:
        """Return who wrote the base, and when that was seen."""
        participant = self._replication.replica.participants.get(self._who)
        if participant is None or participant.base is None:
            return None
        claim, at = participant.base.claim, participant.based_at
        claimed = None if claim is None else Claimed(claim.by, at, at + claim.term)
        return LastWriter(participant.base.by, at, claimed)

    def leave(self) -> None:
        """Let others be told of what is under way, and want nothing new."""
        self._replication.tell(Left(self._who))
