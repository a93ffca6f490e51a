"""What is seen of a profile and of an account from outside, without asking the core."""

from dataclasses import dataclass, field
from math import inf

from simulation.requests import Request


@dataclass(slots=True)
class Token:
    """An access token that arrived, and how its replacement goes."""

    id: str
    account: int
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
    ordered: set[int] = field(default_factory=set[int])
    """Numbers of requests that an operator ordered."""
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


@dataclass(slots=True)
class Cost:
    """An account. An entry is a moment, and the fingerprint where the answer was lost."""

    entries: list[tuple[float, int | None]] = field(default_factory=list[tuple[float, int | None]])
    clear: int = 0
    newest_clear: float = -inf
    rejected: set[str] = field(default_factory=set[str])
    proven: set[str] = field(default_factory=set[str])
    spared: set[str] = field(default_factory=set[str])
    """Passwords that were proven and cost their one rejection more."""
    announced: float = -inf
    refused_sent: float = -inf
    under_way: list[Request] = field(default_factory=list[Request])
    at_server: list[tuple[float, Request]] = field(default_factory=list[tuple[float, Request]])
    """Rejections as the server counts them."""
    lost: dict[Request, int] = field(default_factory=dict[Request, int])
    """Those whose answer was lost, with their fingerprint."""
