"""Daemons that share sessions by a store: what they write there, and how it is reached."""

from openfit_token.errors import ConfigRejected
from openfit_tokend.core.settings.store import EtcdPlace, StorePlace
from openfit_tokend.host import package

WITH_ETCD = "fleet"
"""The extra of this distribution that a fleet with etcd needs."""
WITH_POSTGRESQL = "fleet-postgres"


def refuse_lacking(store: StorePlace) -> None:
    """Refuse a store for which a package isn't installed. May take long: it imports what there is.

    Raises:
        ConfigRejected: says what is missing, and the command that installs it.
    """
    try:
        from openfit_tokend.fleet import made  # noqa: PLC0415 -- few have a fleet

        made.store(store, None)
    except ImportError as error:
        raise _missing(error, store) from None


def _missing(error: ImportError, store: StorePlace) -> ConfigRejected:
    extra = WITH_ETCD if isinstance(store, EtcdPlace) else WITH_POSTGRESQL
    return ConfigRejected(
        f"a Python package for [fleet] is missing: {error.name or error}",
        f"run {package.again(extra)}",
    )
