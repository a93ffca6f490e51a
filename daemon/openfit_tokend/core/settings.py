"""Settings and profiles: values that were parsed and validated."""

from collections.abc import Mapping
from dataclasses import dataclass

from openfit_tokend.core.schedule import Policy


@dataclass(frozen=True, slots=True)
class PasswordFile:
    """The password is the content of a file."""

    path: str


@dataclass(frozen=True, slots=True)
class PasswordCredential:
    """The password is a systemd credential: a file below $CREDENTIALS_DIRECTORY."""

    name: str


@dataclass(frozen=True, slots=True)
class PasswordCommand:
    """The password is what a command prints."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PasswordEnv:
    """The password is an environment variable of the daemon."""

    name: str


PasswordSource = PasswordFile | PasswordCredential | PasswordCommand | PasswordEnv


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a session belongs to. A session never outlives a change of it."""

    id_server: str
    client_id: str
    scope: str
    username: str


@dataclass(frozen=True, slots=True)
class Account:
    """Whose failed logins the token server counts: user names there have no case."""

    id_server: str
    username: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One login at one token server. URLs have no trailing slash.

    `password` is None where none is stored: `openfit-token login --ask` brings it.
    """

    name: str
    environment: str
    identity: Identity
    api_url: str
    policy: Policy
    password: PasswordSource | None = None
    ca_file: str | None = None

    @property
    def account(self) -> Account:
        """Give the account whose lockout this profile shares with its siblings."""
        return Account(self.identity.id_server, self.identity.username.casefold())


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that the configuration says. `socket` None: the caller's default place."""

    profiles: Mapping[str, Profile]
    default_profile: str | None = None
    socket: str | None = None
    socket_mode: int = 0o600
    socket_group: str | None = None
    admin_groups: tuple[str, ...] = ()
