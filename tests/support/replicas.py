"""One host's replica of a row, and the sessions of its profiles: what `exchange` says happens to them.

The store's clock is AHEAD of the host's. The usual session and its password are those of `made`.
"""

from dataclasses import dataclass, field
from itertools import count
from typing import Final

from made import POLICY, grant, problem
from openfit_tokend.core.budget import Fingerprint, Ledger
from openfit_tokend.core.events import Event as SessionEvent
from openfit_tokend.core.events import Failed, Granted, Kind, Send
from openfit_tokend.core.fleet.clocks import Offset, moved
from openfit_tokend.core.fleet.exchange import exchange
from openfit_tokend.core.fleet.messages import (
    Doubted,
    Effect,
    Ended,
    Event,
    Feed,
    Joined,
    RowRead,
    Turn,
    Wanted,
    Withhold,
    WriteRow,
    Written,
)
from openfit_tokend.core.fleet.replica import Held, Here, Replica
from openfit_tokend.core.fleet.row import Claim, Row, Shared
from openfit_tokend.core.moment import Moment
from openfit_tokend.core.session import Login, Requesting, Session
from openfit_tokend.core.step import step

NOW: Final = 1000.0
AHEAD: Final = 5000.0
KEY: Final = b"k" * 32
SALT: Final = b"s" * 16
ONE: Final = Fingerprint(1)
_ids = count(1)


def new_id() -> bytes:
    """Return 16 bytes that no other call returns."""
    return next(_ids).to_bytes(16)


def row_of(
    session: Session | None = None, claim: Claim | None = None, ledger: Ledger | None = None
) -> Row:
    """Return a row that another host wrote, with a session in moments of the host."""
    tag = new_id()
    sessions = dict[bytes, Shared]()
    if session is not None:
        sessions[KEY] = Shared(moved(session, AHEAD), claim, "other", tag)
    return Row(tag, SALT, ledger or Ledger(), sessions)


@dataclass
class Host:
    """A host, from a moment on."""

    member: str = "us"
    now: float = NOW
    unsure: float = 0.0
    """Seconds by which AHEAD may be wrong."""
    ledger: Ledger = field(default_factory=Ledger)
    """That of its own, from before there is a row."""
    sessions: dict[int, Session] = field(default_factory=dict[int, Session])
    sends: dict[int, Send] = field(default_factory=dict[int, Send])
    """What its sessions are about to send."""
    fed: list[SessionEvent] = field(default_factory=list[SessionEvent])

    def __post_init__(self) -> None:
        self.replica = Replica(self.member)

    def take(self, event: Event) -> tuple[Effect, ...]:
        """Let an event happen, and let the sessions take what they are fed."""
        held = {who: Held(session, POLICY) for who, session in self.sessions.items()}
        here = Here(
            Moment(self.now, 0.0), Offset(AHEAD - self.unsure, AHEAD + self.unsure, self.now), held
        )
        self.replica, effects = exchange(self.replica, event, here)
        for effect in effects:
            if isinstance(effect, Feed):
                self.fed.append(effect.event)
                self.feed(effect.who, effect.event)
        return effects

    def feed(self, who: int, event: SessionEvent) -> None:
        """Let a session take an event."""
        at = Moment(self.now, 0.0)
        self.sessions[who], effects = step(self.sessions[who], event, at, POLICY)
        for effect in effects:
            if isinstance(effect, Send):
                self.sends[who] = effect

    def join(self, session: Session, who: int = 1, key: bytes = KEY) -> None:
        """Let a profile take part."""
        self.sessions[who] = session
        self.take(Joined(who, key))

    def turn(self) -> tuple[Effect, ...]:
        """Let the row have its turn."""
        return self.take(Turn(new_id(), self.ledger, SALT))

    def read(self, row: Row | None, *, resync: bool = False) -> tuple[Effect, ...]:
        """Let the host read the row."""
        self.take(Doubted(resync))
        return self.take(RowRead(row))

    def write(self) -> WriteRow:
        """Return what the host writes now."""
        *_, write = self.turn()
        assert isinstance(write, WriteRow)
        return write

    def written(self, write: WriteRow | None = None) -> tuple[Effect, ...]:
        """Let a write be taken: this one, or what the host writes now."""
        return self.take(Written(write or self.write(), self.now + AHEAD))

    def want(
        self, who: int = 1, fingerprint: Fingerprint = ONE, salt: bytes = SALT
    ) -> tuple[bytes, tuple[Effect, ...]]:
        """Let a profile want what its session is about to send; return the claim, and what comes of it."""
        session, claim = self.sessions[who], new_id()
        assert isinstance(session.doing, Requesting)
        request = session.doing.request
        made = (salt, fingerprint) if isinstance(request, Login) else None
        return claim, self.take(Wanted(claim, who, session.number, request, made))

    def claimed(self, who: int = 1) -> bytes:
        """Let a profile's request be claimed, and return the claim."""
        claim, _ = self.want(who)
        self.written()
        return claim

    def ended(self, event: Granted | Failed, who: int = 1) -> bool:
        """Let a request end; return whether its session takes that."""
        feeds = Withhold() not in self.take(Ended(who, event))
        if feeds and who in self.sessions:
            self.feed(who, event)
        return feeds

    def granted(self, who: int = 1) -> Granted:
        """Return the token that answers what a session sent."""
        number = self.sessions[who].number
        return Granted(number, self.now, grant(f"a{number}", refresh_token=f"r{number}"))

    def failed(self, kind: Kind, who: int = 1) -> Failed:
        """Return the failure of what a session sent."""
        return Failed(self.sessions[who].number, kind, problem(at=self.now))


def with_row(session: Session, row: Row | None = None, who: int = 1) -> Host:
    """Return a host with a profile in this session, and with this row."""
    host = Host()
    host.join(session, who)
    host.take(RowRead(row))
    return host
