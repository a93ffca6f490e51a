"""From the table `[fleet]` to the settings of a fleet."""

import re
from functools import partial
from typing import Final
from urllib.parse import parse_qsl, unquote

from openfit_token._shared.origin import is_loopback
from openfit_tokend.core.settings import (
    FleetSettings,
    PasswordCredential,
    PasswordFile,
    SmallSecret,
    fields,
)
from openfit_tokend.core.settings.store import EtcdPlace, Host, PostgreSQLPlace, StorePlace
from openfit_tokend.core.settings.table import Table, Wrong

FLEET_KEYS: Final = (
    "store",
    "store_password_file",
    "store_password_credential",
    "key_file",
    "key_credential",
    "member",
    "table",
    "loopback_user",
)
DEFAULT_TABLE: Final = "openfit_fleet"
MAX_KEYS: Final = 8
"""Keys of a fleet: one that seals, and some that were in use before or will be."""
MAX_HOSTS: Final = 16
"""Hosts of a store: more than any cluster of one has members."""

_TABLE: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_URL: Final = re.compile(
    r"(?P<scheme>postgresql|etcd|etcd\+http)://"
    r"(?:(?P<user>[^@/?#]+)@)?(?P<hosts>[^@/?#]+)(?:/(?P<database>[^/?#]*))?(?:\?(?P<query>[^#]*))?"
)
_HOST: Final = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+|%2F[^:]*))(?::(?P<port>[0-9]{1,5}))?"
)
_PORTS: Final = {"postgresql": 5432, "etcd": 2379, "etcd+http": 2379}
_EXAMPLE: Final = '"postgresql://openfit@db.example.org/openfit"'
_HOSTS: Final = "must name its hosts as in db1.example.org:5432,db2.example.org"


def fleet(table: Table) -> FleetSettings | None:
    """Return the settings of a fleet; None if they have a fault, which was noted."""
    name = table.optional("table", _table_name) or DEFAULT_TABLE
    user = table.optional("loopback_user", fields.user)
    store = table.required("store", partial(store_place, table=name, loopback_user=user), _EXAMPLE)
    if store is not None and store.tls:
        known = "goes with a store without TLS only: here its certificate says who it is"
        table.refuse({"loopback_user": known})
    password = _small_secret(table, "store_password")
    key = _small_secret(table, "key")
    member = table.optional("member", fields.name)
    if "key_file" not in table.values and "key_credential" not in table.values:
        table.note(
            'is missing: write key_file = "…"; openfit-tokend fleet-key makes one', "key_file"
        )
    table.refuse(
        {"store_password": "a password doesn't belong in this file: use store_password_file"}
    )
    table.refuse_unknown(FLEET_KEYS, ("store_password",))
    if store is None or key is None:
        return None
    return FleetSettings(store=store, password=password, key=key, member=member)


def store_place(value: object, table: str, loopback_user: str | int | None = None) -> StorePlace:
    """Return where a store is, from its URL."""
    parts = _URL.fullmatch(fields.text(value))
    if parts is None:
        raise Wrong(
            "must be postgresql://USER@HOST[:PORT][,HOST…]/DATABASE, or etcd://HOST[:PORT][,HOST…]"
        )
    scheme = parts["scheme"]
    user = None if parts["user"] is None else unquote(parts["user"])
    if user is not None and ":" in user:
        raise Wrong("must be a URL without a password: use store_password_file")
    hosts = tuple(_host(each, _PORTS[scheme]) for each in parts["hosts"].split(","))
    if len(hosts) > MAX_HOSTS:
        raise Wrong(f"must not name more than {MAX_HOSTS} hosts")
    near = all(host.name.startswith("/") or is_loopback(host.name) for host in hosts)
    asks_tls, ca_file = _tls(parts["query"] or "")
    if scheme == "postgresql":
        database = unquote(parts["database"] or "")
        if not user or not database:
            raise Wrong("must name the user and the database: postgresql://USER@HOST/DATABASE")
        if asks_tls and any(host.name.startswith("/") for host in hosts):
            raise Wrong("must not have sslmode or sslrootcert: there is no TLS at a Unix socket")
        return PostgreSQLPlace(
            hosts=hosts,
            tls=asks_tls or not near,
            user=user,
            database=database,
            table=table,
            ca_file=ca_file,
            loopback_user=loopback_user,
        )
    if parts["database"] is not None or any(host.name.startswith("/") for host in hosts):
        raise Wrong("must be etcd://HOST[:PORT][,HOST…], without a path")
    if scheme == "etcd+http" and not near:
        raise Wrong("must begin with etcd:// (etcd+http:// is for localhost, 127.0.0.0/8 and ::1)")
    if scheme == "etcd+http" and asks_tls:
        raise Wrong("must begin with etcd:// to have sslmode or sslrootcert")
    return EtcdPlace(
        hosts=hosts,
        tls=scheme == "etcd",
        user=user,
        table=table,
        ca_file=ca_file,
        loopback_user=loopback_user,
    )


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


def _table_name(value: object) -> str:
    if not _TABLE.fullmatch(given := fields.text(value)):
        raise Wrong("must be a name of at most 63 lower-case letters, digits and _, no digit first")
    return given


def _small_secret(table: Table, key: str) -> SmallSecret | None:
    file, credential = f"{key}_file", f"{key}_credential"
    if file in table.values and credential in table.values:
        table.note(f"is one source too many: {file} is there already", credential)
    path = table.optional(file, partial(fields.path, directory=table.source.directory))
    name = table.optional(credential, fields.credential)
    if path is not None:
        return PasswordFile(path)
    return None if name is None else PasswordCredential(name)
