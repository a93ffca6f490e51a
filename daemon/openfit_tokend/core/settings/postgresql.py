"""PostgreSQL as a fleet's store: what its URL says."""

from typing import ClassVar, Final

from openfit_token._shared.frozen import frozen
from openfit_tokend.core.settings.store import Place, Url
from openfit_tokend.core.settings.table import Wrong

FORM: Final = "postgresql://USER@HOST[:PORT][,HOST…]/DATABASE"
PORTS: Final = {"postgresql": 5432}


@frozen
class PostgreSQLPlace(Place):
    """A table of a PostgreSQL database."""

    extra: ClassVar[str] = "fleet-postgres"

    user: str
    database: str

    def checked(self) -> tuple["PostgreSQLPlace", ...]:
        """Return a place for each connection that `check` tries: of its hosts, one alone takes writes."""
        return (self,)


def place(url: Url, table: str, loopback_user: str | int | None) -> PostgreSQLPlace:
    """Return the place that a URL names."""
    if not url.user or not url.path:
        raise Wrong("must name the user and the database: postgresql://USER@HOST/DATABASE")
    if url.asks_tls and any(host.is_socket for host in url.hosts):
        raise Wrong("must not have sslmode or sslrootcert: there is no TLS at a Unix socket")
    return PostgreSQLPlace(
        hosts=url.hosts,
        tls=url.asks_tls or not url.is_near,
        user=url.user,
        database=url.path,
        table=table,
        ca_file=url.ca_file,
        loopback_user=loopback_user,
    )
