"""This host's copy of one account's row, and the only writer of it here.

Each keeper runs the core freely on its own session. What is for others goes through the copy: claims
before requests are sent, outcomes after. What others wrote comes through it, too.

- *sure*: the copy is what the store last said, and no write is in doubt. Only a sure one is written.
- A claim of another ends when this host has seen it unchanged for its term, by CLOCK_BOOTTIME.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Final, Protocol, TypeVar, final

from anyio import Event

from openfit_tokend.core.budget import Attempt, Ledger
from openfit_tokend.core.events import Adopted, Kind
from openfit_tokend.core.fleet.row import SEND_BY, Claim, Row, Shared, given_up
from openfit_tokend.core.problems import Problem, superseded
from openfit_tokend.core.session import Login, Requesting, Session, new_session
from openfit_tokend.core.settings import Account
from openfit_tokend.fleet import draft
from openfit_tokend.fleet.clocks import Offset, Stamps, moved, moved_access
from openfit_tokend.fleet.draft import Draft, Ended, Known
from openfit_tokend.fleet.part import Flight, Part
from openfit_tokend.fleet.row_form import Keys, opened, row_key, sealed
from openfit_tokend.fleet.store import RowTrouble, Said, Store
from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.keeping.claims import FleetKeeper
from openfit_tokend.storage.accounts import Accounts
from openfit_tokend.storage.session_form import digest

T = TypeVar("T")

REMEMBERED: Final = 1024
"""Claims that are remembered, in case that the store goes back to an earlier row."""
ROUNDS: Final = 8
"""Writes of others in a row that this host tries to follow, before it looks after other rows."""
_NO_TAG: Final = b""
"""The tag of a row that isn't there."""


class Membership(Protocol):
    """What copies use of their daemon's membership."""

    member: str
    accounts: Accounts
    alarm: Alarm
    offset: Offset

    @property
    def keys(self) -> Keys:
        """Return the keys of the fleet."""
        ...

    @property
    def store(self) -> Store:
        """Return the store."""
        ...

    def learn(self, said: Said) -> None:
        """Take note of the store's clock."""
        ...

    def stir(self, copy: "Copy") -> None:
        """Sync a copy soon."""
        ...

    def gone(self, copy: "Copy") -> None:
        """Forget a copy without parts."""
        ...

    def mirrored(self) -> None:
        """Write the ledgers soon."""
        ...


@final
class Copy:
    """The row of one account."""

    def __init__(self, fleet: Membership, account: Account) -> None:
        self.account = account
        self.key = row_key(account)
        self.row: Row | None = None
        self.parts: list[Part] = []
        self.problem: Problem | None = None
        """Why the row can't be used."""
        self._fleet = fleet
        self._sure = False
        self._reseals = True  # the row, if another key than the first has
        self._old_seal = False
        self._refusal: RowTrouble | None = None  # of the last write
        self._jumped = False  # a clock was set: the row's moments mean others
        self._stamps = Stamps()
        self._counted = Ledger()  # that of the last row, in moments of this host
        self._salt = b""  # with which its passwords were hashed
        self._seen: dict[bytes, float] = {}  # claims of others, and since when
        self._mine: dict[
            bytes, Part | None
        ] = {}  # claims that may be in the row; None: whose part has left
        self._attempts: dict[bytes, Attempt] = {}  # logins under way, by their claims
        self._ended: list[Ended] = []
        self._changed = Event()

    # Parts

    def join(self, keeper: FleetKeeper) -> Part:
        """Return a new part for a keeper."""
        key = digest(keeper.profile.identity)
        while any(part.key == key and not part.leaves for part in self.parts):
            key = sha256(key).digest()  # two profiles of one identity have two sessions
        part = Part(self, keeper, key)
        self.parts.append(part)
        self._sure = False  # so that it adopts what is there
        self.stir()
        return part

    def stir(self) -> None:
        """Sync soon."""
        self._fleet.stir(self)

    def settle(self, flight: Flight, kind: Kind | None) -> None:
        """Write down how a login ended."""
        self._ended.append((flight, kind))

    @property
    def owes(self) -> bool:
        """Return whether others have yet to be told of something."""
        sessions: Mapping[bytes, Shared] = {} if self.row is None else self.row.sessions
        return bool(self._ended) or any(
            part.dirty or draft.is_idle(part, sessions.get(part.key), self._mine)
            for part in self.parts
        )

    # News

    def noticed(self, tag: bytes) -> None:
        """Take note that the row has this tag now."""
        if self.row is None or tag != self.row.tag:
            self.doubt()

    def doubt(self) -> None:
        """Read the row again."""
        self._sure = False
        self.stir()

    def keys_changed(self) -> None:
        """Write the row anew if another key than the first has sealed it.

        Only now: hosts whose keys are in another order would do so in turn for ever.
        """
        self._reseals = True
        self.doubt()

    def jumped(self) -> None:
        """Adopt again: a clock was set."""
        self._jumped = True
        self.stir()

    def unreached(self, problem: Problem) -> None:
        """Let requests that wait for a claim fail: nothing may be sent."""
        self._sure = False
        self._tell_waiting()
        self._note(problem)
        for part in self.parts:
            part.shaken = self._refusal is None  # else each try would begin anew
            part.fail(problem)

    def _note(self, problem: Problem | None) -> None:
        before, self.problem = self.problem, problem
        if (before is None) != (problem is None):
            for part in self.parts:
                part.keeper.tell()

    # Reading and writing

    async def sync(self) -> None:
        """Read and write until there is nothing left to do, or other rows are to have their turn.

        Raises:
            RowTrouble: the row can't be read, or isn't taken.
            Unreached: the store gave no answer.
        """
        for _ in range(ROUNDS):
            if not self._sure:
                await self._read()
            self._adopt_after_jump()
            await self._make_fingerprints()
            if not self._sure:
                continue  # a part joined meanwhile, and has yet to adopt what is there
            written = draft.draft(self._known(), self.parts, self._ended)
            if written is None:
                self._mirror()
                self._let_go()
                if self._refusal is not None:
                    raise self._refusal
                self._note(None)
                return
            await self._write(written)
        self.stir()

    def _let_go(self) -> None:
        """Forget the parts that have left, now that nothing is left to tell."""
        for claim, part in self._mine.items():
            if part is not None and part.is_over:
                self._mine[claim] = None
        self.parts = [part for part in self.parts if not part.is_over]
        if not self.parts:
            self._fleet.gone(self)

    async def _read(self) -> None:
        said = await self._fleet.store.read(self.key)
        self._fleet.learn(said)
        if said.tag is None and said.data is None:
            self.row = None
        else:
            self.row = opened(self._fleet.keys, self.key, said.tag, said.data)
        old_seal = said.data is not None and self._fleet.keys.is_old_seal(said.data)
        self._old_seal, self._reseals = self._reseals and old_seal, False
        self._sure = True
        self._take()

    async def _write(self, made: Draft) -> None:
        self._ended = []
        for claimed in made.claimed:
            _remember(self._mine, claimed.flight.claim.id, claimed.part)
        self._sure = False
        old, said = self._tag, None
        try:
            data = sealed(self._fleet.keys, self.key, made.row)
            said = await self._fleet.store.write(self.key, old, made.row.tag, data)
        finally:
            if said is None:  # or it isn't known: then the row's `done` will tell
                self._ended = [*made.settled, *self._ended]
        if said is None:
            await self._look_who_wrote(old)
            return
        self._fleet.learn(said)
        self.row, self._sure = made.row, True
        self._refusal, self._old_seal = None, False
        self._go_on(made, said)

    async def _look_who_wrote(self, old: bytes | None) -> None:
        """Read what took the place of the row: else nothing would be gained by writing again."""
        await self._read()
        if self._tag == old:
            self._refusal = RowTrouble(
                "the fleet's row isn't taken by the store, though nobody has changed it",
                "look for what refuses it: row security, a trigger, a pooler that reads elsewhere",
            )
            raise self._refusal

    @property
    def _tag(self) -> bytes | None:
        return None if self.row is None else self.row.tag

    async def _make_fingerprints(self) -> None:
        """Make the fingerprints of the passwords that are to be sent."""
        salt = self._known().row.salt
        for part in tuple(self.parts):
            want = part.want
            if want is None or not isinstance(want.request, Login) or want.password is None:
                continue
            if want.fingerprint is None or want.fingerprint[0] != salt:
                made = await self._fleet.accounts.fingerprint(self.account, want.password)
                want.fingerprint = self._fleet.accounts.salt(self.account), made

    def _known(self) -> Known:
        accounts, now = self._fleet.accounts, clock.boot()
        row = self.row
        if row is None:  # it begins with what this host knows
            known = self._stamps.to_store(
                replace(accounts.ledger(self.account), under_way=()), self._fleet.offset.middle
            )
            row = Row(_NO_TAG, accounts.salt(self.account), known)
        return Known(
            row=row,
            member=self._fleet.member,
            now=now,
            offset=self._fleet.offset,
            stamps=self._stamps,
            attempts=self._attempts,
            mine=self._mine,
            announced=accounts.ledger(self.account).announced,
            reseal=self._old_seal,
            counted=self._counted if row.salt == self._salt else Ledger(),
            has_ended=partial(self._has_ended, now),
            changed=self._changed,
        )

    def _tell_waiting(self) -> None:
        """Let logins ask again that waited for another."""
        self._changed.set()
        self._changed = Event()

    def _mirror(self) -> None:
        """Show the fleet's ledger as this host's, so that it outlives the fleet."""
        if self.row is None:
            return
        known = self._known()
        self._counted, self._salt = draft.ledger(known), self.row.salt
        ledger = replace(self._counted, under_way=tuple(draft.under_way(known).values()))
        if self._fleet.accounts.mirror(self.account, self.row.salt, ledger):
            self._fleet.mirrored()

    # What others wrote

    def _take(self) -> None:
        """Go on from the row as it is in the store."""
        sessions: Mapping[bytes, Shared] = {} if self.row is None else self.row.sessions
        for key, shared in sessions.items():
            if shared.claim is not None:
                self._see(key, shared.claim)
        self._mirror()
        self._tell_waiting()
        for part in tuple(self.parts):
            self._take_part(part, sessions.get(part.key))

    def _take_part(self, part: Part, shared: Shared | None) -> None:
        claim = None if shared is None else shared.claim
        if _is_same(shared, part.base):
            if part.shaken and not part.dirty and part.flight is None:
                self._adopt(part)
        elif claim is not None and draft.is_of(part, claim, self._mine):
            part.rest_on(shared)  # if nothing is sent under it, it is taken back
        else:
            part.supersede(superseded(clock.boot()))
            part.rest_on(shared)
            self._adopt(part)
        part.shaken = False

    def _adopt(self, part: Part) -> None:
        """Let the core go on with what the row says of a part."""
        now, base = clock.boot(), part.base
        session = new_session(now) if base is None else self._to_host(base.session)
        if base is not None and base.claim is not None and self._has_ended(now, base.claim):
            session = given_up(session, base.by, now)
        part.keeper.feed(Adopted(session))
        awaited = isinstance(session.doing, Requesting)
        part.adopted = part.keeper.session.number if awaited else -1
        part.stay_out()

    def _adopt_after_jump(self) -> None:
        if self._jumped:
            self._jumped = False
            for part in tuple(self.parts):
                if part.base is not None and not part.dirty and part.flight is None:
                    self._adopt(part)

    def _to_host(self, session: Session) -> Session:
        """Return a row's session in moments of this host; a token never ends later than it does."""
        offset = self._fleet.offset
        host = moved(session, -offset.middle)
        if session.access is None:
            return host
        return replace(host, access=moved_access(session.access, -offset.high))

    # Claims of others

    def _see(self, key: bytes, claim: Claim) -> None:
        """Note a claim of another that wasn't seen before, and when it ends."""
        if claim.id in self._seen or claim.id in self._mine:
            return
        now = clock.boot()
        _remember(self._seen, claim.id, now)
        self._fleet.alarm.at(now + claim.term, lambda: self._end(key, claim))

    def _end(self, key: bytes, claim: Claim) -> None:
        """Go on without an answer to a request of another."""
        shared = None if self.row is None else self.row.sessions.get(key)
        if shared is None or shared.claim is None or shared.claim.id != claim.id:
            return
        log.warning("fleet_request_given_up", username=self.account.username, by=claim.by)
        for part in tuple(self.parts):
            base = part.base
            if base is not None and base.claim is not None and base.claim.id == claim.id:
                self._adopt(part)
        self._tell_waiting()

    def _has_ended(self, now: float, claim: Claim) -> bool:
        if claim.id in self._mine:
            return False
        return now >= self._seen.get(claim.id, now) + claim.term

    # What was written

    def _go_on(self, made: Draft, said: Said) -> None:
        told = {*made.taken_back, *(part for part, _ in made.told)}
        self._tell_waiting()
        for flight, _ in made.settled:
            self._attempts.pop(flight.claim.id, None)
        for part in tuple(self.parts):
            shared = made.row.sessions.get(part.key)
            if part in told:
                part.rest_on(shared)
            else:  # a claim had ended that its keeper waited for, or it joined meanwhile
                self._take_part(part, shared)
        for part in made.taken_back:
            if not part.asks:  # it stands back, as the others do
                self._adopt(part)
        for part, changes in made.told:
            part.told(changes)
        self._take_off(made, said)
        if made.took_over and made.claimed:
            log.info("fleet_took_over", username=self.account.username)
        self._mirror()

    def _take_off(self, made: Draft, said: Said) -> None:
        for claimed in made.claimed:
            part, want, flight = claimed.part, claimed.want, claimed.flight
            if part.want is not want or part.is_void(want.number):
                continue  # the claim is of no use, and is taken back
            if flight.attempt is not None:
                self._attempts[flight.claim.id] = flight.attempt
            part.take_off(flight, made.begun + SEND_BY, said.clock)


def _is_same(one: Shared | None, other: Shared | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.stamp == other.stamp


def _remember(known: dict[bytes, T], claim: bytes, value: T) -> None:
    known[claim] = value
    if len(known) > REMEMBERED:
        del known[next(iter(known))]
