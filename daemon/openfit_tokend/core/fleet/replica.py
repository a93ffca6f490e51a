"""What this host knows of an account's row, what can happen to it, and what is to be done.

A *participant* is one profile's part in the row, for as long as it may have something to tell the
others. A *request* of it is first pending, then in flight, then gone; a login that was answered stays
until the row counts it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from enum import Enum, auto, unique
from typing import Final, TypeVar

from openfit_token._shared.frozen import frozen
from openfit_tokend.core.budget import Attempt, Fingerprint, Ledger
from openfit_tokend.core.events import Kind
from openfit_tokend.core.fleet.clocks import Offset, Stamps
from openfit_tokend.core.fleet.row import Claim, Row, Shared
from openfit_tokend.core.moment import Moment
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import Login, Refresh, Session

CLAIMS_REMEMBERED: Final = 1024
"""Claims that are remembered, in case that the store goes back to an earlier row."""
V = TypeVar("V")

# Requests


@frozen
class Pending:
    """A request that waits for its claim."""

    who: int
    number: int
    request: Login | Refresh
    fingerprint: tuple[bytes, Fingerprint] | None = None
    """A login's, and the salt that it was made with."""


@frozen
class InFlight:
    """A request that was claimed, and hasn't ended."""

    who: int
    number: int
    request: Login | Refresh
    claimed_at: float
    """The store's clock when the claim was written."""
    attempt: Attempt | None = None
    """A login's, in moments of this host."""
    superseded: bool = False
    """Others went on without its answer: what it brings is nobody's."""


@frozen
class Answered:
    """A login that has ended, and isn't counted in the row yet. `kind` None: it was accepted."""

    who: int
    attempt: Attempt
    kind: Kind | None


Request = Pending | InFlight | Answered
R = TypeVar("R", Pending, InFlight, Answered)

# Participants


@frozen
class Outcome:
    """How a request ended that was claimed at this time of the store's clock."""

    number: int
    claimed_at: float


@frozen
class Logout:
    """An operator's. What it is to revoke is kept until the others know of it."""


Untold = Outcome | Logout | None
"""What came to pass here, and isn't in the row yet."""


@frozen
class Held:
    """A session as its profile holds it, and how it is to be kept."""

    session: Session
    policy: Policy


@frozen
class Participant:
    """One profile's part in the row."""

    key: bytes
    """Of its session in the row."""
    base: Shared | None = None
    """What its session goes on from, in moments of the store."""
    based_at: float = 0.0
    untold: Untold = None
    left: Held | None = None
    """Its session since its profile was removed, or got another identity: nobody else holds it.
    It sends nothing more, and goes once all is told."""


@unique
class Known(Enum):
    """Whether the replica's row is what the store has. Only a row that is gets written."""

    SURE = auto()
    DOUBTED = auto()
    """Somebody else may have written, or a write of ours is out: read it."""
    RESYNC = auto()
    """The store was away, or a clock was set: read it, and adopt it anew."""


@frozen
class Replica:
    """This host's knowledge of one account's row."""

    member: str
    """This daemon's name."""
    row: Row | None = None
    known: Known = Known.DOUBTED
    reseal: bool = False
    """Another key than the first has sealed the row: write it anew."""
    participants: Mapping[int, Participant] = field(default_factory=dict[int, Participant])
    requests: Mapping[bytes, Request] = field(default_factory=dict[bytes, Request])
    """By the ids of their claims."""
    own: Mapping[bytes, int] = field(default_factory=dict[bytes, int])
    """Claims of ours that may be in the row, and whose they are. Those of logins that have no
    request were never sent."""
    seen: Mapping[bytes, float] = field(default_factory=dict[bytes, float])
    """Claims of others, and since when they are seen."""
    stamps: Stamps = field(default_factory=Stamps)
    counted: Ledger = field(default_factory=Ledger)
    """The row's ledger as it was last, in moments of this host: the row may be put back. It is this
    host's ledger, too, so that it outlives the fleet."""
    salt: bytes = b""
    """With which its passwords are hashed."""


@frozen
class Here:
    """What an exchange needs to know of this host at its moment."""

    moment: Moment
    offset: Offset
    sessions: Mapping[int, Held]
    """Of the participants that haven't left."""

    @property
    def now(self) -> float:
        """Return the time, by CLOCK_BOOTTIME."""
        return self.moment.now

    @property
    def store(self) -> float:
        """Return the time by the store's clock, as well as it is known."""
        return self.moment.now + self.offset.middle


# Claims and requests


def claims_in(row: Row) -> Iterator[tuple[bytes, Claim]]:
    """Return the claims of a row, with the keys of their sessions."""
    for key, shared in row.sessions.items():
        if shared.claim is not None:
            yield key, shared.claim


def has_ended(replica: Replica, claim: Claim, now: float) -> bool:
    """Return whether the term of another's claim has passed since this host saw it."""
    return claim.id not in replica.own and now >= replica.seen.get(claim.id, now) + claim.term


def is_own(replica: Replica, who: int, claim: bytes) -> bool:
    """Return whether a participant is to end a claim: not if one that left with its key does."""
    owner = replica.own.get(claim)
    return owner is not None and (owner == who or owner not in replica.participants)


def is_idle(replica: Replica, who: int) -> bool:
    """Return whether the row has a claim under which nothing was sent, nor will be."""
    shared = shared_by(replica, who)
    claim = None if shared is None else shared.claim
    return (
        claim is not None
        and replica.participants[who].untold is None
        and is_own(replica, who, claim.id)
        and not isinstance(replica.requests.get(claim.id), InFlight)
    )


def requests_of(replica: Replica, kind: type[R]) -> Mapping[bytes, R]:
    """Return the requests of one kind, by the ids of their claims."""
    return {claim: each for claim, each in replica.requests.items() if isinstance(each, kind)}


def claim_of(replica: Replica, who: int, number: int) -> bytes | None:
    """Return the claim of a participant's request that is pending or in flight."""
    for claim, request in replica.requests.items():
        if not isinstance(request, Answered) and (request.who, request.number) == (who, number):
            return claim
    return None


# The replica


def held(replica: Replica, who: int, here: Here) -> Held:
    """Return a participant's session, whoever holds it."""
    return replica.participants[who].left or here.sessions[who]


def shared_by(replica: Replica, who: int) -> Shared | None:
    """Return what the row says of a participant."""
    key = replica.participants[who].key
    return None if replica.row is None else replica.row.sessions.get(key)


def with_participant(replica: Replica, who: int, participant: Participant) -> Replica:
    """Return the replica with this participant, new or changed."""
    return replace(replica, participants={**replica.participants, who: participant})


def with_request(replica: Replica, claim: bytes, request: Request) -> Replica:
    """Return the replica with this request, new or changed."""
    return replace(replica, requests={**replica.requests, claim: request})


def without_requests(replica: Replica, claims: Iterable[bytes]) -> Replica:
    """Return the replica without requests that have ended."""
    gone = set(claims)
    left = {claim: each for claim, each in replica.requests.items() if claim not in gone}
    return replace(replica, requests=left)


def remembering(known: Mapping[bytes, V], claims: Mapping[bytes, V]) -> Mapping[bytes, V]:
    """Return claims that are known and new ones, without the oldest of too many."""
    return dict(list({**known, **claims}.items())[-CLAIMS_REMEMBERED:])
