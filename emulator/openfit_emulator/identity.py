"""The model of IdentityServer: users, clients, tokens and the lockout. No I/O, no clock.

`now` is an argument everywhere: Unix seconds of a clock that never jumps.

The checks are in IdentityServer's order, which matters: client, grant and scope come before the
password, so that a wrong client_id doesn't count towards the lockout. For a locked account the
answer is exactly that for a wrong password, even if the password is right.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from itertools import islice
from typing import Final

from openfit_emulator.access_tokens import Claims, access_token, refresh_token
from openfit_token._shared.frozen import frozen
from openfit_token._shared.secret import Secret
from openfit_token.testing._emulator import CLIENT_ID

DAY: Final = 86_400.0
"""Seconds."""
LONGEST_CREDENTIAL: Final = 100
"""Characters of a user name or password: IdentityServer's own limit. A longer one isn't counted."""
FORBIDDEN_CLIENT: Final = "emulated-portal"
"""A client that exists, but may use neither grant: `unauthorized_client`."""
GRANTS: Final = ("password", "refresh_token")


@frozen
class Rules:
    """The server's settings. Times are in seconds."""

    _: KW_ONLY
    client_id: str = CLIENT_ID
    scopes: frozenset[str] = frozenset({"OpenFitApi", "offline_access"})
    token_lifetime: int = 3600
    refresh_lifetime: float = 30 * DAY
    """Counted from the login; a refresh doesn't extend it."""
    lockout_after: int = 5
    """Consecutive wrong passwords; 0: never."""
    lockout_seconds: float = 300.0
    old_access_dies: bool = False
    """A refresh ends the access tokens that the session had before."""
    reuse_revokes: bool = False
    """A refresh token used twice ends its session."""


@frozen
class Issued:
    """Tokens. `refresh_token` is None if offline_access wasn't requested."""

    _: KW_ONLY
    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_in: int
    scope: str


@frozen
class Refused:
    """An OAuth error, and the cause that the client isn't told."""

    error: str
    cause: str
    description: str | None = None


@dataclass(slots=True)
class User:
    """An account. As in ASP.NET, the counter of wrong passwords doesn't expire."""

    name: str
    password: Secret
    failed: int = 0
    locked_until: float = -math.inf


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """A login and the tokens that descend from it."""

    user: User
    scope: str
    logged_in: float


@frozen
class _Access:
    session: Session
    expires: int


class IdentityServer:
    """Owns the accounts and tokens, and answers requests."""

    def __init__(self, rules: Rules, users: Mapping[str, str], issuer: str = "") -> None:
        self.rules = rules
        self.issuer = issuer
        self._users = {name.casefold(): User(name, Secret(word)) for name, word in users.items()}
        self._refresh: dict[str, Session] = {}
        self._spent: dict[str, Session] = {}
        self._access: dict[str, _Access] = {}

    def token(self, form: Mapping[str, str], now: float) -> Issued | Refused:
        """Answer one token request (RFC 6749, sections 4.3 and 6)."""
        client, grant = form.get("client_id", ""), form.get("grant_type", "")
        if client not in (self.rules.client_id, FORBIDDEN_CLIENT):
            return Refused("invalid_client", "client")
        if grant not in GRANTS:
            return Refused("unsupported_grant_type", "grant")
        if client == FORBIDDEN_CLIENT:
            return Refused("unauthorized_client", "client")
        return self._login(form, now) if grant == "password" else self._renew(form, now)

    def user_of(self, form: Mapping[str, str]) -> str:
        """Return the user that a token request is about; "" if that is unknown."""
        if form.get("grant_type") == "refresh_token":
            value = form.get("refresh_token", "")
            session = self._refresh.get(value) or self._spent.get(value)
            return session.user.name if session else ""
        user = self._users.get(form.get("username", "").casefold())
        return user.name if user else ""

    def bearer(self, value: str, now: float) -> str | None:
        """Return the user of an access token; None if it isn't valid.

        As in real servers, `iat` is rounded down to a second, and a token is dead from `iat` +
        lifetime on. So it lives up to a second less than `expires_in` says.
        """
        access = self._access.get(value)
        return access.session.user.name if access and now < access.expires else None

    def revoke_token(self, value: str) -> None:
        """Revoke a token of either kind (RFC 7009), if there is one."""
        self._access.pop(value, None)
        self._refresh.pop(value, None)

    def revoke_refresh(self, username: str | None = None) -> None:
        """Revoke the refresh tokens of a user, or of all. Raises: LookupError: no such user."""
        ended = self._chosen(username)
        for value in [v for v, session in self._refresh.items() if session.user in ended]:
            self._spent[value] = self._refresh.pop(value)

    def revoke_access(self, username: str | None = None) -> None:
        """Revoke the access tokens of a user, or of all. Raises: LookupError: no such user."""
        ended = self._chosen(username)
        self._access = {v: a for v, a in self._access.items() if a.session.user not in ended}

    def set_password(self, username: str, password: str) -> None:
        """Change a password, or add a user. Tokens and the counter stay as they are."""
        user = self._users.setdefault(username.casefold(), User(username, Secret("")))
        user.password = Secret(password)

    def lock(self, username: str | None, now: float) -> None:
        """Lock a user, or all, for the usual time. Raises: LookupError: no such user."""
        for user in self._chosen(username):
            user.locked_until, user.failed = now + self.rules.lockout_seconds, 0

    def unlock(self, username: str | None = None) -> None:
        """Unlock a user, or all, and forget wrong passwords. Raises: LookupError: no such user."""
        for user in self._chosen(username):
            user.locked_until, user.failed = -math.inf, 0

    def users(self) -> Iterable[User]:
        """Return the accounts; don't change them."""
        return self._users.values()

    def sessions(self, now: float) -> Counter[str]:
        """Return how many sessions of each user can still be refreshed."""
        held = self._refresh.values()
        return Counter(session.user.name for session in held if self._lives(session, now))

    def _login(self, form: Mapping[str, str], now: float) -> Issued | Refused:
        scopes = form.get("scope", "").split()
        if not scopes or not self.rules.scopes.issuperset(scopes):
            return Refused("invalid_scope", "scope")
        name, password = form.get("username", ""), form.get("password", "")
        if not name or max(len(name), len(password)) > LONGEST_CREDENTIAL:
            return Refused("invalid_grant", "malformed")
        user = self._users.get(name.casefold())
        cause = "unknown_user" if user is None else self._check(user, password, now)
        if user is None or cause is not None:
            return Refused("invalid_grant", str(cause), "invalid_username_or_password")
        return self._issue(Session(user, " ".join(scopes), now), now)

    def _check(self, user: User, password: str, now: float) -> str | None:
        """Return why a password is refused; None: it isn't.

        Count as ASP.NET's SignInManager does: not while locked, and from 0 again after the lock.
        """
        if now < user.locked_until:
            return "locked"
        if user.password == Secret(password):
            user.failed = 0
            return None
        user.failed += 1
        if user.failed == self.rules.lockout_after:
            self.lock(user.name, now)
        return "wrong_password"

    def _renew(self, form: Mapping[str, str], now: float) -> Issued | Refused:
        value = form.get("refresh_token", "")
        if not value:
            return Refused("invalid_request", "malformed")
        # The old token goes first: whatever happens next, it is never valid again.
        session = self._refresh.pop(value, None)
        if session is None:
            return self._reused(value)
        self._spent[value] = session
        if not self._lives(session, now):
            return Refused("invalid_grant", "expired")
        if self.rules.old_access_dies:
            self._access = {v: a for v, a in self._access.items() if a.session is not session}
        return self._issue(session, now)

    def _reused(self, value: str) -> Refused:
        session = self._spent.get(value)
        if session is None:
            return Refused("invalid_grant", "unknown")
        if self.rules.reuse_revokes:
            for held in [v for v, other in self._refresh.items() if other is session]:
                self._spent[held] = self._refresh.pop(held)
        return Refused("invalid_grant", "spent")

    def _issue(self, session: Session, now: float) -> Issued:
        issued, lifetime = math.floor(now), self.rules.token_lifetime
        claims = Claims(
            issuer=self.issuer,
            client_id=self.rules.client_id,
            username=session.user.name,
            scope=session.scope,
            logged_in=math.floor(session.logged_in),
            issued=issued,
            expires=issued + lifetime,
        )
        access = access_token(claims)
        self._forget_expired(now)
        self._access[access] = _Access(session, claims.expires)
        refresh = refresh_token() if "offline_access" in session.scope.split() else None
        if refresh is not None:
            self._refresh[refresh] = session
        return Issued(
            access_token=access, refresh_token=refresh, expires_in=lifetime, scope=session.scope
        )

    def _forget_expired(self, now: float) -> None:
        # The oldest come first, so looking at two of them is enough to keep the store small.
        for value, access in list(islice(self._access.items(), 2)):
            if access.expires <= now:
                del self._access[value]

    def _lives(self, session: Session, now: float) -> bool:
        return now < session.logged_in + self.rules.refresh_lifetime

    def _chosen(self, username: str | None) -> list[User]:
        if username is None:
            return list(self._users.values())
        user = self._users.get(username.casefold())
        if user is None:
            raise LookupError(f"no user {username!r}")
        return [user]
