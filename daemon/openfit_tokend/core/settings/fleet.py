"""From the table `[fleet]` to the settings of a fleet."""

import re
from functools import partial
from typing import Final

from openfit_tokend.core.settings import fields
from openfit_tokend.core.settings.engines import store_place
from openfit_tokend.core.settings.table import Table, Wrong
from openfit_tokend.core.settings.values import (
    FleetSettings,
    PasswordCredential,
    PasswordFile,
    SmallSecret,
)

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

_TABLE: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_EXAMPLE: Final = '"postgresql://openfit@db.example.org/openfit"'


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
