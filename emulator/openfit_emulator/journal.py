"""What the emulator was asked: counters and a log, without passwords or tokens."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from openfit_emulator.script import Arrival
from openfit_token import testing
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
class State(testing.State):
    """The whole state: what the kit for tests knows of it, and more."""

    _: KW_ONLY
    uptime: float
    refresh_requests: int
    revocations: int
    users: Mapping[str, Account]
    log: tuple[TokenRequest, ...]


@dataclass(slots=True)
class Journal:
    """The counters and the log. Requests are counted by their grant."""

    api_ok: int = 0
    api_refused: int = 0
    revocations: int = 0
    faulted: int = 0
    requests: Counter[str] = field(default_factory=Counter[str])
    granted: Counter[str] = field(default_factory=Counter[str])
    rejected: Counter[str] = field(default_factory=Counter[str])
    max_concurrent: Counter[str] = field(default_factory=Counter[str])
    log: deque[TokenRequest] = field(default_factory=lambda: deque(maxlen=LOG_LENGTH))
    _under_way: Counter[str] = field(default_factory=Counter[str])

    def arrive(self, grant: str) -> Arrival:
        """Count a token request."""
        self.requests[grant] += 1
        return Arrival(self.requests.total(), grant, self.requests[grant])

    def begin(self, entry: TokenRequest) -> None:
        """Log the start of a request. The caller must `end` it."""
        self.log.append(entry)
        self.faulted += bool(entry.faults)
        user = entry.user
        self._under_way[user] += 1
        self.max_concurrent[user] = max(self._under_way[user], self.max_concurrent[user])

    def judge(self, entry: TokenRequest, outcome: str, cause: str) -> None:
        """Record the outcome of a request."""
        entry.outcome, entry.cause = outcome, cause
        (self.granted if outcome == "issued" else self.rejected)[entry.grant] += 1

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
