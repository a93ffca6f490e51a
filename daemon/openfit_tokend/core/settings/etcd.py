"""etcd as a fleet's store: what its URL says."""

from dataclasses import replace
from typing import ClassVar, Final

from openfit_token._shared.frozen import frozen
from openfit_tokend.core.settings.store import Place, Url
from openfit_tokend.core.settings.table import Wrong

FORM: Final = "etcd://HOST[:PORT][,HOST…]"
PORTS: Final = {"etcd": 2379, "etcd+http": 2379}


@frozen
class EtcdPlace(Place):
    """What lies below a prefix in etcd: `table` and a slash. `user` None: its authentication is off."""

    extra: ClassVar[str] = "fleet"

    user: str | None

    def checked(self) -> tuple["EtcdPlace", ...]:
        """Return a place for each connection that `check` tries: a daemon may come to any member."""
        return tuple(replace(self, hosts=(host,)) for host in self.hosts)


def place(url: Url, table: str, loopback_user: str | int | None) -> EtcdPlace:
    """Return the place that a URL names."""
    if url.path is not None or any(host.is_socket for host in url.hosts):
        raise Wrong(f"must be {FORM}, without a path")
    is_plain = url.scheme == "etcd+http"
    if is_plain and not url.is_near:
        raise Wrong("must begin with etcd:// (etcd+http:// is for localhost, 127.0.0.0/8 and ::1)")
    if is_plain and url.asks_tls:
        raise Wrong("must begin with etcd:// to have sslmode or sslrootcert")
    return EtcdPlace(
        hosts=url.hosts,
        tls=not is_plain,
        user=url.user,
        table=table,
        ca_file=url.ca_file,
        loopback_user=loopback_user,
    )
