"""Makers of the core's values: what a test doesn't name is usual and beside its point.

The usual session: a login at 0 s brought a token of an hour, which is due at 3300 s and ends at
3599 s; its refresh token is "r1".
"""

from openfit_token._shared.secret import Secret
from openfit_token.errors import TokenError, Unavailable
from openfit_tokend.core import schedule
from openfit_tokend.core.events import Failed, Grant, Granted, Kind, OverBudget
from openfit_tokend.core.moment import Moment
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.reports.health import Health, health
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import (
    AccessToken,
    Idle,
    Login,
    Refresh,
    RefreshToken,
    Requesting,
    Session,
)
from openfit_tokend.core.settings.values import Identity, Profile

POLICY = Policy()
PROFILE = Profile(
    name="main",
    environment="custom",
    identity=Identity("http://localhost", "c", "s", "u"),
    api_url="http://localhost",
    policy=POLICY,
)
REFRESH = Refresh(Secret("r1"))
"""The usual request to refresh the usual session."""


def moment(now: float, chance: float = 0.0) -> Moment:
    return Moment(now, chance)


def problem(
    raises: type[TokenError] = Unavailable, at: float = 0.0, until: float | None = None
) -> Problem:
    return Problem(raises, f"this is {raises.__name__}", "do something", at, until)


def how(session: Session, now: float = 100.0) -> Health:
    """Return how a usual profile is with this session."""
    return health(session, now, POLICY)


def access(  # noqa: PLR0913 -- one argument for each field that a test may care for
    value: str = "a1",
    *,
    number: int = 1,
    sent: float = 0.0,
    lifetime: float = 3600.0,
    obtained: float | None = None,
    due: float | None = None,
) -> AccessToken:
    arrival = sent if obtained is None else obtained
    planned = schedule.due(sent, lifetime, arrival, 0.0, POLICY)
    return AccessToken(
        value=Secret(value),
        id=f"id-of-{value}",
        scope="api",
        number=number,
        sent=sent,
        lifetime=lifetime,
        obtained=arrival,
        due=planned if due is None else due,
    )


def refresh(
    value: str = "r1", *, since: float = 0.0, lost: int = 0, unclear: int = 0
) -> RefreshToken:
    return RefreshToken(Secret(value), since, lost, unclear)


def grant(
    value: str = "a2", *, lifetime: float = 3600.0, refresh_token: str | None = "r2"
) -> Grant:
    token = None if refresh_token is None else Secret(refresh_token)
    return Grant(Secret(value), f"id-of-{value}", lifetime, token, "api")


def granted(session: Session, sent: float, brought: Grant) -> Granted:
    """Return the answer to the request that `session` has under way."""
    return Granted(session.number, sent, brought)


def failed(
    session: Session,
    kind: Kind | OverBudget,
    error: Problem,
    retry_after: float | None = None,
) -> Failed:
    """Return the failure of the request that `session` has under way."""
    return Failed(session.number, kind, error, retry_after)


def fresh() -> Session:
    return Session(Idle(3300.0), access(), refresh(), number=1, ended=0.0)


def refreshing() -> Session:
    """Return the usual session while it replaces its token, on schedule."""
    return Session(Requesting(REFRESH), access(), refresh(), number=2, ended=0.0)


def logging_in() -> Session:
    """Return a session that holds nothing, during its first login."""
    return Session(Requesting(Login()), number=1)


def relogging_in() -> Session:
    """Return the usual session during an operator's login."""
    return Session(Requesting(Login(insisted=True)), access(), refresh(), number=2, ended=0.0)


def logging_in_beside_a_refresh_token() -> Session:
    """Return a session whose login is under way since its refresh token was no good choice."""
    return Session(Requesting(Login()), refresh=refresh(), number=2, failures=3, ended=90.0)
