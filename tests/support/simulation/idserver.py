"""The token server as it really is, seen by nobody but the promises.

It looks at the client first. It ends the old refresh token before it makes the new one. Five wrong
passwords lock an account for minutes; its answer doesn't tell, and only a success sets the count
back. Its tokens end at whole seconds of its own clock.
"""

import json
from dataclasses import dataclass, field
from math import floor
from typing import Final, final

from simulation.plan import Traits

LOCKOUT: Final = 5
LOCKED_FOR: Final = 300.0
Reply = tuple[int, bytes]
_REJECTED: Final[Reply] = (400, b'{"error":"invalid_grant"}')
_BAD_CLIENT: Final[Reply] = (400, b'{"error":"invalid_client"}')


@dataclass(slots=True)
class Family:
    """The refresh tokens that descend from one login."""

    account: int
    began: float
    current: str | None = None
    access: str | None = None


@dataclass(slots=True)
class User:
    """An account at the server."""

    password: str
    failures: int = 0
    locked_until: float = 0.0
    families: list[Family] = field(default_factory=list[Family])


@final
class IdServer:
    """All accounts and tokens of one server."""

    def __init__(self, traits: Traits, passwords: dict[int, str]) -> None:
        self.traits = traits
        self.users = {each: User(password) for each, password in passwords.items()}
        self.client_refused_until = 0.0
        self.lockouts = 0
        self._families: dict[str, Family] = {}
        self._ends: dict[str, float] = {}
        self._made = 0

    def act(self, form: dict[str, str], now: float) -> Reply:
        """Do what a form asks for, and give the answer."""
        if now < self.client_refused_until:
            return _BAD_CLIENT
        if form["grant_type"] == "password":
            return self._log_in(int(form["username"].removeprefix("user-")), form["password"], now)
        return self._refresh(form["refresh_token"], now)

    def api(self, token: str, now: float) -> bool:
        """Return whether the API takes an access token now."""
        return now < self._ends.get(token, 0.0)

    def killed(self, token: str) -> bool:
        """Return whether an access token died before its time."""
        return self._ends.get(token) == 0.0

    def began(self, refresh_token: str) -> float | None:
        """Return when the login was from which a refresh token descends."""
        family = self._families.get(refresh_token)
        return None if family is None else family.began

    def account_of(self, refresh_token: str) -> int:
        """Return whose session a refresh token is of."""
        return self._families[refresh_token].account

    def ends(self, token: str) -> float:
        """Return when an access token ends; 0: it was never given, or died before its time."""
        return self._ends.get(token, 0.0)

    def revoke(self, refresh_token: str) -> None:
        """End a refresh token and its family."""
        family = self._families.get(refresh_token)
        if family is not None:
            family.current = None

    def revoke_all(self, account: int) -> None:
        """Forget all sessions of an account."""
        for family in self.users[account].families:
            family.current = None

    def _log_in(self, account: int, password: str, now: float) -> Reply:
        user = self.users[account]
        if now < user.locked_until:
            return _REJECTED
        if password != user.password:
            user.failures += 1
            if user.failures >= LOCKOUT:
                user.failures = 0
                user.locked_until = now + LOCKED_FOR
                self.lockouts += 1
            return _REJECTED
        user.failures = 0
        family = Family(account, now)
        user.families = [each for each in user.families if each.current is not None]
        user.families.append(family)
        return self._grant(family, now)

    def _refresh(self, token: str, now: float) -> Reply:
        family = self._families.get(token)
        if family is None or family.current is None or now >= family.began + self.traits.life:
            return _REJECTED
        if family.current != token:
            if self.traits.reuse_revokes:
                family.current = None
            return _REJECTED
        if self.traits.old_access_dies and family.access is not None:
            self._ends[family.access] = 0.0
        return self._grant(family, now)

    def _grant(self, family: Family, now: float) -> Reply:
        traits = self.traits
        self._made += 1
        access = f"hush-access-{family.account}-{self._made}"
        self._ends[access] = floor(now + traits.phase) - traits.phase + traits.lifetime
        family.access = access
        said: dict[str, object] = {
            "access_token": access,
            "expires_in": traits.lifetime if self._made % 5 else str(traits.lifetime),
            "token_type": "Bearer",
        }
        gives = traits.gives_refresh_tokens or self._made % 2
        if gives and (traits.rotates or family.current is None):
            family.current = f"hush-refresh-{family.account}-{self._made}"
            self._families[family.current] = family
            said["refresh_token"] = family.current
        return 200, json.dumps(said).encode()
