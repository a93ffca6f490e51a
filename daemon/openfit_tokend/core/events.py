"""What can happen to a session (events), and what to do about it (effects): plain values."""

from enum import Enum, auto, unique

from openfit_token._shared.frozen import frozen
from openfit_token._shared.secret import Secret
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import Login, Refresh, Session


@unique
class Kind(Enum):
    """What a failed request means for what was sent."""

    TRANSIENT = auto()
    """It wasn't acted upon: a redirect, 404, 429, 503... said so."""
    UNSENT = auto()
    """Nothing was sent: no connection from this host, or it was no longer wanted."""
    UNCERTAIN = auto()
    """It was sent, and the answer was lost or unusable: it may have been acted upon."""
    UNCLEAR = auto()
    """It was refused without a reason that can be read: it may have been rejected."""
    GRANT_REJECTED = auto()
    """The refresh token, or the user name and password, were refused."""
    CLIENT_REJECTED = auto()
    """The client_id, scope or grant type were refused: the password wasn't looked at."""
    SECRET_UNAVAILABLE = auto()
    """Nothing was sent: the password can't be read."""


@frozen
class OverBudget:
    """Nothing was sent: too many logins were rejected.

    `until`: when the budget allows one again (inf: never automatically); `known`: this very
    password was rejected before.
    """

    until: float
    known: bool


@frozen
class Grant:
    """A usable answer of the token endpoint (RFC 6749, section 5.1). `lifetime` in seconds."""

    access_token: Secret
    id: str
    lifetime: float
    refresh_token: Secret | None
    scope: str


# Events


@frozen
class Woken:
    """The moment that `wake_at` named has come. Coming early or often does no harm."""


@frozen
class NewTokenWanted:
    """A client needs another token than the one held, if any."""


@frozen
class Granted:
    """Request `number` brought a token. `sent`: when it really went out."""

    number: int
    sent: float
    grant: Grant


@frozen
class Failed:
    """Request `number` brought none. `retry_after`: the seconds that the server asked for, if any."""

    number: int
    kind: Kind | OverBudget
    error: Problem
    retry_after: float | None = None


@frozen
class LoginOrdered:
    """An operator ordered a login, maybe with a refresh token in place of the password."""

    given: Secret | None = None


@frozen
class LogoutOrdered:
    """An operator ordered a logout."""


@frozen
class Reconfigured:
    """The secret may be another one: after a reload or a restart, or since this host has its own.

    `identity`: token server, client, scope or user changed; `schedule`: the policy did.
    """

    identity: bool = False
    schedule: bool = False


@frozen
class ServerReached:
    """The token server can be reached again; the last request didn't get through to it."""


@frozen
class Adopted:
    """Another daemon of the fleet wrote this session. Its moments are this host's."""

    session: Session


Event = (
    Woken
    | NewTokenWanted
    | Granted
    | Failed
    | LoginOrdered
    | LogoutOrdered
    | Reconfigured
    | ServerReached
    | Adopted
)


# Effects, to be carried out in order


@frozen
class Send:
    """Send this request; its answer is a Granted or Failed of the same number."""

    number: int
    request: Login | Refresh


@frozen
class Revoke:
    """Ask the server to revoke this refresh token, best effort (RFC 7009)."""

    token: Secret


Effect = Send | Revoke
