"""The engines that a fleet's store may be of. Each has its place and its parser in a module of its own."""

from collections.abc import Callable, Mapping
from typing import Final

from openfit_tokend.core.settings import etcd, postgresql
from openfit_tokend.core.settings.etcd import EtcdPlace
from openfit_tokend.core.settings.postgresql import PostgreSQLPlace
from openfit_tokend.core.settings.store import Url, url

StorePlace = PostgreSQLPlace | EtcdPlace

_FORMS: Final = (postgresql.FORM, etcd.FORM)
_PORTS: Final = postgresql.PORTS | etcd.PORTS
_PLACES: Final[Mapping[str, Callable[[Url, str, str | int | None], StorePlace]]] = {
    **dict.fromkeys(postgresql.PORTS, postgresql.place),
    **dict.fromkeys(etcd.PORTS, etcd.place),
}


def store_place(value: object, table: str, loopback_user: str | int | None = None) -> StorePlace:
    """Return where a store is, from its URL."""
    found = url(value, _PORTS, _FORMS)
    return _PLACES[found.scheme](found, table, loopback_user)
