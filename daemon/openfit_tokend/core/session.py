"""What a profile holds and what it is doing, and everything that follows from these two.

A Session is immutable and holds nothing that could be derived. A profile begins, or starts over, with
one of `restart`'s; from then on only `step` says which is next. All times are seconds of
CLOCK_BOOTTIME.
"""

from dataclasses import field, replace
from enum import StrEnum, unique
from math import inf
from typing import Final, assert_never

from openfit_token._shared.frozen import frozen
from openfit_token._shared.secret import Secret
from openfit_token.errors import ClientRejected, LoggedOut, LoginRejected, SecretUnavailable
from openfit_tokend.core import problems, schedule
from openfit_tokend.core.problems import Problem

MAX_LOST: Final = 2
"""Uses of a refresh token whose answers were lost, from which a login is preferred."""
MAX_UNCLEAR: Final = 3
"""Uses of a refresh token that were refused without a clear reason, from which a login is."""


@frozen
class AccessToken:
    """A bearer token. `due` was chosen once, when it arrived, and changes only at a reload."""

    value: Secret
    id: str
    scope: str
    number: int
    """The request that brought it."""
    sent: float
    lifetime: float
    obtained: float
    """When it arrived."""
    due: float
    """When to replace it."""

    expires: float = field(init=False)
    """From when it is no longer served. Derived, but needed at each request."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "expires", schedule.expires(self.sent, self.lifetime))


@frozen
class RefreshToken:
    """A one-time refresh token, given up only when it was clearly rejected or replaced."""

    value: Secret
    since: float
    """The *login* it descends from: rotation doesn't lengthen its life."""
    lost: int = 0
    """Uses in a row whose answer was lost: it may be spent."""
    unclear: int = 0
    """Uses in a row that were refused without a clear reason."""


@frozen
class Bar:
    """No automatic login before `until`; inf: not before an operator acts or the settings change."""

    until: float
    error: Problem
    count: int = 0
    """Logins in a row that were lost or refused without a clear reason."""


@frozen
class Login:
    """A request that begins a session. `insisted`: ordered by an operator; only the budget can stop it.

    `given`: a refresh token that an operator gave, which is sent in place of the password. No budget
    counts that.
    """

    insisted: bool = False
    given: Secret | None = None


@frozen
class Refresh:
    """A request with the refresh token."""

    token: Secret


@frozen
class Idle:
    """Nothing under way; the next request starts at `due`."""

    due: float


@frozen
class Requesting:
    """One request under way; `login_after`: a login that was ordered meanwhile."""

    request: Login | Refresh
    login_after: Login | None = None


@frozen
class Stopped:
    """Nothing can be done without an operator: no refresh token, and a bar without end."""


Doing = Idle | Requesting | Stopped


@frozen
class Session:
    """Everything known about one profile's login."""

    doing: Doing
    access: AccessToken | None = None
    refresh: RefreshToken | None = None
    number: int = 0
    """Stamps requests; it never decreases, so a late answer is recognised."""
    failures: int = 0
    """Failures since the last success."""
    error: Problem | None = None
    bar: Bar | None = None
    wanted: bool = False
    """A client needs a newer token."""
    ended: float = -inf
    """When the last request that was sent ended."""
    unsent_until: float = -inf
    """Until when this host waits because it couldn't send its last request. Where a fleet shares the
    session, that is no other host's trouble: it isn't stored."""


@unique
class State(StrEnum):
    """The state of a Session, as people see it. The values are the protocol's."""

    EMPTY = "empty"
    LOGGING_IN = "logging_in"
    FRESH = "fresh"
    REFRESHING = "refreshing"
    RETRYING = "retrying"
    DOWN = "down"
    LOCKED = "locked"
    LOGGED_OUT = "logged_out"


def behind(request: Login | Refresh, order: Login) -> Requesting:
    """Return a request under way, and a login that was ordered meanwhile.

    Behind another login one isn't insisted on: what was ordered may be done by then.
    """
    insisted = isinstance(request, Refresh) or order.given is not None
    return Requesting(request, order if insisted else Login())


def new_session(now: float) -> Session:
    """Return the session of a profile that was never logged in: it logs in at once."""
    return Session(Idle(now))


def logged_out_session(now: float) -> Session:
    """Return the session of a profile that an operator had logged out before a restart."""
    return Session(Stopped(), bar=Bar(inf, problems.logged_out(now)))


def live(session: Session, now: float) -> AccessToken | None:
    """Return the access token held, if it may still be served."""
    access = session.access
    return access if access is not None and now < access.expires else None


def token_number(session: Session) -> int:
    """Return the number of the request that brought the access token held; -1: none is."""
    return -1 if session.access is None else session.access.number


def barred(session: Session, now: float) -> bool:
    """Return whether no automatic login may start now."""
    return session.bar is not None and now < session.bar.until


def is_logged_out(session: Session) -> bool:
    """Return whether an operator's logout holds."""
    return session.bar is not None and session.bar.error.raises is LoggedOut


def is_rejected(session: Session) -> bool:
    """Return whether no login may follow by itself, since the password was rejected."""
    bar = session.bar
    return bar is not None and bar.until == inf and bar.error.raises is LoginRejected


def needs_another_secret(session: Session) -> bool:
    """Return whether no login follows because of the password: rejected, or not there to be read."""
    bar = session.bar
    return bar is not None and bar.error.raises in {LoginRejected, SecretUnavailable}


def secret_missing(session: Session) -> bool:
    """Return whether only a password that can be read would help."""
    error = session.error
    return session.refresh is None and error is not None and error.raises is SecretUnavailable


def client_rejected(session: Session) -> bool:
    """Return whether the token server last refused the client, and an operator is needed."""
    error = session.error
    return session.failures > 0 and error is not None and error.raises is ClientRejected


def doubtful(token: RefreshToken, now: float, policy: schedule.Policy) -> bool:
    """Return whether a login, where one is allowed, is better than using this refresh token."""
    spent = token.lost >= MAX_LOST or token.unclear >= MAX_UNCLEAR
    return spent or schedule.worn(token.since, now, policy)


def wake_at(session: Session) -> float:
    """Return the moment of the next `Woken`; inf: none is needed."""
    due = session.doing.due if isinstance(session.doing, Idle) else inf
    return min(due, session.access.expires) if session.access is not None else due


def state(session: Session, now: float) -> State:
    """Return the state, as people see it."""
    alive = live(session, now) is not None
    match session.doing:
        case Stopped():
            return State.LOGGED_OUT if is_logged_out(session) else State.LOCKED
        case Requesting():
            return State.REFRESHING if alive else State.LOGGING_IN
        case Idle():
            if client_rejected(session):
                return State.LOCKED
            if alive:
                return State.RETRYING if session.failures else State.FRESH
            error = session.error
            untried = error is None or error.raises is SecretUnavailable
            return State.EMPTY if session.refresh is None and untried else State.DOWN
        case _:
            assert_never(session.doing)


def last_error(session: Session) -> Problem | None:
    """Return the newest problem that hasn't been solved."""
    return session.error or (session.bar.error if session.bar else None)


def without_ended(session: Session, now: float) -> Session:
    """Return the session without an access token that has ended."""
    if session.access is not None and now >= session.access.expires:
        return replace(session, access=None)
    return session
