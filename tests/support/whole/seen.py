"""What is seen of a profile and of an account from outside, without asking the core."""

from dataclasses import dataclass, field
from math import inf

from openfit_tokend.core.budget import Attempt, Fingerprint, Ledger
from openfit_tokend.core.events import Effect, Event
from openfit_tokend.core.moment import Moment
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import Login, Refresh, Session
from openfit_tokend.core.settings import Account
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.storage.accounts import Accounts
from whole.servers import Sent


@dataclass(slots=True, eq=False)
class Request:
    """One request of a keeper. Its times are of its host's clock."""

    number: int
    request: Login | Refresh
    account: Account
    begun: float
    sent: Sent | None = None
    """As the token server received it."""
    sent_at: float = inf
    fingerprint: Fingerprint | None = None
    """A login's password, as the ledger knows it."""
    accounts: Accounts | None = None
    """Who has its ledger."""
    attempt: Attempt | None = None
    waited: bool = False
    """It waited for another login of the account."""

    def __str__(self) -> str:
        """Return its name for people."""
        return f"request {self.number}, a {type(self.request).__name__.lower()}"


@dataclass(frozen=True, slots=True)
class Taken:
    """One step of one keeper."""

    keeper: Keeper
    policy: Policy
    before: Session
    event: Event
    moment: Moment
    after: Session
    effects: tuple[Effect, ...]


@dataclass(slots=True)
class Token:
    """An access token that arrived, and how its replacement goes."""

    id: str
    sent: float
    lifetime: float
    obtained: float
    due: float
    margin: float
    took: float
    """Seconds from the wish to send its request until it arrived."""
    excused: str = ""
    """Why a gap at its end would be nobody's fault."""
    failed_at: float | None = None
    """When a request last failed in its life."""

    @property
    def expires(self) -> float:
        """Return the moment from which it must not be served."""
        return self.sent + self.lifetime - min(1.0, self.lifetime / 16)


@dataclass(slots=True)
class Seen:
    """A profile."""

    token: Token | None = None
    held: str | None = None
    """The refresh token that arrived last and may still be used."""
    spent: set[str] = field(default_factory=set[str])
    """Refresh tokens whose use was answered with yes or no, or that were given up."""
    lost: int = 0
    """Its uses in a row whose answer was lost."""
    unclear: int = 0
    """Its uses in a row that were refused without a clear word."""
    lost_logins: int = 0
    """Logins in a row whose answer was lost."""
    unclear_logins: int = 0
    """Logins in a row that were refused without a clear word."""
    no_login_before: float = -inf
    """The soonest next login by itself, after lost ones."""
    voided: set[int] = field(default_factory=set[int])
    """Numbers of requests that a logout or another identity made void."""
    ended: float = -inf
    """When the last request ended that was sent and counted."""
    not_before: float = -inf
    """The soonest next try after a failure."""
    reloaded: bool = False
    """Whether there was a reload since then: it may have let a request start."""
    chain: int = 0
    """Requests in a row that followed one another at once."""
    outage: bool = False
    """Whether the backoff has reached its longest."""
    sends: list[float] = field(default_factory=list[float])
    """The requests of such an outage."""
    under_way: dict[int, Request] = field(default_factory=dict[int, Request])
    """Requests that have no answer yet, by their number."""

    @classmethod
    def beginning(cls, session: Session, refresh_before: float) -> "Seen":
        """Return what is known of a profile with whose session a daemon begins."""
        refresh, access, bar = session.refresh, session.access, session.bar
        seen = cls(ended=session.ended)
        if refresh is not None:
            seen.held, seen.lost = refresh.value.reveal, refresh.lost
            seen.unclear = refresh.unclear
        if bar is not None:
            seen.unclear_logins = bar.count
            seen.lost_logins = bar.count
        if access is not None:
            margin = min(refresh_before, access.lifetime / 4)
            seen.token = Token(
                access.id,
                access.sent,
                access.lifetime,
                access.obtained,
                access.due,
                margin,
                took=0.0,
                excused="restart",
            )
        return seen


@dataclass(slots=True)
class Cost:
    """An account. An entry is a moment, and the fingerprint where the answer was lost."""

    entries: list[tuple[float, int | None]] = field(default_factory=list[tuple[float, int | None]])
    clear: int = 0
    newest_clear: float = -inf
    rejected: set[int] = field(default_factory=set[int])
    """Fingerprints of passwords."""
    proven: set[int] = field(default_factory=set[int])
    spared: set[int] = field(default_factory=set[int])
    """Those that were proven and cost their one rejection more."""
    announced: float = -inf
    refused_sent: float = -inf
    under_way: list[Request] = field(default_factory=list[Request])

    @classmethod
    def beginning(cls, ledger: Ledger) -> "Cost":
        """Return what is known of an account with whose ledger a daemon begins."""
        return cls(
            entries=[(entry.at, entry.lost) for entry in ledger.entries],
            clear=ledger.clear,
            newest_clear=max((each.at for each in ledger.entries if each.clear), default=-inf),
            rejected=set(ledger.rejected),
            proven=set(ledger.proven),
            announced=ledger.announced,
            refused_sent=ledger.refused_sent,
        )
