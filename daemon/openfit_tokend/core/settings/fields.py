"""Parsers of single values of the configuration: `object` in, our types out, or Wrong.

Messages say what is expected and never repeat the value: it may be a secret in the wrong place.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, TypeVar, cast
from urllib.parse import SplitResult, urlsplit

from openfit_token._shared.durations import UNITS, seconds_of
from openfit_token._shared.origin import PORTS, is_loopback
from openfit_tokend.core.settings.table import MAX_QUOTED, SystemText, Wrong

T = TypeVar("T")

MAX_NAME: Final = 100
"""Characters of a user name or client_id: IdentityServer refuses longer ones, and counts them."""
MAX_SCOPE: Final = 300
"""Characters: IdentityServer's limit."""
MAX_TEXT: Final = 2000
"""Characters of a URL, a path or an argument: beyond any in use, and half of PATH_MAX."""
MAX_ITEMS: Final = 100
"""Items of a list: groups, or arguments of a command."""
MAX_SOCKET_PATH: Final = 107 - len("..4194304")
"""Bytes: what `sockaddr_un` holds, less the final NUL (unix(7)). For a moment, while it is made, the
socket's name is `.NAME.PID`."""
MAX_PORT: Final = 65535
MAX_UID: Final = 2**32 - 1
"""This one is nobody's."""

RESERVED: Final = frozenset(
    {
        *("grant_type", "scope", "username", "password", "refresh_token"),
        *("client_id", "client_secret", "client_assertion", "client_assertion_type"),
    }
)
"""Fields of a token request that are no further ones: each is sent once (RFC 6749, section 3.2)."""

_SOCKET_MODE: Final = re.compile(r"0?6[026][026]")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCOPE: Final = re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*")  # RFC 6749 section 3.3
_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_URL_QUERY: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*")  # RFC 3986 section 3.4
_PARAMETER: Final = re.compile(r"[A-Za-z0-9._-]+")  # RFC 6749 section 8.2
_URL_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*")  # RFC 3986 section 3.3
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.@\\*?\[\]!-]*(?:\.(?:service|socket|mount|swap)|\*)")
_OWN_FILE: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[^/]+)+")
_BAD_HOST: Final = f"must be a URL with a valid host, and a port from 1 to {MAX_PORT} if any"
_WILDCARDS: Final = frozenset("*?[")


def kind(value: object) -> str:
    """Return the type of a TOML value, in its author's words."""
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def flag(value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise Wrong(f"must be true or false, without quotes, not {kind(value)}")
    return value


def table(value: object) -> Mapping[str, object]:
    """Return a table."""
    if not isinstance(value, dict):
        raise Wrong(f"must be a table, not {kind(value)}")
    return cast("dict[str, object]", value)  # TOML's keys are text


def text(value: object, limit: int = MAX_TEXT) -> str:
    """Return text that isn't empty and can be printed."""
    if not isinstance(value, str):
        raise Wrong(f'must be text in quotes, such as "…", not {kind(value)}')
    if not value:
        raise Wrong("must not be empty")
    if not value.isprintable():
        raise Wrong("must not contain control or invisible characters")
    if len(value) > limit:
        raise Wrong(f"must not be longer than {limit} characters")
    return value


def name(value: object) -> str:
    """Return a name that the server compares exactly, so without blanks at either end."""
    given = text(value, MAX_NAME)
    if given != given.strip():
        raise Wrong("must not begin or end with a blank")
    return given


def account(value: object) -> SystemText:
    """Return the name of a user or a group of this machine."""
    return SystemText(name(value))


def scope(value: object) -> str:
    """Return OAuth scopes."""
    if not _SCOPE.fullmatch(given := text(value, MAX_SCOPE)):
        raise Wrong('must be scopes with one blank between them, such as "OpenFitApi"')
    return given


def variable(value: object) -> str:
    """Return the name of an environment variable."""
    if not _VARIABLE.fullmatch(given := text(value)):
        raise Wrong('must be the name of an environment variable, such as "OPENFIT_PASSWORD"')
    return given


def variables(value: object) -> tuple[str, ...]:
    """Return the names of environment variables."""
    return _each(variable, value)


def credential(value: object) -> SystemText:
    """Return the name of a systemd credential."""
    given = text(value, 255)
    if "/" in given or given in {".", ".."}:
        raise Wrong("must be the plain name of a credential, as in LoadCredential=NAME:FILE")
    return SystemText(given)


def path(value: object, directory: str) -> SystemText:
    """Return an absolute path; a relative one begins at `directory`."""
    given = text(value)
    if given.startswith("~"):
        raise Wrong("must be written out: ~ is not expanded here")
    return SystemText(given if given.startswith("/") else f"{directory}/{given}")


def own_file(value: object, directory: str) -> SystemText:
    """Return the absolute path of a file that the daemon writes, in its normal form."""
    given = path(value, directory)
    if not _OWN_FILE.fullmatch(given):
        raise Wrong("must be the path of a file, without //, /./ and /../ in it")
    return given


def socket_path(value: object) -> SystemText:
    """Return the absolute path of a Unix socket."""
    given = text(value)
    if not given.startswith("/") or given.endswith("/"):
        raise Wrong("must be the absolute path of a socket file")
    if len(given.encode()) > MAX_SOCKET_PATH:
        raise Wrong(f"must not be longer than {MAX_SOCKET_PATH} bytes")
    return SystemText(given)


def include(value: object) -> SystemText:
    """Return the path of the files to include; its last part may have wildcards."""
    directory, _, pattern = path(value, ".").rpartition("/")
    if _WILDCARDS.intersection(directory):
        raise Wrong("must have its wildcards in the last part, after the last /")
    if not pattern:
        raise Wrong('must name files, such as "conf.d/*.toml", not a directory')
    return SystemText(text(value))


def socket_mode(value: object) -> int:
    """Return the mode of a socket. Connecting needs write access, so read access alone is refused."""
    if not isinstance(value, str) or not _SOCKET_MODE.fullmatch(value):
        raise Wrong(
            'must be octal in quotes: "0600", "0660" or "0666"'
            " (connecting needs write access; execute permission has no meaning)"
        )
    return int(value, 8)


def duration(value: object, least: float, most: float) -> float:
    """Return seconds between `least` and `most`: a number, or text with a unit."""
    seconds = 0.0
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # Compared before it is converted: TOML has integers that no float holds, inf and nan.
        seconds = float(value) if least <= value <= most else 0.0
    elif isinstance(value, str):
        seconds = seconds_of(value) or 0.0
    if not least <= seconds <= most:
        raise Wrong(
            f"must be from {_spelled(least)} to {_spelled(most)}:"
            ' seconds as a number, or text such as "90s", "5m", "1h", "30d"'
        )
    return seconds


def user(value: object) -> SystemText | int:
    """Return a user's name, or a uid."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < MAX_UID:
            raise Wrong("must be a user's name, or a uid")
        return value
    return account(value)


def texts(value: object) -> tuple[SystemText, ...]:
    """Return a list of arguments, users or groups."""
    return _each(lambda item: SystemText(text(item)), value)


def units(value: object) -> tuple[str, ...]:
    """Return patterns of units that may load credentials."""
    return _each(_unit, value)


def _unit(value: object) -> str:
    if not _UNIT.fullmatch(given := text(value)):
        raise Wrong('must be a unit or a pattern of units, such as "nightly@*.service"')
    return given


def _each(parse: Callable[[object], T], value: object) -> tuple[T, ...]:
    if not isinstance(value, list):
        raise Wrong(f'must be a list of texts, such as ["…"], not {kind(value)}')
    items = cast("Sequence[object]", value)
    if len(items) > MAX_ITEMS:
        raise Wrong(f"must not have more than {MAX_ITEMS} items")
    return tuple(_item(parse, number, item) for number, item in enumerate(items, 1))


def argv(value: object) -> tuple[SystemText, ...]:
    """Return a command: its program, then its arguments."""
    given = texts(value)
    if not given:
        raise Wrong('must be a program and its arguments, such as ["pass", "show", "openfit"]')
    if "/" in given[0] and not given[0].startswith("/"):
        raise Wrong("must begin with an absolute path, or with a name to look up in $PATH")
    return given


def url(value: object) -> str:
    """Return a URL in its normal form: lower case except for the path, no slash at the end."""
    return _normal(text(value))


def endpoint(value: object) -> str:
    """Return the URL of an endpoint: its path's last slash and its query belong to it (RFC 6749, section 3.2)."""
    base, mark, query = text(value).partition("?")
    if not _URL_QUERY.fullmatch(query):
        raise Wrong("must be a URL without fragment (#), whose query has plain characters only")
    slash = "/" if base.endswith("/") else ""
    return f"{_normal(base)}{slash}{mark}{query}"


def form(value: object) -> tuple[tuple[str, str], ...]:
    """Return fields that are sent with each token request, sorted by name."""
    given = table(value)
    if len(given) > MAX_ITEMS:
        raise Wrong(f"must not have more than {MAX_ITEMS} fields")
    return tuple(sorted((name, _form_value(name, each)) for name, each in given.items()))


def _form_value(name: str, value: object) -> str:
    if not _PARAMETER.fullmatch(name):
        raise Wrong("must have names of letters, digits and . _ - only")
    if name.lower() in RESERVED:  # ASP.NET takes both for one
        raise Wrong(f"must not have {name}: the daemon sends it, or other settings say it")
    try:
        return text(value)
    except Wrong as wrong:
        raise Wrong(f"field {name[:MAX_QUOTED]} {wrong}") from None


@lru_cache  # a thousand profiles may have one server
def _normal(given: str) -> str:
    if "?" in given or "#" in given:
        raise Wrong("must be a URL without query and fragment (? and #)")
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        raise Wrong(_BAD_HOST) from None
    host = parts.hostname or ""
    _check_url(parts, host, port)
    place = f"[{host}]" if ":" in host else host
    number = "" if port in {None, PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{place}{number}{parts.path.rstrip('/')}"


def _check_url(parts: SplitResult, host: str, port: int | None) -> None:
    if parts.scheme not in PORTS:
        raise Wrong("must be a URL that begins with https://")
    if "@" in parts.netloc:
        raise Wrong("must be a URL without user and password")
    if not _is_host(host, parts.netloc) or port == 0 or parts.netloc.endswith(":"):
        raise Wrong(_BAD_HOST)
    if not _URL_PATH.fullmatch(parts.path):
        raise Wrong("must be a URL whose path has plain characters only")
    if parts.scheme == "http" and not is_loopback(host):
        raise Wrong("must begin with https:// (http:// is for localhost, 127.0.0.0/8 and ::1)")


def _is_host(host: str, netloc: str) -> bool:
    if "[" in netloc:
        address = _address(host)
        return address is not None and address.version == 6 and "%" not in host  # noqa: PLR2004 -- IPv6
    return _HOST.fullmatch(host) is not None


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _item(parse: Callable[[object], T], number: int, item: object) -> T:
    try:
        return parse(item)
    except Wrong as wrong:
        raise Wrong(f"item {number} {wrong}") from None


def _spelled(seconds: float) -> str:
    """Return whole seconds in the largest unit that needs no fraction."""
    unit, size = next((unit, size) for unit, size in reversed(UNITS.items()) if seconds % size == 0)
    return f"{seconds / size:g} {unit}"
