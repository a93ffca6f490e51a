"""From the tables of TOML files to Settings, or to all the faults in them."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Literal, NamedTuple

from openfit_token._shared import profile_name
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.settings import fields
from openfit_tokend.core.settings.fleet import fleet
from openfit_tokend.core.settings.table import Fault, Source, Table, Wrong
from openfit_tokend.core.settings.values import (
    PASSWORD_KEY,
    TOKEN_PATH,
    ClientSecret,
    DirectorysGroup,
    FleetSettings,
    Identity,
    PasswordCommand,
    PasswordCredential,
    PasswordEnv,
    PasswordFile,
    PasswordKeyring,
    PasswordSource,
    Profile,
    Settings,
    TokenFile,
)

DEFAULT_SCOPE: Final = "OpenFitApi offline_access"
DEFAULT_POLICY: Final = Policy()

MIN_REFRESH_BEFORE: Final = 2.0
"""Seconds. A token isn't served in its last second, and a request takes time: less would mean gaps."""
MAX_REFRESH_BEFORE: Final = 86400.0
"""Seconds. A quarter of a token's life caps it anyway; more than a day is a wrong unit."""
MIN_REFRESH_TOKEN_LIFETIME: Final = 3600.0
"""Seconds. Each lifetime costs a login: less than an hour is days or hours written as seconds."""
MAX_REFRESH_TOKEN_LIFETIME: Final = 3650 * 86400.0
"""Seconds. Ten years: for a server whose refresh tokens don't end."""


class Servers(NamedTuple):
    """The two servers of an environment. `token_path` follows `id_server`: see `Identity`.

    `scope`: what is requested where nothing else is named.
    """

    id_server: str
    api_url: str
    token_path: str = TOKEN_PATH
    revocation_url: str | None = None
    scope: str = DEFAULT_SCOPE


ENVIRONMENTS: Final[Mapping[str, Servers]] = {
    "production": Servers("https://ids.openfit.care", "https://api.openfit.care"),
    "test": Servers(
        "https://of-identity-internal.azurewebsites.net",
        "https://of-api-internal.azurewebsites.net",
    ),
}
"""The vendor's own. Any other environment is `custom`."""

PASSWORD_KEYS: Final = tuple(PASSWORD_KEY.values())
CLIENT_SECRET_KEYS: Final = tuple(key.replace("password", "client_secret") for key in PASSWORD_KEYS)

TOP_KEYS: Final = (
    "socket",
    "socket_mode",
    "socket_group",
    "http_socket",
    "default_profile",
    "admin_groups",
    "audit",
    "include",
    "fleet",
    "defaults",
    "profiles",
)
PROFILE_KEYS: Final = (
    "environment",
    "id_server",
    "token_url",
    "revocation_url",
    "api_url",
    "client_id",
    *CLIENT_SECRET_KEYS,
    "client_secret_environment",
    "client_auth",
    "form",
    "username",
    *PASSWORD_KEYS,
    "password_environment",
    "refresh_before",
    "refresh_token_lifetime",
    "scope",
    "allow_users",
    "allow_groups",
    "allow_units",
    "token_file",
    "ca_file",
    "loopback_user",
    "notify_command",
)

_ALTERNATIVES: Final = (
    PASSWORD_KEYS,
    CLIENT_SECRET_KEYS,
    ("allow_users", "allow_groups"),
    ("id_server", "token_url"),
)
"""Keys that stand for each other: a profile with one of them gets none from the defaults."""
_GROUP_WRITES: Final = 0o020
"""What it takes to connect to a socket."""
_Readers = str | DirectorysGroup | None
_KNOWN: Final = (
    "goes with an id_server that begins with http:// only: else its certificate says who it is"
)
_REFUSED_IN_PROFILE: Final[Mapping[str, str]] = {
    **dict.fromkeys(TOP_KEYS, "belongs at the top of the main file, before its first [table]"),
    "password": f"a password doesn't belong in this file: use one of {', '.join(PASSWORD_KEYS)}",
    "client_secret": f"a secret doesn't belong in this file: use one of {', '.join(CLIENT_SECRET_KEYS)}",
}
_REFUSED_IN_DEFAULTS: Final = {
    "token_file": "belongs in a profile, below [profiles.NAME]: each has a file of its own"
}
_REFUSED_AT_TOP: Final[Mapping[str, str]] = dict.fromkeys(
    (*PROFILE_KEYS, "password", "client_secret"), "belongs in a profile, below [profiles.NAME]"
)
_REFUSED_IN_INCLUDED: Final[Mapping[str, str]] = {
    **_REFUSED_AT_TOP,
    **dict.fromkeys(
        TOP_KEYS[:-1], "belongs in the main file: an included one has only [profiles.NAME] tables"
    ),
}


def include_pattern(main: Source) -> str | None:
    """Return which files the main one includes; None if none, or if that is faulty: `parse` reports it."""
    return Table(main, (), main.table, []).optional("include", fields.include)


def socket_path(main: Source) -> str | None:
    """Return the socket that the main file names; None if none, or if that is faulty: `parse` reports it."""
    return Table(main, (), main.table, []).optional("socket", fields.socket_path)


def parse(
    main: Source, included: Sequence[Source] = (), *, complete: bool = True
) -> Settings | tuple[Fault, ...]:
    """Return the settings, or all faults.

    `complete` False: a file couldn't be read, so nothing that it may contain is reported as missing.
    """
    faults: list[Fault] = []
    top = Table(main, (), main.table, faults)
    socket = top.optional("socket", fields.socket_path)
    socket_mode = top.optional("socket_mode", fields.socket_mode)
    socket_group = top.optional("socket_group", fields.account)
    http_socket = top.optional("http_socket", fields.socket_path)
    admin_groups = top.optional("admin_groups", fields.texts)
    audit = top.optional("audit", fields.flag)
    default = top.optional("default_profile", fields.name)
    top.optional("include", fields.include)
    shared = _fleet(main, faults)
    top.refuse(_REFUSED_AT_TOP)
    top.refuse_unknown(TOP_KEYS, _REFUSED_AT_TOP)
    for source in included:
        table = Table(source, (), source.table, faults)
        table.refuse(_REFUSED_IN_INCLUDED)
        table.refuse_unknown(("profiles",), _REFUSED_IN_INCLUDED)

    may_connect: _Readers = socket_group or DirectorysGroup()
    if socket_mode is not None and not socket_mode & _GROUP_WRITES:
        may_connect = None
    defaults = _defaults(main, faults, may_connect)
    defined, profiles = _profiles((main, *included), faults, may_connect, defaults)
    if complete and not any(source.table.get("profiles") for source in (main, *included)):
        top.note("at least one [profiles.NAME] table is needed", "profiles")
    if complete and default is not None and defined and default not in defined:
        top.note(f"must be one of the profiles: {_some(defined)}", "default_profile")

    if faults:
        return tuple(faults)
    return Settings(
        profiles=profiles,
        default_profile=default,
        socket=socket,
        socket_mode=socket_mode,
        socket_group=socket_group,
        http_socket=http_socket,
        admin_groups=admin_groups or (),
        audit=audit is not False,
        fleet=shared,
    )


def _fleet(main: Source, faults: list[Fault]) -> FleetSettings | None:
    values = Table(main, (), main.table, faults).optional("fleet", fields.table)
    return None if values is None else fleet(Table(main, ("fleet",), values, faults))


def _defaults(main: Source, faults: list[Fault], may_connect: _Readers) -> Mapping[str, object]:
    """Return the keys of profiles that don't have them; judged as a profile that may lack some."""
    values = Table(main, (), main.table, faults).optional("defaults", fields.table) or {}
    found: list[Fault] = []
    table = Table(main, ("defaults",), values, found)
    _profile("defaults", table, may_connect)
    table.refuse(_REFUSED_IN_DEFAULTS)
    faults += [fault for fault in found if fault.key[-1] in values]
    return values


def _inherited(main: Source, defaults: Mapping[str, object], own: Mapping[str, object]) -> Table:
    """Return the defaults of a profile with these values."""
    replaced = {key for keys in _ALTERNATIVES if own.keys() & keys for key in keys}
    left = {
        key: value
        for key, value in defaults.items()
        if key not in replaced and key not in _REFUSED_IN_DEFAULTS
    }
    return Table(main, ("defaults",), left, [])


def _profiles(
    sources: Sequence[Source],
    faults: list[Fault],
    may_connect: _Readers,
    defaults: Mapping[str, object],
) -> tuple[dict[str, str], dict[str, Profile]]:
    """Return the file in which each profile was first defined, and the profiles without a fault."""
    defined: dict[str, str] = {}
    profiles: dict[str, Profile] = {}
    writers: dict[str, str] = {}
    for source in sources:
        tables = Table(source, (), source.table, faults).optional("profiles", fields.table) or {}
        within = Table(source, ("profiles",), tables, faults)
        for name in tables:
            if not profile_name.is_profile_name(name):
                within.note(profile_name.RULE, name)
            if name in defined:
                within.note(f"is defined in {defined[name]} too: keep one of them", name)
            defined.setdefault(name, source.path)
            values = within.optional(name, fields.table)
            if values is None:
                continue
            inherited = _inherited(sources[0], defaults, values)
            table = Table(source, ("profiles", name), values, faults, inherited)
            profile = _profile(name, table, may_connect)
            if profile is None:
                continue
            profiles.setdefault(name, profile)
            path = None if profile.token_file is None else profile.token_file.path
            if path is not None and (writer := writers.setdefault(path, name)) != name:
                table.note(f"is the file of profile {writer} already", "token_file")
    return defined, profiles


def _profile(name: str, table: Table, may_connect: _Readers) -> Profile | None:
    """Return one profile; None if it has a fault, which was noted."""
    environment = table.required("environment", _environment, '"production", "test" or "custom"')
    servers = _servers(table, environment)
    client_id = table.required("client_id", fields.name, '"…", as given by OpenFIT\'s support')
    username = table.required("username", fields.name, '"…", the name of the login')
    form = table.optional("form", fields.form)
    scope = table.optional("scope", fields.scope)
    password = _secret(table, "password", username or "")
    client_secret = _client_secret(table, client_id or "")
    ca_file = table.optional("ca_file", partial(fields.path, directory=table.directory("ca_file")))
    loopback_user = table.optional("loopback_user", fields.user)
    if servers is not None and not servers.id_server.startswith("http://"):
        table.refuse({"loopback_user": _KNOWN})
        loopback_user = None
    policy = _policy(table)
    users = table.optional("allow_users", fields.texts)
    groups = table.optional("allow_groups", fields.texts)
    units = table.optional("allow_units", fields.units)
    token_file = table.optional(
        "token_file", partial(fields.own_file, directory=table.source.directory)
    )
    notify_command = table.optional("notify_command", fields.argv)
    table.refuse(_REFUSED_IN_PROFILE)
    table.refuse_unknown(PROFILE_KEYS, _REFUSED_IN_PROFILE)
    if environment is None or servers is None or client_id is None or username is None:
        return None
    return Profile(
        name=name,
        environment=environment,
        identity=Identity(
            servers.id_server,
            client_id,
            scope or servers.scope,
            username,
            servers.token_path,
            form or (),
        ),
        api_url=servers.api_url,
        revocation_url=servers.revocation_url,
        password=password,
        client_secret=client_secret,
        ca_file=ca_file,
        policy=policy,
        allow_users=users,
        allow_groups=groups,
        allow_units=units,
        token_file=None
        if token_file is None
        else TokenFile(token_file, _readers(users, groups, may_connect)),
        notify_command=notify_command,
        loopback_user=loopback_user,
    )


def _readers(
    users: Sequence[str] | None, groups: Sequence[str] | None, may_connect: _Readers
) -> _Readers:
    """Return the group that may read a profile's token file: it holds nobody who may not use the profile.

    A file can have one group. So lists that name users, or several groups, leave it to nobody.
    `may_connect`: the group that can open the socket.
    """
    if users is None and groups is None:
        return may_connect
    named = set(groups or ())
    return named.pop() if len(named) == 1 and not users else None


def _environment(value: object) -> str:
    if value == "custom" or (isinstance(value, str) and value in ENVIRONMENTS):
        return str(value)
    raise Wrong('must be "production", "test" or "custom"')


def _servers(table: Table, environment: str | None) -> Servers | None:
    revocation_url = table.optional("revocation_url", fields.endpoint)
    if environment is None:  # already a fault: check these on their own
        table.optional("id_server", fields.url)
        table.optional("token_url", fields.endpoint)
        table.optional("api_url", fields.url)
        return None
    if environment != "custom":
        only_custom = f'goes with environment = "custom" only: "{environment}" has its own'
        table.refuse(
            dict.fromkeys(("id_server", "token_url", "revocation_url", "api_url"), only_custom)
        )
        return ENVIRONMENTS[environment]
    if table.has("token_url"):
        table.refuse({"id_server": "is one server too many: token_url is there already"})
        url = table.optional("token_url", fields.endpoint) or ""
        base = url.removesuffix(TOKEN_PATH)
        api_url = table.required("api_url", fields.url, '"https://…", the API')
        path = "" if base == url else TOKEN_PATH
        return Servers(base, api_url, path, revocation_url, "") if base and api_url else None
    table.refuse({"revocation_url": "goes with token_url only"})
    id_server = table.required("id_server", fields.url, '"https://…", the token server')
    api_url = table.required("api_url", fields.url, '"https://…", the API')
    return Servers(id_server, api_url) if id_server and api_url else None


def _client_secret(table: Table, client_id: str) -> ClientSecret | None:
    auth = table.optional("client_auth", _client_auth)
    source = _secret(table, "client_secret", client_id)
    if source is None:
        if not any(map(table.has, CLIENT_SECRET_KEYS)):
            table.refuse({"client_auth": f"goes with one of {', '.join(CLIENT_SECRET_KEYS)} only"})
        return None
    return ClientSecret(source, auth or "basic")


def _client_auth(value: object) -> Literal["basic", "post"]:
    match value:
        case "basic":
            return "basic"
        case "post":
            return "post"
        case _:
            raise Wrong('must be "basic" or "post"')


def _secret(table: Table, what: str, username: str) -> PasswordSource | None:
    """Return where a secret is; `what`: the beginning of its keys; `username`: its name in a keyring."""
    keys = (key for key in (*PASSWORD_KEYS, *CLIENT_SECRET_KEYS) if key.startswith(what))
    given = [key for key in keys if key in table.values]
    for key in given[1:]:
        table.note(f"is one source too many: {given[0]} is there already", key)
    directory = table.directory(f"{what}_file")
    path = table.optional(f"{what}_file", partial(fields.path, directory=directory))
    credential = table.optional(f"{what}_credential", fields.credential)
    argv = table.optional(f"{what}_command", fields.argv)
    kept = table.optional(f"{what}_environment", fields.variables)
    if not table.has(f"{what}_command"):
        table.refuse({f"{what}_environment": f"goes with {what}_command only"})
    variable = table.optional(f"{what}_env", fields.variable)
    service = table.optional(f"{what}_keyring", fields.name)
    if path is not None:
        return PasswordFile(path)
    if credential is not None:
        return PasswordCredential(credential)
    if argv is not None:
        return PasswordCommand(argv, kept or ())
    if variable is not None:
        return PasswordEnv(variable)
    return None if service is None else PasswordKeyring(service, username)


def _policy(table: Table) -> Policy:
    before = partial(fields.duration, least=MIN_REFRESH_BEFORE, most=MAX_REFRESH_BEFORE)
    lifetime = partial(
        fields.duration, least=MIN_REFRESH_TOKEN_LIFETIME, most=MAX_REFRESH_TOKEN_LIFETIME
    )
    return Policy(
        table.optional("refresh_before", before) or DEFAULT_POLICY.refresh_before,
        table.optional("refresh_token_lifetime", lifetime) or DEFAULT_POLICY.refresh_token_lifetime,
    )


def _some(names: Mapping[str, object], most: int = 10) -> str:
    """Return the names of the profiles, or only the first of very many."""
    first = list(names)[:most]
    return ", ".join(first) + (", …" if len(names) > most else "")
