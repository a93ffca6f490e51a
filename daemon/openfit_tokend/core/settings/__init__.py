"""Settings and profiles: values that were parsed and validated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from unicodedata import normalize
from urllib.parse import urlsplit

from openfit_tokend.core.rights import Rights
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.subordinate_ids import SubordinateIds


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
    """The password is what a command prints. `environment`: variables of ours that it keeps."""

    argv: tuple[str, ...]
    environment: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PasswordEnv:
    """The password is an environment variable of the daemon."""

    name: str


@dataclass(frozen=True, slots=True)
class PasswordKeyring:
    """The password lies in the keyring of the daemon's user, under a service and a user name."""

    service: str
    username: str


PasswordSource = PasswordFile | PasswordCredential | PasswordCommand | PasswordEnv | PasswordKeyring


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A file that holds the access token while it lives.

    `group` may read it; None: the daemon's own. A directory that hands on its group (setgid) decides
    before either. A profile with lists of its own isn't given to the socket's group: more may be in
    that than the lists name.
    """

    path: str
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a session belongs to. A session never outlives a change of it."""

    id_server: str
    client_id: str
    scope: str
    username: str


@dataclass(frozen=True, slots=True)
class Account:
    """Whose failed logins the token server counts, in one spelling of the many that it may have.

    Only for counting: what is sent is spelled as configured.
    """

    id_server: str
    username: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "id_server", _one_server(self.id_server))
        object.__setattr__(self, "username", _one_name(self.username))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One login at one token server. URLs have no trailing slash.

    `password` is None where none is stored: `openfit-token login --ask` brings it.
    `allow_users`, `allow_groups` None: there is no such list. Without both everyone who can open
    the socket may use the profile; else whom one of them names.
    """

    name: str
    environment: str
    identity: Identity
    api_url: str
    policy: Policy
    password: PasswordSource | None = None
    ca_file: str | None = None
    allow_users: tuple[str, ...] | None = None
    allow_groups: tuple[str, ...] | None = None
    token_file: TokenFile | None = None
    notify_command: tuple[str, ...] | None = None

    @property
    def account(self) -> Account:
        """Return the account whose lockout this profile shares with its siblings."""
        return Account(self.identity.id_server, self.identity.username)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that the configuration says. `socket` None: the caller's default place.

    `socket_mode` None: 0600, or what the socket unit says.

    `rights`, `subordinates`: what names of users and groups come to on this machine; whoever reads
    the files looks them up.
    """

    profiles: Mapping[str, Profile]
    default_profile: str | None = None
    socket: str | None = None
    socket_mode: int | None = None
    socket_group: str | None = None
    admin_groups: tuple[str, ...] = ()
    rights: Rights = field(default_factory=Rights)
    # Not compared: it is the machine's, whatever the files say.
    subordinates: SubordinateIds = field(default_factory=SubordinateIds, compare=False)


def _one_name(username: str) -> str:
    """Return a user name as IdentityServer compares it: composed (NFC), and without case."""
    return normalize("NFC", normalize("NFC", username).casefold())


@lru_cache
def _one_server(url: str) -> str:
    """Return a URL of the configuration with one name for its host, which may have several.

    Raises:
        ValueError: it is no URL.
    """
    parts = urlsplit(url)
    host = _one_host((parts.hostname or "").removesuffix("."))
    place = f"[{host}]" if ":" in host else host
    port = "" if parts.port is None else f":{parts.port}"
    return parts._replace(netloc=place + port).geturl()


def _one_host(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return "localhost" if address.is_loopback else address.compressed
