"""Makes a daemon's membership of a fleet from its settings.

Each engine is imported only where it is the store's: psycopg takes 20 MB.
"""

import socket
from functools import partial

from openfit_tokend.config.passwords import Passwords
from openfit_tokend.core.settings.engines import StorePlace
from openfit_tokend.core.settings.etcd import EtcdPlace
from openfit_tokend.core.settings.postgresql import PostgreSQLPlace
from openfit_tokend.core.settings.values import FleetSettings
from openfit_tokend.fleet.fleet import Fleet
from openfit_tokend.fleet.row_form import Keys
from openfit_tokend.fleet.store import Password, Store
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.storage.accounts import Accounts


def fleet(settings: FleetSettings, accounts: Accounts, alarm: Alarm, passwords: Passwords) -> Fleet:
    """Return a membership that isn't running yet."""

    async def keys() -> Keys:
        return Keys(await passwords.keys(settings.key))

    source = settings.password
    password = None if source is None else partial(passwords.read, source)
    member = settings.member or socket.gethostname()
    return Fleet(member, store(settings.store, password), keys, accounts, alarm)


def store(place: StorePlace, password: Password | None) -> Store:
    """Return the store at a place. It isn't connected yet."""
    match place:
        case PostgreSQLPlace():
            from openfit_tokend.fleet.engines.postgresql import PostgreSQL  # noqa: PLC0415 -- see above

            return PostgreSQL(place, password)
        case EtcdPlace():
            from openfit_tokend.fleet.engines.etcd import Etcd  # noqa: PLC0415 -- see above

            return Etcd(place, password)
