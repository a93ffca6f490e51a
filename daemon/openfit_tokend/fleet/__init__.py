"""Daemons that share sessions by a store: what they write there, and how it is reached."""

from openfit_token.errors import ConfigRejected
from openfit_tokend.core.settings.store import EtcdPlace, StorePlace
from openfit_tokend.host import package

WITH_ETCD = "fleet"
"""The extra of this distribution that a fleet with etcd needs."""
WITH_POSTGRESQL = "fleet-postgres"


def missing(error: ImportError, store: StorePlace) -> ConfigRejected:
    """Return the error for a package that isn't installed, with the command that installs it."""
    extra = WITH_ETCD if isinstance(store, EtcdPlace) else WITH_POSTGRESQL
    return ConfigRejected(
        f"a Python package for [fleet] is missing: {error.name or error}",
        f"run {package.again(extra)}",
    )
