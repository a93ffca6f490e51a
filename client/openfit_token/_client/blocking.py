"""The client for programs that wait: `get_token` and `TokenClient`."""

import os
from time import (
    monotonic,  # noqa: TID251 -- ends waiting for the daemon; no token's time is reckoned with it
    sleep,
)

from openfit_token._client import calls
from openfit_token._client.connection import (
    READ,
    SEND_FLAGS,
    Answer,
    Connection,
    Pool,
    Tries,
    result_of,
)
from openfit_token._client.paths import connect, find, named
from openfit_token._shared.protocol import DEFAULT_WAIT
from openfit_token.errors import DaemonUnreachable, Stopping, TokenError

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not loaded at run time: a script's start is what this is for
    from _socket import socket
    from collections.abc import Generator
    from typing import Self

    from openfit_token._client.changes import Change
    from openfit_token._client.token import Token

_SHORTEST = 0.001
"""Seconds. A time-out of 0 would mean: don't wait, even for an answer that is on its way."""


def get_token(
    profile: str | None = None,
    *,
    min_ttl: float | None = None,
    wait: float = DEFAULT_WAIT,
    socket: str | None = None,
) -> "Token":
    """Return the current token, over a new connection. For many calls, use a TokenClient.

    Args:
        profile: whose token; left out: the daemon's default, or the only one.
        min_ttl: seconds that the token must still live.
        wait: seconds to wait while the daemon has no suitable token.
        socket: the daemon's socket; left out: $OPENFIT_TOKEN_SOCKET, else the user's own daemon's,
            else the machine's.

    Raises:
        TokenError: one of the classes in `openfit_token.errors`, as TokenClient says.

    >>> get_token(min_ttl=60)
    <Token ... of main, expires_at=...>
    """
    with TokenClient(profile, socket) as client:
        return client.get_token(min_ttl=min_ttl, wait=wait)


class TokenClient:
    """A client of the daemon that keeps its connections. Threads may share it; a fork is noticed.

    Each call has its own connection, so a long one doesn't delay others. If the daemon is restarted,
    calls are sent again, as long as their `wait` lasts; except login, logout and reload, and except
    if the daemon wasn't there in the first place.

    All calls raise a TokenError: the daemon's answer; BadRequest; DaemonUnreachable if it isn't there, or hasn't
    answered a few seconds after `wait`; DaemonUntrusted; ProtocolViolation. `wait` is in seconds, at
    most 300.

    Args:
        profile: whose token; left out: the daemon's default, or the only one.
        socket: the daemon's socket; left out: $OPENFIT_TOKEN_SOCKET, else the user's own daemon's,
            else the machine's.

    >>> with TokenClient(profile="main") as client:
    ...     token = client.get_token(wait=5)
    ...     state = client.status()["profiles"]["main"]["state"]
    >>> token.expires_in > 60, state
    (True, 'fresh')
    """

    def __init__(self, profile: str | None = None, socket: str | None = None) -> None:
        self._profile = profile
        self._path = named(socket)  # once: a `chdir` must not lead to another daemon
        self._pool = Pool()

    def get_token(self, *, min_ttl: float | None = None, wait: float = DEFAULT_WAIT) -> "Token":
        """Return the current token; with `min_ttl`, one that lives at least that many seconds.

        Raises:
            MinTtl: even a new one doesn't live that long.
            TokenError: there is no token: LoginRejected, Unavailable, TimedOut, ...
        """
        return calls.token(self._call(calls.get_token(self._profile, min_ttl, wait)))

    def refuse(self, token: "Token | str", *, wait: float = DEFAULT_WAIT) -> "Token":
        """Report that the API answered 401 to this token, or to the one with this id; return another.

        Repeat the request once with the new one. If that is refused too, the token isn't the problem.
        """
        return calls.token(self._call(calls.refuse(self._profile, token, wait)))

    def refresh(self, *, wait: float = DEFAULT_WAIT) -> "Token":
        """Have the token replaced though nothing is wrong with it; return the new one."""
        return calls.token(self._call(calls.refresh(self._profile, wait)))

    def login(
        self,
        password: str | None = None,
        *,
        refresh_token: str | None = None,
        wait: float = DEFAULT_WAIT,
    ) -> "Token":
        """Have the daemon log in again, with this password or its own. For operators.

        With `refresh_token` it goes on from this one instead, which is the daemon's from then on.

        Each rejected password brings the account closer to a lockout, so this is never sent twice.

        Raises:
            NotAllowed: the caller is no operator.
            LoginRejected: the password is wrong, or the refresh token is of no use.
            BudgetSpent: too many were rejected before; nothing was sent.
        """
        try:
            call = calls.login(self._profile, password, wait, refresh_token)
        finally:
            del password, refresh_token
        return calls.token(self._call(call))

    def logout(self) -> None:
        """Have the daemon forget and revoke its tokens, until the next login. For operators."""
        calls.fields(self._call(calls.logout(self._profile)))

    def reload(self) -> None:
        """Have the daemon read its configuration; return when it is in force. For operators.

        Raises:
            ConfigRejected: it is invalid; the old one stays in force.
        """
        calls.fields(self._call(calls.reload()))

    def hello(self) -> dict[str, object]:
        """Return the daemon's name, version, protocol, pid, uptime, and the profiles that the caller may use.

        >>> with TokenClient() as client:
        ...     client.hello()["profiles"]
        ['main']
        """
        return calls.fields(self._call(calls.hello()))

    def status(self) -> dict[str, object]:
        """Return the status of this client's profile, or of all that the caller may use if it has none."""
        return calls.fields(self._call(calls.status(self._profile)))

    def changes(self) -> "Generator[Change]":
        """Yield the profile's present state, then each new token and each change of state, without end.

        It waits for a daemon that is being restarted. To get the token itself, call `get_token`.

        >>> next(TokenClient().changes())
        Change(profile='main', state='fresh', ...)
        """
        from openfit_token._client.changes import Feed  # noqa: PLC0415 -- a script that gets a token needs none

        feed, channel, process = Feed(self._profile), None, os.getpid()
        try:
            while True:
                if channel is not None and process != os.getpid():
                    channel.close()  # the parent process reads from it too: each would miss what the other read
                    channel = None
                process = os.getpid()
                try:
                    if channel is None:
                        request, channel = feed.begin(), self._connect()
                        channel.settimeout(feed.patience)
                        channel.sendall(request, SEND_FLAGS)
                    told = feed.take(channel.recv(READ))
                    channel.settimeout(feed.patience)
                except (OSError, TokenError) as error:
                    if channel is not None:
                        channel.close()
                    channel = None
                    sleep(feed.after(error))
                else:
                    yield from told
        finally:
            if channel is not None:
                channel.close()

    def close(self) -> None:
        """Close the kept connections. Later calls still work, but keep none."""
        self._pool.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> "socket":
        """Connect to the daemon's socket; from then on to no other, which could have another login."""
        path = find() if self._path is None else self._path
        channel = connect(path)
        self._path = path
        return channel

    def _call(self, call: calls.Call) -> object:
        tries = Tries(call, self._pool, monotonic())
        while True:
            try:
                return self._try(tries)
            except (OSError, DaemonUnreachable, Stopping) as error:
                pause = tries.after(error, monotonic())
            sleep(pause)

    def _try(self, tries: Tries) -> object:
        connection = tries.kept() or Connection(self._connect())
        try:
            request = tries.request(connection.begin(), monotonic())
            answer = _exchange(connection, request, tries.answer_by)
        except BaseException:
            connection.close()
            raise
        self._pool.keep(connection)
        return result_of(answer)


def ask(connection: Connection, call: calls.Call, patience: float) -> object:
    """Return the result of a call on a connection that is open; close it after an error.

    Raises:
        TokenError: what the daemon answered instead; a ProtocolViolation, if that was no answer.
        TimeoutError: it didn't answer within `patience` seconds.
        OSError: the connection was lost.
    """
    request = call.request(connection.begin())
    return result_of(_exchange(connection, request, monotonic() + patience))


def _exchange(connection: Connection, request: memoryview, answer_by: float) -> Answer:
    """Send a request and return its answer.

    Raises:
        TimeoutError: it didn't come in time.
        OSError: the connection was lost.
        ProtocolViolation: what came is not an answer to this request.
    """
    channel = connection.channel
    channel.settimeout(max(_SHORTEST, answer_by - monotonic()))
    try:  # noqa: SIM105 -- contextlib is not loaded here
        channel.sendall(request, SEND_FLAGS)
    except BrokenPipeError:
        pass  # what the daemon said before it hung up is still to be read
    while (answer := connection.take(channel.recv(READ))) is None:
        channel.settimeout(max(_SHORTEST, answer_by - monotonic()))
    return answer
