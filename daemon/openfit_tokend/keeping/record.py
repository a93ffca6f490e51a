"""What is counted and logged of one profile."""

from dataclasses import dataclass, field
from typing import final

from openfit_token.errors import SecretUnavailable, Unavailable
from openfit_tokend.core.events import Failed, Granted, Kind
from openfit_tokend.core.problems import hint_for
from openfit_tokend.core.session import Login, Refresh, Session, state
from openfit_tokend.host import clock, log


@dataclass(slots=True)
class Counters:
    """What happened to a profile since the daemon's start. The names are the protocol's."""

    tokens: int = 0
    logins: int = 0
    refreshes: int = 0
    rejected_refreshes: int = 0
    uncertain: int = 0
    failures: int = 0
    served: int = 0
    callers: set[tuple[int, str | None, str]] = field(
        default_factory=set[tuple[int, str | None, str]]
    )
    """Who has got the current token, as the log has named them: uid, unit and program."""


def token_id(session: Session) -> str | None:
    """Return the id of the token held."""
    return None if session.access is None else session.access.id


@final
class Record:
    """Counts and logs what happens to one profile."""

    __slots__ = ("_counters", "_profile", "_unread")

    def __init__(self, profile: str, counters: Counters) -> None:
        self._profile = profile
        self._counters = counters
        self._unread: str | None = None  # why the secret couldn't be read, as last logged

    def request_ended(self, request: Login | Refresh, event: Granted | Failed) -> None:
        """Count the outcome of a request, and log its failure."""
        match event:
            case Granted():
                self._unread = None
                self._counters.tokens += 1
            case Failed(kind=kind):
                self._counters.failures += 1
                self._counters.uncertain += kind is Kind.UNCERTAIN
                if isinstance(request, Refresh) and kind is Kind.GRANT_REJECTED:
                    self._counters.rejected_refreshes += 1
                self._log_failure(request, event)

    def session_changed(self, before: Session, after: Session) -> None:
        """Log a new token, and a new state."""
        now = clock.boot()
        if after.access is not None and token_id(after) != token_id(before):
            self._counters.callers.clear()
            log.info(
                "token_replaced" if before.access else "token_obtained",
                profile=self._profile,
                id=after.access.id,
                expires_in=after.access.expires - now,
                refresh_in=after.access.due - now,
            )
        was, now_is = state(before, now), state(after, now)
        if was is not now_is:
            log.debug("state_changed", profile=self._profile, state=now_is, was=was)

    def _log_failure(self, request: Login | Refresh, event: Failed) -> None:
        unread = event.error.raises is SecretUnavailable
        said, self._unread = self._unread, event.error.message if unread else None
        if unread and said == self._unread:
            return  # a state, not a failure each time
        grave = event.error.raises is not Unavailable
        (log.error if grave else log.warning)(
            "login_failed" if isinstance(request, Login) else "refresh_failed",
            profile=self._profile,
            code=event.error.raises.code,
            message=event.error.message,
            hint=hint_for(self._profile, event.error.hint),
        )
