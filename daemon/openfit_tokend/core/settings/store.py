"""Where a fleet's store is, and how it is entered."""

from dataclasses import KW_ONLY

from openfit_token._shared.frozen import frozen


@frozen
class Host:
    """One address of the store. `name` of PostgreSQL's may be the directory of its Unix socket."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


@frozen
class PostgreSQLPlace:
    """A table of a PostgreSQL database. `hosts`: as they are tried in turn.

    `tls`: its certificate is verified by `ca_file`, or by what the system trusts. Without: its hosts
    are all on this machine, and `loopback_user` may listen there, besides root and the daemon's user.
    """

    _: KW_ONLY
    hosts: tuple[Host, ...]
    tls: bool
    user: str
    database: str
    table: str
    ca_file: str | None = None
    loopback_user: str | int | None = None


@frozen
class EtcdPlace:
    """What lies below a prefix in etcd: `table` and a slash. The rest as for PostgreSQL.

    `user` None: etcd's authentication is off.
    """

    _: KW_ONLY
    hosts: tuple[Host, ...]
    tls: bool
    user: str | None
    table: str
    ca_file: str | None = None
    loopback_user: str | int | None = None


StorePlace = PostgreSQLPlace | EtcdPlace
