"""From the table `[fleet]` to the settings of a fleet."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote

from openfit_tokend.core.settings import (
    FleetSettings,
    PasswordCredential,
    PasswordFile,
    Place,
    SmallSecret,
    StoreAddress,
    fields,
)
from openfit_tokend.core.settings.table import Table, Wrong

FLEET_KEYS: Final = (
    "store",
    "store_password_file",
    "store_password_credential",
    "key_file",
    "key_credential",
    "member",
    "table",
)
DEFAULT_TABLE: Final = "openfit_fleet"
MAX_KEYS: Final = 8
"""Keys of a fleet: one that seals, and some that were in use before or will be."""
MAX_HOSTS: Final = 16
"""Hosts of a store: more than any cluster of one has members."""

_TABLE: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_ADDRESS: Final = re.compile(
    r"(?P<scheme>postgresql|etcd|etcd\+http)://"
    r"(?:(?P<user>[^@/?#]+)@)?(?P<hosts>[^@/?#]+)(?:/(?P<database>[^/?#]*))?(?:\?(?P<query>[^#]*))?"
)
_HOST: Final = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+|%2F[^:]*))(?::(?P<port>[0-9]{1,5}))?"
)
_PORTS: Final = {"postgresql": 5432, "etcd": 2379}
_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "postgresql": ("sslrootcert", "sslcert", "sslkey"),
    "etcd": ("sslrootcert",),  # its gateway refuses certificates of clients
}
_EXAMPLE: Final = '"postgresql://openfit@db.example.org/openfit"'
_HOSTS: Final = "must name its hosts as in db1.example.org:5432,db2.example.org"


def fleet(table: Table) -> FleetSettings | None:
    """Return the settings of a fleet; None if they have a fault, which was noted."""
    store = table.required("store", store_address, _EXAMPLE)
    password = _small_secret(table, "store_password")
    key = _small_secret(table, "key")
    member = table.optional("member", fields.name)
    name = table.optional("table", _table_name)
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
    return FleetSettings(
        store=store, key=key, password=password, member=member, table=name or DEFAULT_TABLE
    )


def store_address(value: object) -> StoreAddress:
    """Return the address of a store, as a URL has it."""
    parts = _ADDRESS.fullmatch(fields.text(value))
    if parts is None:
        raise Wrong(
            "must be postgresql://USER@HOST[:PORT][,HOST…]/DATABASE, or etcd://HOST[:PORT][,HOST…]"
        )
    engine: Literal["postgresql", "etcd"]
    engine = "postgresql" if parts["scheme"] == "postgresql" else "etcd"
    user = None if parts["user"] is None else unquote(parts["user"])
    if user is not None and ":" in user:
        raise Wrong("must be a URL without a password: use store_password_file")
    database = unquote(parts["database"] or "") or None
    if (engine == "postgresql") != (database is not None):
        raise Wrong("must end with /DATABASE if it is PostgreSQL's, and else have no path")
    places = tuple(_place(each, _PORTS[engine]) for each in parts["hosts"].split(","))
    if len(places) > MAX_HOSTS:
        raise Wrong(f"must not name more than {MAX_HOSTS} hosts")
    if engine == "etcd" and any(place.host.startswith("/") for place in places):
        raise Wrong(_HOSTS)
    files = _files(parts["query"] or "", engine)
    return StoreAddress(
        engine=engine,
        places=places,
        user=user,
        database=database,
        tls=_tls(parts["scheme"], places),
        ca_file=files.get("sslrootcert"),
        certificate_file=files.get("sslcert"),
        certificate_key_file=files.get("sslkey"),
    )


def _place(text: str, port: int) -> Place:
    found = _HOST.fullmatch(text)
    if found is None:
        raise Wrong(_HOSTS)
    number = port if found["port"] is None else int(found["port"])
    if not 0 < number <= fields.MAX_PORT:
        raise Wrong(f"must have ports from 1 to {fields.MAX_PORT}")
    return Place(unquote(found["ipv6"] or found["name"]), number)


def _tls(scheme: str, places: tuple[Place, ...]) -> bool:
    near = all(place.is_near for place in places)
    if scheme == "etcd+http" and not near:
        raise Wrong("must begin with etcd:// (etcd+http:// is for localhost, 127.0.0.0/8 and ::1)")
    return not near if scheme == "postgresql" else scheme == "etcd"


def _files(query: str, engine: str) -> dict[str, str]:
    """Return the files that the URL's query names."""
    files: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key == "sslmode" and value == "verify-full":
            continue  # it is what is done
        if key == "sslmode":
            raise Wrong("must not have another sslmode than verify-full, which needs no mention")
        if key not in _FILES[engine]:
            raise Wrong(f"must not have options but {', '.join(_FILES[engine])}")
        if not value.startswith("/"):
            raise Wrong(f"must have an absolute path as its {key}")
        files[key] = value
    return files


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
