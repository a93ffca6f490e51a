"""Where a fleet's store is: what the URLs of all engines have in common."""

import re
from collections.abc import Sequence
from dataclasses import KW_ONLY
from typing import ClassVar, Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from openfit_token._shared.frozen import frozen
from openfit_token._shared.origin import is_loopback
from openfit_tokend.core.settings import fields
from openfit_tokend.core.settings.table import Wrong

MAX_HOSTS: Final = 16
"""Hosts of a store: more than any cluster of one has members."""

_URL: Final = re.compile(
    r"(?P<scheme>[a-z+]+)://"
    r"(?:(?P<user>[^@/?#]+)@)?(?P<hosts>[^@/?#]+)(?:/(?P<path>[^/?#]*))?(?:\?(?P<query>[^#]*))?"
)
_HOST: Final = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+|%2F[^:]*))(?::(?P<port>[0-9]{1,5}))?"
)
_HOSTS: Final = "must name its hosts as in db1.example.org:5432,db2.example.org"


@frozen
class Host:
    """One address of the store. `name` of PostgreSQL's may be the directory of its Unix socket."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"

    @property
    def is_socket(self) -> bool:
        """Return whether it is a Unix socket."""
        return self.name.startswith("/")


@frozen
class Place:
    """A table of a store, or what an engine has in its place. `hosts`: as they are tried in turn.

    `tls`: its certificate is verified by `ca_file`, or by what the system trusts. Without: its hosts
    are all on this machine, and `loopback_user` may listen there, besides root and the daemon's user.
    """

    extra: ClassVar[str]
    """The extra of this distribution that a fleet with this engine needs."""

    _: KW_ONLY
    hosts: tuple[Host, ...]
    tls: bool
    table: str
    ca_file: str | None = None
    loopback_user: str | int | None = None


class Url(NamedTuple):
    """A store's URL, taken apart. `asks_tls`: it has an option for it."""

    scheme: str
    user: str | None
    hosts: tuple[Host, ...]
    path: str | None
    asks_tls: bool
    ca_file: str | None

    @property
    def is_near(self) -> bool:
        """Return whether all hosts are on this machine."""
        return all(host.is_socket or is_loopback(host.name) for host in self.hosts)


def url(value: object, ports: dict[str, int], forms: Sequence[str]) -> Url:
    """Return a URL's parts. `ports`: the known schemes, each with its port; `forms`: for people."""
    parts = _URL.fullmatch(fields.text(value))
    if parts is None or parts["scheme"] not in ports:
        raise Wrong(f"must be {', or '.join(forms)}")
    user = None if parts["user"] is None else unquote(parts["user"])
    if user is not None and ":" in user:
        raise Wrong("must be a URL without a password: use store_password_file")
    hosts = tuple(_host(each, ports[parts["scheme"]]) for each in parts["hosts"].split(","))
    if len(hosts) > MAX_HOSTS:
        raise Wrong(f"must not name more than {MAX_HOSTS} hosts")
    path = None if parts["path"] is None else unquote(parts["path"])
    return Url(parts["scheme"], user, hosts, path, *_tls(parts["query"] or ""))


def _host(text: str, port: int) -> Host:
    found = _HOST.fullmatch(text)
    if found is None:
        raise Wrong(_HOSTS)
    number = port if found["port"] is None else int(found["port"])
    if not 0 < number <= fields.MAX_PORT:
        raise Wrong(f"must have ports from 1 to {fields.MAX_PORT}")
    return Host(unquote(found["ipv6"] or found["name"]), number)


def _tls(query: str) -> tuple[bool, str | None]:
    """Return whether a URL's query asks for TLS, and the file that `sslrootcert` names there."""
    path, options = None, parse_qsl(query, keep_blank_values=True)
    for key, value in options:
        if key == "sslrootcert":
            path = value
            if not path.startswith("/"):
                raise Wrong("must have an absolute path as its sslrootcert")
        elif key != "sslmode":
            raise Wrong("must not have options but sslrootcert")
        elif value != "verify-full":
            raise Wrong("must not have another sslmode than verify-full")
    return bool(options), path
