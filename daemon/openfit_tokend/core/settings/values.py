"""The configuration in one value: profiles, whose sessions they are, and what holds for all of them."""

from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, field
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final, Literal
from unicodedata import normalize
from urllib.parse import urlsplit

from openfit_token._shared.frozen import frozen
from openfit_tokend.core.callers.rights import Rights
from openfit_tokend.core.callers.subordinate_ids import SubordinateIds
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.settings.engines import StorePlace

TOKEN_PATH: Final = "/connect/token"  # noqa: S105 -- a path
REVOCATION_PATH: Final = "/connect/revocation"


@frozen
class PasswordFile:
    """The password is the content of a file."""

    path: str


@frozen
class PasswordCredential:
    """The password is a systemd credential: a file below $CREDENTIALS_DIRECTORY."""

    name: str


@frozen
class PasswordCommand:
    """The password is what a command prints. `environment`: the daemon's variables that it is given."""

    argv: tuple[str, ...]
    environment: tuple[str, ...] = ()


@frozen
class PasswordEnv:
    """The password is an environment variable of the daemon."""

    name: str


@frozen
class PasswordKeyring:
    """The password is in the keyring of the daemon's user, under a service and a user name."""

    service: str
    username: str


PasswordSource = PasswordFile | PasswordCredential | PasswordCommand | PasswordEnv | PasswordKeyring
PASSWORD_KEY: Final[Mapping[type[PasswordSource], str]] = {
    PasswordFile: "password_file",
    PasswordCredential: "password_credential",
    PasswordCommand: "password_command",
    PasswordEnv: "password_env",
    PasswordKeyring: "password_keyring",
}
"""The key of each source."""


@frozen
class ClientSecret:
    """What a client proves itself with, and where it is put (RFC 6749, section 2.3.1)."""

    source: PasswordSource
    auth: Literal["basic", "post"]


@frozen
class DirectorysGroup:
    """The group that a setgid directory gives to its files; without setgid, none."""


@frozen
class TokenFile:
    """A file that holds the access token while it lives.

    `group` may read it, besides root and the daemon's user; None: nobody else may.
    """

    path: str
    group: str | DirectorysGroup | None = DirectorysGroup()


@frozen
class Identity:
    """Whose session it is. A session never outlives a change of its identity.

    `id_server` and `token_path` make the URL of the token endpoint; the path is OpenFIT's, or "" for a
    `token_url` that ends otherwise. `scope` "": none is requested. `form`: more fields of its forms.
    """

    id_server: str
    client_id: str
    scope: str
    username: str
    token_path: str = TOKEN_PATH
    form: tuple[tuple[str, str], ...] = ()

    @property
    def token_url(self) -> str:
        """Return the URL of the token endpoint."""
        return self.id_server + self.token_path


@frozen
class Account:
    """The account whose failed logins the token server counts, in one of its possible spellings.

    For counting only: what is sent is spelled as configured.
    """

    id_server: str
    username: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "id_server", _one_server(self.id_server))
        object.__setattr__(self, "username", _one_name(self.username))


@frozen
class Profile:
    """One login at one token server. URLs have no trailing slash, but for those of endpoints.

    `password` is None if none is stored: `openfit-token login --ask` asks for it.
    `allow_users`, `allow_groups` None: there is no such list. Without either, everyone who can open
    the socket may use the profile; otherwise those whom one of the lists names.
    `allow_units`: patterns of the units that may have its token as a credential; None: all may.
    `loopback_user`: who may listen where `id_server` is http, besides root and the daemon's user. A
    name until it is looked up, then a uid; or ANYBODY.
    """

    _: KW_ONLY
    name: str
    environment: str
    identity: Identity
    api_url: str
    policy: Policy
    revocation_url: str | None = None
    password: PasswordSource | None = None
    client_secret: ClientSecret | None = None
    ca_file: str | None = None
    allow_users: tuple[str, ...] | None = None
    allow_groups: tuple[str, ...] | None = None
    allow_units: tuple[str, ...] | None = None
    token_file: TokenFile | None = None
    notify_command: tuple[str, ...] | None = None
    loopback_user: str | int | None = None

    @property
    def account(self) -> Account:
        """Return the account, whose lockout this profile may share with others."""
        return Account(self.identity.id_server, self.identity.username)

    @property
    def secrets(self) -> Iterator[PasswordSource]:
        """Yield where its secrets are."""
        if self.password is not None:
            yield self.password
        if self.client_secret is not None:
            yield self.client_secret.source

    @property
    def revokes_at(self) -> str | None:
        """Return the URL of the revocation endpoint (RFC 7009); None: none is known."""
        if self.revocation_url is None and self.identity.token_path:
            return self.identity.id_server + REVOCATION_PATH
        return self.revocation_url


SmallSecret = PasswordFile | PasswordCredential
"""Where a secret of the fleet is kept."""


@frozen
class FleetSettings:
    """A fleet. `password` None: the store asks for none; `member` None: the host's name."""

    _: KW_ONLY
    store: StorePlace
    password: SmallSecret | None
    key: SmallSecret
    member: str | None


@frozen
class Settings:
    """The whole configuration. `socket` None: the caller's default path.

    `socket_mode` None: 0600, or what the socket unit says.

    `rights`, `subordinates`: the ids of users and groups on this machine, looked up when the files
    are read. `unknown_names`: a line about each that doesn't exist.
    """

    _: KW_ONLY
    profiles: Mapping[str, Profile]
    default_profile: str | None = None
    socket: str | None = None
    socket_mode: int | None = None
    socket_group: str | None = None
    http_socket: str | None = None
    admin_groups: tuple[str, ...] = ()
    audit: bool = True
    fleet: FleetSettings | None = None
    rights: Rights = field(default_factory=Rights)
    unknown_names: tuple[str, ...] = ()
    # Not compared: it depends on the machine, not on the files.
    subordinates: SubordinateIds = field(default_factory=SubordinateIds, compare=False)


def _one_name(username: str) -> str:
    """Return a user name as IdentityServer compares it: composed (NFC), ignoring case."""
    return normalize("NFC", normalize("NFC", username).casefold())


@lru_cache
def _one_server(url: str) -> str:
    """Return a configured URL with one name for its host, which may have several.

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
