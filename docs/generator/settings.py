"""The reference of all settings: a text for each, with the parser's own constants."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from openfit_token._shared.origin import ANYBODY
from openfit_token._shared.protocol import MAX_PASSWORD
from openfit_tokend.config.config_file import MAX_INCLUDED, MAX_SIZE
from openfit_tokend.config.passwords import MAX_CLIENT_SECRET, MAX_SECRET_FILE
from openfit_tokend.core.settings import fields, fleet, parser, store
from openfit_tokend.host.child_process import ENVIRONMENT


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: what it accepts, its default, what it does, an example."""

    takes: str
    default: str
    about: str
    example: str
    """The value, as TOML."""


def span(seconds: float) -> str:
    """Write whole seconds as the configuration does."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0 and seconds >= size:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


_NONE: Final = "none"
_NAME: Final = f"text, at most {fields.MAX_NAME} characters"
_TIME: Final = 'seconds as a number, or text with a unit: `"90s"`, `"5m"`, `"1h"`, `"30d"`'
_COMMAND: Final = f"a list of at most {fields.MAX_ITEMS} texts: a program and its arguments"
_USER: Final = f'a user\'s name in quotes, or a uid as a number; or, in these words, `"{ANYBODY}"`'
_NAMES: Final = f"a list of at most {fields.MAX_ITEMS} names"

TOP: Final[Mapping[str, Setting]] = {
    "socket": Setting(
        f"an absolute path, at most {fields.MAX_SOCKET_PATH} bytes",
        "root: `/run/openfit-tokend/socket`; else `$XDG_RUNTIME_DIR/openfit-tokend/socket`, and `~/.openfit-tokend/socket`"
        " if there is no such directory",
        "Where the daemon listens. `--socket` overrides it, and a socket that systemd passes overrides"
        " both. A reload doesn't move it. An unset `$XDG_RUNTIME_DIR` counts as `/run/user/UID`. The socket's directory must belong to root or the daemon's user, and be"
        " writable by nobody else. Clients need `--socket` or `$OPENFIT_TOKEN_SOCKET` to find a socket that isn't at"
        " a default path; `init` and `run` print the line to export.",
        '"/run/openfit-tokend/socket"',
    ),
    "socket_mode": Setting(
        "octal, as a string: the owner's digit is 6, the others are 6, 2 or 0",
        "none: 0600 where the daemon makes the socket",
        "Who may connect, which needs write permission. For a socket created by systemd its unit decides.",
        '"0660"',
    ),
    "socket_group": Setting(
        "a group's name",
        "the daemon's own group",
        "The group of the socket. For a socket created by systemd its unit decides.",
        '"openfit"',
    ),
    "http_socket": Setting(
        "an absolute path",
        "none: HTTP isn't spoken",
        "Where the daemon also speaks [HTTP](protocol.md#the-http-face), with `socket_mode` and `socket_group`; its directory is"
        " judged as that of `socket`. A socket that systemd passes (`openfit-tokend-http.socket`) overrides it.",
        '"/run/openfit-tokend/http.socket"',
    ),
    "default_profile": Setting(
        "a profile's name",
        "the only one the caller may use",
        "The profile that is used when a call names none.",
        '"main"',
    ),
    "admin_groups": Setting(
        _NAMES,
        _NONE,
        "Groups whose members may log in, log out and reload, besides root and the daemon's own user. They"
        " may use every profile.",
        '["openfit-admin"]',
    ),
    "audit": Setting(
        "`true` or `false`",
        "`true`",
        "Whether the log names, [once for each token](security.md#who-got-a-token), each caller that gets one: its uid, unit and"
        " program.",
        "false",
    ),
    "include": Setting(
        "a path, relative to this file; its last part may have wildcards",
        _NONE,
        f"More files, with `[profiles.NAME]` tables only, at most {MAX_INCLUDED:,} of them, each of at most"
        f" {MAX_SIZE // 1024 // 1024} MiB. A profile that is defined twice is an error. The directory must"
        " exist. `openfit-tokend init` writes a file for each profile there.",
        '"conf.d/*.toml"',
    ),
    "fleet": Setting(
        "a table, `[fleet]`",
        _NONE,
        "Daemons that share each session: see [below](#a-fleet). A change needs a restart.",
        '{ store = "postgresql://openfit@db.example.org/openfit", key_file = "fleet.key" }',
    ),
    "defaults": Setting(
        "a table, `[defaults]`, with a profile's keys except `token_file`",
        _NONE,
        "What holds for each profile that doesn't say otherwise: see [below](#what-profiles-share).",
        '{ client_id = "my-client" }',
    ),
    "profiles": Setting(
        "tables, `[profiles.NAME]`",
        "needed: at least one",
        "The profiles: see below. A name consists of at most 64 letters, digits and `_ . -`, and begins"
        " with a letter or digit. Quote a name that contains a dot.",
        "{}",
    ),
}

PROFILE: Final[Mapping[str, Setting]] = {
    "environment": Setting(
        '`"production"`, `"test"` or `"custom"`',
        "needed",
        "Which OpenFIT. `custom` needs `api_url`, and `id_server` or `token_url`.",
        '"production"',
    ),
    "id_server": Setting(
        f"an https URL, at most {fields.MAX_TEXT} characters; http for localhost, 127.0.0.0/8 and ::1",
        "needed with `custom`, unless there is a `token_url`; else refused",
        "The token server. `/connect/token` is appended.",
        '"https://ids.example.org"',
    ),
    "token_url": Setting(
        f"an https URL, at most {fields.MAX_TEXT} characters, maybe with a query; http for localhost, 127.0.0.0/8 and ::1",
        _NONE,
        "The token endpoint of [another OAuth 2.0 server](#another-token-server), instead of `id_server`: the"
        " whole URL. It goes with `custom`. `status` shows it to all who may use the profile, so put no key into its query.",
        '"https://login.example.org/realms/main/protocol/openid-connect/token"',
    ),
    "revocation_url": Setting(
        "a URL, as for `token_url`",
        "none: a logout revokes nothing, unless `token_url` ends in `/connect/token`",
        "Where that server revokes refresh tokens (RFC 7009).",
        '"https://login.example.org/realms/main/protocol/openid-connect/revoke"',
    ),
    "api_url": Setting(
        f"an https URL, at most {fields.MAX_TEXT} characters; http for localhost, 127.0.0.0/8 and ::1",
        "needed with `custom`, else refused",
        "The API. The daemon doesn't call it; it passes the URL to clients.",
        '"https://api.example.org"',
    ),
    **{
        key.replace("password", "client_secret"): Setting(
            takes,
            _NONE,
            f"The secret of the client, for a server that demands one: from {source}, as for `{key}`. It has at most"
            f" {MAX_CLIENT_SECRET:,} characters.",
            example,
        )
        for key, takes, source, example in (
            ("password_file", "a path, relative to this file", "a file", '"main.client"'),
            (
                "password_credential",
                "the name of a systemd credential",
                "a credential",
                '"password_main.client"',
            ),
            ("password_command", _COMMAND, "a command", '["pass", "show", "openfit-client"]'),
            (
                "password_env",
                "the name of an environment variable",
                "a variable",
                '"OPENFIT_CLIENT_SECRET"',
            ),
            (
                "password_keyring",
                _NAME,
                "the keyring, under this service and `client_id`",
                '"openfit"',
            ),
        )
    },
    "client_secret_environment": Setting(
        f"a list of at most {fields.MAX_ITEMS} names of environment variables",
        _NONE,
        "For `client_secret_command`, as `password_environment` is for `password_command`.",
        '["VAULT_ADDR", "VAULT_TOKEN"]',
    ),
    "client_auth": Setting(
        '`"basic"` or `"post"`',
        '`"basic"`',
        "Where the client's secret is put (RFC 6749, section 2.3.1): into a header, or into the form. It goes with a"
        " `client_secret_` key. Servers call them `client_secret_basic` and `client_secret_post`.",
        '"post"',
    ),
    "form": Setting(
        f"a table of at most {fields.MAX_ITEMS} texts, whose names have letters, digits and `. _ -`",
        _NONE,
        "More fields of each login and refresh, as some servers want them: `audience`, `resource`, `acr_values`. What the"
        " daemon sends itself is refused here. Nothing in it is kept secret. A change ends the session.",
        '{ audience = "https://api.example.org" }',
    ),
    "client_id": Setting(_NAME, "needed", "As given by OpenFIT's support.", '"my-client"'),
    "username": Setting(_NAME, "needed", "The user name of the login.", '"service@example.org"'),
    "password_file": Setting(
        "a path, relative to this file",
        _NONE,
        f"A file that contains the password, at most {MAX_SECRET_FILE:,} bytes. Nobody but root and the daemon's user"
        " may be able to read it; a group only if it is [private](security.md#which-paths-are-trusted) to them. One newline"
        " at its end is ignored.",
        '"main.password"',
    ),
    "password_credential": Setting(
        "the name of a systemd credential",
        _NONE,
        "The password is the content of that file in `$CREDENTIALS_DIRECTORY`. A changed one needs a restart"
        " of the service, which costs no session, or with systemd 260 and newer `systemctl reload`.",
        '"password_main"',
    ),
    "password_command": Setting(
        _COMMAND,
        _NONE,
        "The password is what the command prints. No shell runs it. A program that others can exchange is"
        " [refused](security.md#which-paths-are-trusted). From the daemon's environment it gets"
        f" {_listed(ENVIRONMENT)}, and what `password_environment` names. None of its output is logged, since a"
        " shell's trace may contain the password.",
        '["pass", "show", "openfit"]',
    ),
    "password_environment": Setting(
        f"a list of at most {fields.MAX_ITEMS} names of environment variables",
        _NONE,
        "Variables of the daemon's environment that are passed to `password_command`, such as the address of a"
        " secret manager and how to log in to it. Set them where the daemon is started; in a unit, with"
        " `Environment=` or `EnvironmentFile=`.",
        '["VAULT_ADDR", "VAULT_TOKEN"]',
    ),
    "password_env": Setting(
        "the name of an environment variable",
        _NONE,
        "The password is the value of that variable when the daemon started.",
        '"OPENFIT_PASSWORD"',
    ),
    "password_keyring": Setting(
        _NAME,
        _NONE,
        "The password is in the keyring of the daemon's user, under this service and `username`. This needs"
        " the extra `keyring`.",
        '"openfit"',
    ),
    "refresh_before": Setting(
        f"{_TIME}; from {span(parser.MIN_REFRESH_BEFORE)} to {span(parser.MAX_REFRESH_BEFORE)}",
        f'`"{span(parser.DEFAULT_POLICY.refresh_before)}"`',
        "How long before it expires a token is replaced; a quarter of its lifetime if that is shorter.",
        '"5m"',
    ),
    "refresh_token_lifetime": Setting(
        f"{_TIME}; from {span(parser.MIN_REFRESH_TOKEN_LIFETIME)} to"
        f" {span(parser.MAX_REFRESH_TOKEN_LIFETIME)}",
        f'`"{span(parser.DEFAULT_POLICY.refresh_token_lifetime)}"`',
        "How long the server lets a session live after its login. After four fifths of that a new login is"
        " tried; if it fails, the session continues.",
        '"30d"',
    ),
    "scope": Setting(
        f"scopes separated by single spaces, at most {fields.MAX_SCOPE} characters",
        f'`"{parser.DEFAULT_SCOPE}"`',
        "The scope that a login requests; with `token_url`, none by default. Without `offline_access` there is no"
        " refresh token, and each token costs a login.",
        '"OpenFitApi offline_access"',
    ),
    "allow_users": Setting(
        _NAMES,
        "everyone who can open the socket",
        "Users who may use the profile, besides operators. If there is `allow_groups` too, either list is"
        " enough.",
        '["alice"]',
    ),
    "allow_groups": Setting(
        _NAMES,
        "everyone who can open the socket",
        "Groups whose members may use the profile, besides operators. Users and groups may come from LDAP or the"
        " like: the system service starts after `nss-user-lookup.target`. An unknown name lets nobody in, and is logged; reload once it exists.",
        '["etl"]',
    ),
    "allow_units": Setting(
        "a list of units, or of patterns with `*`, `?` and `[…]`",
        "all units",
        "Units of systemd that may have the token as a credential, by"
        " [`LoadCredential=`](recipes.md#a-systemd-timer-whose-job-may-not-ask-loadcredential). Any other fails when it starts"
        " (243/CREDENTIALS), and the log says why. It doesn't count at the other sockets.",
        '["nightly@*.service"]',
    ),
    "token_file": Setting(
        "a path, relative to this file, without `//`, `/./` and `/../`",
        _NONE,
        "A file that contains the access token while it is valid. It is replaced atomically. Before the first login, in a"
        " long outage and while the daemon is stopped or restarted there is none: try again later. Only the daemon's user"
        " can read it (mode 0600), or one group as well (0640). Without allow lists that is `socket_group`, else the group"
        " of a setgid directory, and none where `socket_mode` lets no group connect. With lists it is the group in `allow_groups`, if they name nothing else. The system"
        " service may not give files to groups, so its directory must be setgid to that group, by a line in"
        " `/etc/tmpfiles.d` such as `d /run/openfit-tokend-tokens/etl 2750 openfit-tokend etl -`. Two profiles can't share"
        " a file.",
        '"/run/openfit-tokend-tokens/main"',
    ),
    "ca_file": Setting(
        "a path, relative to this file",
        "the system's",
        "The certificate authorities that the token server is verified against, as PEM. A change is noticed at the"
        " next request. A file that others can write or replace is [refused](security.md#which-paths-are-trusted).",
        '"/etc/ssl/certs/our-ca.pem"',
    ),
    "loopback_user": Setting(
        _USER,
        "root and the daemon's user",
        "Who may listen where `id_server` is http, besides root and the daemon's user; goes with http only. See"
        " [security](security.md#who-is-at-the-other-end).",
        '"www-data"',
    ),
    "notify_command": Setting(
        _COMMAND,
        _NONE,
        "A command to run when the profile is locked, down, ending, degraded, or has recovered: see"
        " [operations](operations.md#being-called). A program that others can exchange is"
        " [refused](security.md#which-paths-are-trusted).",
        '["/usr/local/bin/page-me"]',
    ),
}


FLEET: Final[Mapping[str, Setting]] = {
    "store": Setting(
        f"the URL of a database, without a password, of at most {store.MAX_HOSTS} hosts",
        "needed",
        "PostgreSQL: `postgresql://USER@HOST[:PORT][,HOST…]/DATABASE`, where a host `%2Fpath` is the directory"
        " of a Unix socket. etcd: `etcd://[USER@]HOST[:PORT][,HOST…]`. `?sslrootcert=/FILE` at the end names the"
        " certificate authorities, if not the system's. TLS is always verified; only a PostgreSQL"
        " all of whose hosts are on loopback or Unix sockets is reached without it, and an etcd on loopback as"
        " `etcd+http://`. With `?sslmode=verify-full` or `?sslrootcert=` PostgreSQL has TLS on loopback too.",
        '"postgresql://openfit@db.example.org/openfit"',
    ),
    "store_password_file": Setting(
        "a path, relative to this file",
        "none: the store asks for none",
        "The password of the store's user, judged like a profile's `password_file` and read at each connection.",
        '"store.password"',
    ),
    "store_password_credential": Setting(
        "the name of a systemd credential",
        _NONE,
        "The same, as a credential.",
        '"password_fleet_store"',
    ),
    "key_file": Setting(
        "a path, relative to this file",
        "needed, or `key_credential`",
        f"The keys that seal what is stored: 1 to {fleet.MAX_KEYS} lines of 64 hexadecimal digits, the same at every"
        " daemon of the fleet. The first seals, all open. `openfit-tokend fleet-key` prints a new one. The file is judged"
        " like a password's, and read again at a reload.",
        '"fleet.key"',
    ),
    "key_credential": Setting(
        "the name of a systemd credential",
        _NONE,
        "The same, as a credential.",
        '"password_fleet_key"',
    ),
    "member": Setting(
        _NAME,
        "the host's name",
        "What this daemon is called in the status and the logs of all.",
        '"batch-3"',
    ),
    "table": Setting(
        "at most 63 lower-case letters, digits and `_`",
        f'`"{fleet.DEFAULT_TABLE}"`',
        "The table, or etcd's prefix. Two fleets in one database take two tables.",
        '"openfit_fleet"',
    ),
    "loopback_user": Setting(
        _USER,
        "root and the daemon's user",
        "Who may listen where the store is reached without TLS, besides root, the daemon's user, and the owner of a"
        " Unix socket's directory. See [security](security.md#who-is-at-the-other-end).",
        '"postgres"',
    ),
}


def top_reference() -> str:
    """Return the reference of the keys at the top of the main file."""
    return "\n\n".join(_entries(TOP, parser.TOP_KEYS))


def profile_reference() -> str:
    """Return the reference of a profile's keys."""
    return "\n\n".join(_entries(PROFILE, parser.PROFILE_KEYS))


def fleet_reference() -> str:
    """Return the reference of a fleet's keys."""
    return "\n\n".join(_entries(FLEET, fleet.FLEET_KEYS))


def environments() -> str:
    """Return the vendor's environments and their addresses."""
    rows = ["| `environment` | token server | API |", "| --- | --- | --- |"]
    rows += [
        f"| `{name}` | `{servers.id_server}` | `{servers.api_url}` |"
        for name, servers in parser.ENVIRONMENTS.items()
    ]
    return "\n".join(rows)


def passwords() -> str:
    """Return the sources of a password, and what a password must be like."""
    sources = ", ".join(f"`{key}`" for key in parser.PASSWORD_KEYS)
    return (
        f"It comes from one of {sources}; or from none, and an operator enters it with `openfit-token login"
        f" --ask`, or a refresh token with `--refresh-token`. A password has 1 to {MAX_PASSWORD} characters, none of them a control character,"
        " and doesn't begin with a byte order mark (BOM)."
    )


def _entries(settings: Mapping[str, Setting], keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:  # in the parser's order; one without words here is an error
        each = settings[key]
        yield f"### `{key}`"
        yield each.about
        yield f"- takes: {each.takes}\n- default: {each.default}"
        if key not in {"fleet", "defaults", "profiles"}:  # tables
            yield f"```toml\n{key} = {each.example}\n```"
