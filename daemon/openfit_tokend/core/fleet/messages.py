"""What can happen to a replica (events), and what is to be done then (effects)."""

from collections.abc import Mapping

from openfit_token._shared.frozen import frozen
from openfit_tokend.core import events
from openfit_tokend.core.budget import Attempt, Fingerprint, Ledger
from openfit_tokend.core.events import Failed, Granted, LoginOrdered, LogoutOrdered
from openfit_tokend.core.fleet.replica import Replica, Untold
from openfit_tokend.core.fleet.row import Row
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import Login, Refresh

# Effects


@frozen
class ReadRow:
    """Read the row, and then let the next Turn come."""


@frozen
class WriteRow:
    """Replace the row that has the old tag; None: there is none. Then say so by Written."""

    old_tag: bytes | None
    row: Row
    claims: Mapping[bytes, Attempt | None]
    """What it claims; the attempts of logins, in moments of this host."""
    told: Mapping[int, Untold]
    """The participants whose session it brings, and what of them was untold."""
    taken_back: frozenset[int]
    """The participants whose claims it takes back."""
    counted: frozenset[bytes]
    """The claims of the logins that it counts."""
    send_by: float
    """CLOCK_BOOTTIME until which what it claims may be sent."""
    took_over: bool
    """Claims of others had ended."""


@frozen
class Grant:
    """Let the request of a claim go out, not after a moment."""

    claim: bytes
    not_after: float


@frozen
class Deny:
    """Let the request of a claim end with this: it isn't sent."""

    claim: bytes
    event: Failed


@frozen
class PutOff:
    """Let the request of a claim be wanted again, once the row has changed or a claim in it has ended.

    `at_once`: now, with a fingerprint by the row's salt.
    """

    claim: bytes
    at_once: bool = False


@frozen
class Feed:
    """Let the profile's session take an event."""

    who: int
    event: events.Event


@frozen
class Withhold:
    """Don't let the profile's session take the event that Ended told of."""


@frozen
class Release:
    """The others know of the profile's logout: revoke what it is for."""

    who: int


@frozen
class WakeAt:
    """Let Expired come at a moment, for this claim."""

    moment: float
    key: bytes
    claim: bytes


@frozen
class GaveUp:
    """Say that no word came of a request of another member."""

    by: str


Effect = ReadRow | WriteRow | Grant | Deny | PutOff | Feed | Withhold | Release | WakeAt | GaveUp


# Events


@frozen
class Joined:
    """A profile takes part. `key`: the digest of its identity."""

    who: int
    key: bytes


@frozen
class Left:
    """A profile was removed, or gets another identity."""

    who: int


@frozen
class Wanted:
    """A profile is about to send a request, if it gets this claim: 16 random bytes."""

    claim: bytes
    who: int
    number: int
    request: Login | Refresh
    fingerprint: tuple[bytes, Fingerprint] | None = None
    """A login's, and the salt that it was made with."""


@frozen
class Ended:
    """A request that was wanted has ended."""

    who: int
    event: Granted | Failed


@frozen
class Ordered:
    """An operator orders this; the session isn't told yet."""

    who: int
    order: LoginOrdered | LogoutOrdered


@frozen
class Doubted:
    """The row may be another; `resync`: or its moments mean others."""

    resync: bool = False


@frozen
class Turn:
    """The store may be used for this row now. `tag`: 16 random bytes, for the next write.

    A row that isn't there begins with what this host knows: its ledger, and the salt of that.
    """

    tag: bytes
    ledger: Ledger
    salt: bytes


@frozen
class RowRead:
    """The store has this row. `reseal`: it is to be sealed anew."""

    row: Row | None
    reseal: bool = False


@frozen
class Unreached:
    """The store can't be reached, or not so that this row can be used.

    `resync`: adopt it anew afterwards, so that what failed meanwhile delays nothing.
    """

    problem: Problem
    resync: bool = True


@frozen
class Expired:
    """The term of another's claim has passed since it was seen."""

    key: bytes
    claim: bytes


@frozen
class Written:
    """This write was taken. `clock`: the store's, at that time."""

    write: WriteRow
    clock: float


Event = (
    Joined
    | Left
    | Wanted
    | Ended
    | Ordered
    | Doubted
    | Turn
    | RowRead
    | Written
    | Unreached
    | Expired
)

Exchanged = tuple[Replica, tuple[Effect, ...]]
"""A replica, and the effects to carry out, in order."""
