"""PostgreSQL's server, as Debian installs it."""

import shutil
from functools import cache
from pathlib import Path
from signal import SIGQUIT
from typing import Final

import psycopg
import pytest

from daemons import PATIENCE
from openfit_tokend.core.settings.postgresql import PostgreSQLPlace
from openfit_tokend.core.settings.store import Host
from openfit_tokend.fleet.engines.postgresql import PostgreSQL
from openfit_tokend.fleet.store import Password, Store
from ports import LOOPBACK
from stores.server import OWNER, PASSWORD, USER, StoreServer

DATABASE: Final = "fleet"
_SETTINGS: Final = {
    "listen_addresses": LOOPBACK,
    "max_connections": "60",
    "shared_buffers": "16MB",
    "fsync": "off",  # nobody cuts the power
    "wal_level": "replica",
    "wal_sender_timeout": "2s",
    "max_wal_senders": "4",
    "hot_standby": "on",
    "client_connection_check_interval": "200ms",  # a server that misses its client must not count a commit
}
_RULES: Final = f"""
local all         all         trust
host  all         {USER}      {LOOPBACK}/32  scram-sha-256
host  replication all         {LOOPBACK}/32  trust
"""


@cache
def _programs() -> Path:
    """Return the directory of the newest version's programs; skip the test if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    if initdb is None:
        pytest.skip("PostgreSQL isn't installed: apt-get install postgresql")
    return Path(initdb).parent


class PostgreSQLServer(StoreServer):
    """A server with a database."""

    def __init__(self) -> None:
        programs = _programs()
        if OWNER == 0:
            pytest.skip("needs root: PostgreSQL's server must be another user's")
        super().__init__()
        self._programs = programs
        self.data = self.directory / "data"
        self.settings = dict(_SETTINGS)

    def prepare(self) -> None:
        """Make its cluster."""
        options = ["--no-sync", "--username=postgres", "--auth=trust", "--locale=C", "-EUTF8"]
        self.run(self._programs / "initdb", *options, "-D", self.data)
        (self.data / "pg_hba.conf").write_text(_RULES)

    def set_up(self) -> None:
        """Make its cluster, start it, and make the user and the database."""
        self.prepare()
        self.start()
        self.make_user()

    def prepare_from(self, primary: "PostgreSQLServer") -> None:
        """Make it the standby of another."""
        source = f"host={LOOPBACK} port={primary.host.port} user=postgres application_name=standby"
        options = ["--no-sync", "--checkpoint=fast", "--write-recovery-conf", "--wal-method=stream"]
        self.run(self._programs / "pg_basebackup", *options, "-d", source, "-D", self.data)

    def start(self) -> None:
        """Start it, and wait until it answers; one that is new gets its user."""
        settings = self.settings | {
            "port": str(self.host.port),
            "unix_socket_directories": str(self.directory),
        }
        if self.certificate is not None:
            chain, key = self.certificate
            settings |= {"ssl": "on", "ssl_cert_file": str(chain), "ssl_key_file": str(key)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # of one that was killed
        self._begin(self._programs / "postgres", "-D", self.data, *options)
        self.await_answers()

    def promote(self) -> None:
        """Make a standby the primary, which waits for no other standby."""
        self.sql("SELECT pg_promote()", "ALTER SYSTEM SET synchronous_standby_names = ''")
        self.sql("SELECT pg_reload_conf()")

    def make_user(self) -> None:
        """Make the user and the database."""
        self.sql(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'")
        self.sql(f"CREATE DATABASE {DATABASE}")

    def make_table(self, table: str) -> None:
        """Make a table as the documents say."""
        self.sql(
            f"CREATE TABLE {table} (key text PRIMARY KEY, tag bytea NOT NULL, data bytea NOT NULL)",
            f"GRANT SELECT, INSERT, UPDATE ON {table} TO {USER}",
            database=DATABASE,
        )

    def sql(self, *statements: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Have a superuser say something, and return the rows of the last statement."""
        rows: list[tuple[object, ...]] = []
        where = f"host={self.directory} port={self.host.port} user=postgres dbname={database}"
        with psycopg.connect(where, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def refuse_writes(self, table: str) -> None:
        """Let a trigger refuse them."""
        self.sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'no'; END $$",
            f'CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON "{table}"'
            " FOR EACH ROW EXECUTE FUNCTION refuse()",
            database=DATABASE,
        )

    def _client(
        self, table: str, hosts: tuple[Host, ...], ca_file: str | None, password: Password
    ) -> Store:
        place = PostgreSQLPlace(
            hosts=hosts,
            tls=ca_file is not None,
            user=USER,
            database=DATABASE,
            table=table,
            ca_file=ca_file,
            loopback_user=OWNER,
        )
        return PostgreSQL(place, password)

    def end_connections(self) -> None:
        """Make clients begin anew, as an administrator may."""
        of_user = f"FROM pg_stat_activity WHERE usename = '{USER}'"
        self.sql(f"SELECT pg_terminate_backend(pid) {of_user}")

    @property
    def url(self) -> str:
        """Return the setting that names this server."""
        return f"postgresql://{USER}@{self.host}/{DATABASE}"

    def kill(self) -> None:
        """End it as a crash does, its children as well, and wait for their end."""
        if self._process is not None:
            self._process.send_signal(SIGQUIT)
            self._process.wait(PATIENCE)
            self._process = None

    def _answers(self) -> bool:
        try:
            self.sql("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True
