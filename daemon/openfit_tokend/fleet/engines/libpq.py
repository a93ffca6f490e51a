"""One connection to PostgreSQL, by libpq as psycopg has it, on the event loop.

Not by psycopg's own connection: where a wait of that is cancelled, it has the server cancel the
statement. A commit that was waiting for its synchronous standby then counts without it, and is
forgotten when the standby takes over. Here the connection is dropped instead: the commit goes on
waiting, and whether it will be taken isn't known.
"""

import errno
import os
import re
import socket
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from typing import Final, Self, final

import anyio
from anyio import wait_readable, wait_writable
from psycopg import OperationalError, pq
from psycopg.conninfo import make_conninfo

from openfit_token._shared.local_peer import Stranger, in_threads, judging
from openfit_token._shared.secret import Secret
from openfit_tokend import __version__
from openfit_tokend.core.settings.postgresql import PostgreSQLPlace
from openfit_tokend.core.settings.store import Host
from openfit_tokend.fleet.store import ENTRY_HINT, EXCHANGE, RowTrouble, Unreached

_STATEMENT: Final = 4.0
"""Seconds after which the server gives a statement up: before EXCHANGE, so that it can say so."""
_OPTIONS: Final = (
    f"statement_timeout={_STATEMENT * 1000:.0f}",
    "synchronous_commit=on",
    r"default_transaction_isolation=read\ committed",  # else a lost race is an error
)

_HOME: Final = ("passfile", "sslcert", "sslcrl", "sslkey")
"""Options for which libpq has files in the home directory, unless it is told of others."""
_NO_FILE: Final = f"{os.devnull}/none"
_KNOWS_REQUIRE_AUTH: Final = 160000
"""The version of libpq from which on it can be told how a server may ask for a password."""
_BY_PROOF: Final = "scram-sha-256,none"
"""How a server without TLS may ask: by a proof that doesn't give the password away, or not at all."""
Trusted = str | Collection[str | int | None]
"""How a server is known: by its certificate, which the authorities of this file signed; or without TLS, by
being root's, the daemon's user's, or one of these users'."""

_CONNECTING: Final = (
    (
        "authentication method requirement",
        "without TLS, it asks for the password in a way that gives it away",
        "use scram-sha-256, in its pg_hba.conf and for the user's password; or ?sslmode=verify-full",
    ),
    (
        "password|authentication failed|role .* does not exist",
        "it refuses the user or the password",
        ENTRY_HINT,
    ),
    (
        r"pg_hba\.conf",
        "its pg_hba.conf doesn't let this host, user and database in",
        "add a line for them there, and reload it",
    ),
    ("valid client certificate", "it wants a client certificate", "see docs/fleet.md"),
    (
        "certificate|does not match host name",
        "its TLS certificate can't be trusted",
        "check the host in store, the clock, and its sslrootcert",
    ),
    ("SSL", "TLS failed", "set ssl = on in its postgresql.conf, with a certificate"),
    ("database .* does not exist", "there is no such database", "check store, or create it"),
    ("read-only|read-write|hot standby", "it is a standby, or takes no writes", None),
    ("starting up|shutting down|recovery", "it is starting or stopping", None),
    (
        "unsupported startup parameter",
        "a pooler before it refuses the connection's options",
        "pgbouncer: ignore_startup_parameters = options",
    ),
    ("too many|connection slots", "it has too many connections", "raise its max_connections"),
)
"""Words of libpq, or of the server, about a connection that wasn't made; what they mean; what to do."""
_ERRNOS: Final = (
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ETIMEDOUT,
    errno.ENOENT,
    errno.EACCES,
)
_STATES: Final = {
    "25006": ("it takes no writes: it is a standby, or read-only", None),
    "42501": ("the user may not use the table", "GRANT SELECT, INSERT, UPDATE ON it TO the user"),
    "42703": ("the table has other columns", "create it as docs/fleet.md says"),
    "42P01": ("there is no such table", "create it as docs/fleet.md says"),
    "53100": ("its disk is full", None),
    "57014": (f"a statement took longer than {_STATEMENT:.0f} s", None),
    "57P01": ("it is stopping, or an administrator ended the connection", None),
}
"""What its errors mean (SQLSTATE), and what to do."""
_OF_THE_CONNECTION: Final = ("08", "25006", "57P")
"""How those begin after which another host may do: what is lost, stops, or takes no writes."""


@final
class Connection:
    """A connection that was made. Once an exchange with it failed, or was cancelled, it is closed."""

    def __init__(self, connection: pq.abc.PGconn) -> None:
        self._connection = connection

    @classmethod
    async def make(
        cls, place: PostgreSQLPlace, host: Host, password: Secret | None, trusted: Trusted
    ) -> Self:
        """Connect to a host that takes writes. The caller limits the time.

        Raises:
            Unreached: there is no such connection.
        """
        _hide_variables()
        options = dict.fromkeys(_HOME, _NO_FILE) | {
            "application_name": f"openfit-tokend/{__version__}",
            "connect_timeout": "0",
            "dbname": place.database,
            "gssencmode": "disable",
            "options": " ".join(f"-c {each}" for each in _OPTIONS),
            "password": "" if password is None else password.reveal,
            "sslmode": "verify-full" if isinstance(trusted, str) else "disable",
            "sslrootcert": trusted if isinstance(trusted, str) else "",
            "target_session_attrs": "read-write",
            "tcp_user_timeout": f"{EXCHANGE * 1000:.0f}",
            "user": place.user,
        }
        options |= await _address(host)
        if password is not None and not isinstance(trusted, str):
            options |= _by_proof()
        made = cls(pq.PGconn.connect_start(make_conninfo(**options).encode()))
        with made._closing():
            await made._poll(trusted)
        return made

    async def _poll(self, trusted: Trusted) -> None:
        """Connect. Without TLS, judge each socket before libpq reads there that it is asked for a password.

        Until then it has sent the names of the user and the database at most.
        """
        connection, judged = self._connection, 0
        status: int = pq.PollingStatus.WRITING
        while connection.status != pq.ConnStatus.BAD and status != pq.PollingStatus.OK:
            if status == pq.PollingStatus.READING:
                await wait_readable(connection.socket)
            elif status == pq.PollingStatus.WRITING:
                await wait_writable(connection.socket)
            else:
                break
            # Told by its inode: the socket of the host's next address may have the same number.
            inode = os.fstat(connection.socket).st_ino
            if inode != judged and not isinstance(trusted, str):
                await _judge(connection.socket, trusted)
                judged = inode
            status = connection.connect_poll()
        if status != pq.PollingStatus.OK:
            raise _not_made(connection.error_message.decode(errors="replace"))
        connection.nonblocking = 1

    async def ask(self, statement: str, parameters: Sequence[bytes | None] = ()) -> pq.abc.PGresult:
        """Return the rows of a statement, in binary form; so are its parameters.

        Raises:
            RowTrouble: it was refused; the next one may not be.
            Unreached: there was no answer.
        """
        connection = self._connection
        with self._closing():
            values, formats = list(parameters), [pq.Format.BINARY] * len(parameters)
            connection.send_query_params(
                statement.encode(), values, None, formats, pq.Format.BINARY
            )
            while connection.flush():
                await wait_writable(connection.socket)
            results: list[pq.abc.PGresult] = []
            while True:
                while connection.is_busy():
                    await wait_readable(connection.socket)
                    connection.consume_input()
                result = connection.get_result()
                if result is None:
                    break
                results.append(result)
            if not results or results[0].status not in {
                pq.ExecStatus.TUPLES_OK,
                pq.ExecStatus.COMMAND_OK,
            }:
                raise _failed(results)
            return results[0]

    async def notices(self) -> list[bytes]:
        """Wait for notices, and return what they say. It may be cancelled: none is lost.

        Raises:
            Unreached: the connection was lost.
        """
        found: list[bytes] = []
        while not found:
            with self._closing():
                while (notice := self._connection.notifies()) is not None:
                    found.append(notice.extra)
                number = self._connection.socket
            if not found:
                await wait_readable(number)  # not above: a wait that is cancelled does no harm
                with self._closing():
                    self._connection.consume_input()
        return found

    def close(self) -> None:
        """Say good-bye, without waiting."""
        self._connection.finish()

    @contextmanager
    def _closing(self) -> Generator[None]:
        """Close the connection if this block doesn't come to its end."""
        try:
            yield
        except RowTrouble:  # it was answered: the connection is as good as before
            raise
        except OperationalError:  # its words may be the server's
            self.close()
            raise Unreached("the connection was lost") from None
        except BaseException:
            self.close()
            raise


def _hide_variables() -> None:
    """Hide from libpq what it would read in the environment: not all of that can be overruled by options.

    Python's copy stays: a command may be given such a variable (`password_environment`).
    """
    for name in os.environ:
        if name.startswith("PG"):
            os.unsetenv(name)


def _by_proof() -> dict[str, str]:
    """Return libpq's option for a password that goes over a connection without TLS.

    Raises:
        Unreached: this libpq has none.
    """
    if pq.version() < _KNOWS_REQUIRE_AUTH:
        raise Unreached(
            "without TLS, this libpq would tell the password to a server that asks for it",
            "add ?sslmode=verify-full to store; or install psycopg[binary], or libpq 16",
        )
    return {"require_auth": _BY_PROOF}


async def _judge(number: int, believed: Collection[str | int | None]) -> None:
    """Judge who is at the other end of a socket.

    Raises:
        Unreached: it is nobody to trust.
    """
    with socket.socket(fileno=os.dup(number)) as own:
        try:
            await in_threads(judging(own, believed))
        except Stranger as stranger:
            raise Unreached(stranger.message, stranger.hint) from None


async def _address(host: Host) -> dict[str, str]:
    """Return libpq's options for a host. Its own look-up of the name would hold up the loop."""
    if host.name.startswith("/"):
        return {"host": host.name, "port": str(host.port)}
    try:
        found = await anyio.getaddrinfo(host.name, host.port, type=socket.SOCK_STREAM)
    except OSError:
        raise Unreached("its name can't be resolved") from None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    names, ports = [host.name] * len(addresses), [str(host.port)] * len(addresses)
    return {"host": ",".join(names), "hostaddr": ",".join(addresses), "port": ",".join(ports)}


def _not_made(words: str) -> Unreached:
    """Return the error for a connection that failed with these words, which may be the server's."""
    for pattern, message, hint in _CONNECTING:
        if re.search(pattern, words):
            return Unreached(message, hint)
    for number in _ERRNOS:
        if os.strerror(number) in words:
            return Unreached(os.strerror(number))
    return Unreached("no connection", "see the server's log")


def _failed(results: Sequence[pq.abc.PGresult]) -> Unreached:
    """Return the error for a statement that failed."""
    state = results[0].error_field(pq.DiagnosticField.SQLSTATE) if results else None
    name = "" if state is None else state.decode(errors="replace")
    if not re.fullmatch("[0-9A-Z]{5}", name):
        return Unreached("the connection was lost")
    error = Unreached if name.startswith(_OF_THE_CONNECTION) else RowTrouble
    return error(*_STATES.get(name, (f"it answered with error {name}", "see the server's log")))
