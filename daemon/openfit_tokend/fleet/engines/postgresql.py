"""PostgreSQL as a fleet's store: a table, and one connection that also listens for changes."""

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from struct import unpack
from typing import Final, final

from anyio import move_on_after
from anyio.abc import TaskGroup
from psycopg.pq.abc import PGresult

from openfit_token._shared.secret import Secret
from openfit_token._shared.trusted_path import Untrusted, judge_socket
from openfit_tokend.core.settings.postgresql import PostgreSQLPlace
from openfit_tokend.core.settings.store import Host
from openfit_tokend.fleet.engines.libpq import Connection, Trusted
from openfit_tokend.fleet.store import (
    EXCHANGE,
    Password,
    Said,
    Tagged,
    Unreached,
    first_of,
    password_of,
    within,
)
from openfit_tokend.host import clock, regular_file
from openfit_tokend.host.blocking_calls import BlockingCalls

MAX_CA_FILE: Final = 4 * 1024 * 1024
"""Bytes: many times what all authorities of the world take."""
_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems have their certificate authorities in one file: libpq reads no directory."""

_CLOCK: Final = "extract(epoch FROM clock_timestamp())::float8"


@final
class _Statements:
    """What is said to a table, whose name is a plain one."""

    def __init__(self, table: str) -> None:
        self.listen = f'LISTEN "{table}"'
        self.read = f"""
SELECT {_CLOCK}, found.tag, found.data
FROM (SELECT 1) AS one LEFT JOIN "{table}" AS found ON found.key = $1
"""  # noqa: S608 -- the settings allow letters, digits and underscores
        told = f"""
SELECT {_CLOCK}, pg_notify('{table}', encode(tag, 'hex') || ' ' || key) FROM new
"""  # noqa: S608 -- same
        self.update = f"""
WITH new AS (
    UPDATE "{table}" SET tag = $2, data = $3 WHERE key = $1 AND tag = $4 RETURNING key, tag
) {told}"""  # noqa: S608 -- same
        self.create = f"""
WITH new AS (
    INSERT INTO "{table}" (key, tag, data) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
    RETURNING key, tag
) {told}"""  # noqa: S608 -- same
        self.tags = f"""
SELECT key, tag FROM "{table}" WHERE key = ANY (string_to_array($1, ' '))
"""  # noqa: S608 -- same


@final
class PostgreSQL:
    """A table of a database: see `Store`. `password` None: the database asks for none."""

    def __init__(self, place: PostgreSQLPlace, password: Password | None) -> None:
        self._place = place
        self._password = password
        self._files = BlockingCalls("store")
        self._connection: Connection | None = None
        self._statements = _Statements(place.table)

    async def connect(self, tasks: TaskGroup | None = None) -> None:  # noqa: ARG002 -- the connection itself hears
        """Connect to the first host that takes writes."""
        await self.close()
        with within(EXCHANGE):
            password = await password_of(self._password)
            ca_file = ""
            if self._place.tls:
                find = partial(_find_ca_file, self._place.ca_file)
                ca_file = await self._files.share("", find, EXCHANGE)

        async def connect(host: Host) -> None:
            self._connection = await self._listening(host, password, ca_file)

        await first_of(self._place.hosts, connect)

    async def _listening(self, host: Host, password: Secret | None, ca_file: str) -> Connection:
        trusted: Trusted = ca_file if self._place.tls else {self._place.loopback_user}
        if host.name.startswith("/"):  # libpq has no TLS there
            path = f"{host.name}/.s.PGSQL.{host.port}"
            owners = await self._files.share(path, partial(_who_may_listen, path), EXCHANGE)
            trusted = {self._place.loopback_user, *owners}
        connection = await Connection.make(self._place, host, password, trusted)
        await connection.ask(self._statements.listen)
        return connection

    async def read(self, key: str) -> Said:
        """Read a row."""
        before = clock.boot()
        found = await self._ask(self._statements.read, key.encode())
        tag, data = found.get_value(0, 1), found.get_value(0, 2)
        return Said(tag, data, _seconds(found), before, clock.boot())

    async def write(self, key: str, old_tag: bytes | None, tag: bytes, data: bytes) -> Said | None:
        """Update or insert a row, and notify all who listen, in one statement."""
        before = clock.boot()
        if old_tag is None:
            found = await self._ask(self._statements.create, key.encode(), tag, data)
        else:
            found = await self._ask(self._statements.update, key.encode(), tag, data, old_tag)
        if found.ntuples == 0:
            return None
        return Said(tag, data, _seconds(found), before, clock.boot())

    async def tags(self, keys: Iterable[str]) -> list[Tagged]:
        """Ask for the tags of all these rows at once."""
        found = await self._ask(self._statements.tags, " ".join(keys).encode())
        values = [
            (found.get_value(each, 0), found.get_value(each, 1)) for each in range(found.ntuples)
        ]
        return [
            Tagged(key.decode(), tag) for key, tag in values if key is not None and tag is not None
        ]

    async def news(self, seconds: float) -> list[Tagged]:
        """Wait for notices of writes."""
        found: list[Tagged] = []
        with move_on_after(seconds):
            while not found:
                notices = await self._connected().notices()
                found = [each for each in map(_tagged, notices) if each is not None]
        return found

    async def close(self) -> None:
        """Say good-bye, without waiting."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _ask(self, statement: str, *parameters: bytes) -> PGresult:
        with within(EXCHANGE):
            return await self._connected().ask(statement, parameters)

    def _connected(self) -> Connection:
        if self._connection is None:
            raise Unreached("there is no connection")
        return self._connection


def _seconds(found: PGresult) -> float:
    """Return the store's clock: the first value of a row."""
    (seconds,) = unpack("!d", found.get_value(0, 0) or b"")
    return float(seconds)


def _tagged(notice: bytes) -> Tagged | None:
    """Parse a notice; None: somebody else's, since all who may connect may give notice."""
    tag, _, key = notice.decode(errors="replace").partition(" ")
    try:
        return Tagged(key, bytes.fromhex(tag))
    except ValueError:
        return None


def _who_may_listen(path: str) -> set[int]:
    """Return the users whom the directory of a socket lets listen there; none if others could, too."""
    try:
        return judge_socket(path, service=True)
    except (Untrusted, OSError):
        return set()


def _find_ca_file(named: str | None) -> str:
    """Return the file of authorities, which libpq will read again at once.

    Raises:
        Unreached: it can't be read, or somebody else can write to one that is named.
    """
    check = _accept if named is None else regular_file.refuse_writable
    bundles = (named,) if named is not None else (each for each in _BUNDLES if Path(each).exists())
    path = next(iter(bundles), None)
    if path is None:
        return "system"  # libpq's own, where it has any
    try:
        regular_file.read(path, MAX_CA_FILE, check)
    except regular_file.Unusable as error:
        raise Unreached(f"{path} {error.message}", error.hint) from None
    return path


def _accept(_path: str, _status: os.stat_result) -> None:
    pass  # the system chose who may write it
