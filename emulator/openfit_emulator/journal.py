"""What the emulator was asked: counters and a log, without passwords or tokens."""

from collections import deque
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from openfit_emulator.script import Arrival
from openfit_token._shared.frozen import frozen

LOG_LENGTH: Final = 20_000
"""Token requests that are kept: a demo that runs for days must not use ever more memory."""


@dataclass(slots=True)
class TokenRequest:
    """One token request.

    `at` and `ended` are seconds since the start; `grant` is `login`, `refresh` or "". `outcome`:
    `issued`, an OAuth error, `not_acted` (a fault came first) or `under_way`. `cause` is what the
    client isn't told: `wrong_password`, `locked`, `spent`, `expired` ...
    """

    number: int
    at: float
    grant: str
    user: str
    faults: tuple[str, ...]
    outcome: str = "under_way"
    cause: str = ""
    ended: float | None = None


@frozen
class Account:
    """One user's account. `locked_for` is in seconds; `sessions` counts those that can be refreshed."""

    failed: int
    locked_for: float
    sessions: int


@frozen
class State:
    """The whole state. `logins` and `refreshes` count the granted ones."""

    _: KW_ONLY
    uptime: float
    token_requests: int
    login_requests: int
    refresh_requests: int
    logins: int
    refreshes: int
    logins_rejected: int
    refreshes_rejected: int
    faulted: int
    revocations: int
    api_ok: int
    api_refused: int
    max_concurrent: Mapping[str, int]
    """The most token requests of each user that were under way at once."""
    users: Mapping[str, Account]
    faults: tuple[str, ...]
    """Those still to come."""
    log: tuple[TokenRequest, ...]


@dataclass(slots=True)
class Journal:
    """The counters and the log."""

    api_ok: int = 0
    api_refused: int = 0
    revocations: int = 0
    faulted: int = 0
    requests: dict[str, int] = field(default_factory=dict[str, int])
    granted: dict[str, int] = field(default_factory=dict[str, int])
    rejected: dict[str, int] = field(default_factory=dict[str, int])
    max_concurrent: dict[str, int] = field(default_factory=dict[str, int])
    log: deque[TokenRequest] = field(default_factory=lambda: deque(maxlen=LOG_LENGTH))
    _under_way: dict[str, int] = field(default_factory=dict[str, int])

    def arrive(self, grant: str) -> Arrival:
        """Count a token request."""
        self.requests[grant] = self.requests.get(grant, 0) + 1
        return Arrival(sum(self.requests.values()), grant, self.requests[grant])

    def begin(self, entry: TokenRequest) -> None:
        """Log the start of a request. The caller must `end` it."""
        self.log.append(entry)
        self.faulted += bool(entry.faults)
        count = self._under_way.get(entry.user, 0) + 1
        self._under_way[entry.user] = count
        self.max_concurrent[entry.user] = max(count, self.max_concurrent.get(entry.user, 0))

    def judge(self, entry: TokenRequest, outcome: str, cause: str) -> None:
        """Record the outcome of a request."""
        entry.outcome, entry.cause = outcome, cause
        counts = self.granted if outcome == "issued" else self.rejected
        counts[entry.grant] = counts.get(entry.grant, 0) + 1

    def leave(self, entry: TokenRequest, elapsed: float) -> None:
        """Record that a client no longer waits; only the first call counts."""
        if entry.ended is None:
            entry.ended = elapsed
            self._under_way[entry.user] -= 1

    def end(self, entry: TokenRequest, elapsed: float) -> None:
        """Record that a request is finished."""
        self.leave(entry, elapsed)
        if entry.outcome == "under_way":
            entry.outcome = "not_acted"
