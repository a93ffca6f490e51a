"""The client for async programs, on asyncio and on trio: `AsyncTokenClient`."""

from _socket import socket
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Self

from anyio import current_time, fail_after, sleep, to_thread, wait_readable, wait_writable

from openfit_token._client import calls
from openfit_token._client.changes import Change, Feed
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
from openfit_token._client.token import Token
from openfit_token._shared.protocol import DEFAULT_WAIT
from openfit_token.errors import DaemonUnreachable, Stopping, TokenError


class AsyncTokenClient:
    """A client of the daemon that keeps its connections. Any number of tasks may share it.

    Each call has its own connection: a cancelled call closes only that, and no task runs in the
    background. If the daemon is restarted, calls are sent again, as TokenClient does it; the errors
    are the same too. `wait` is in seconds, at most 300.

    >>> async def main() -> str:
    ...     async with AsyncTokenClient(profile="main") as client:
    ...         return (await client.get_token(min_ttl=60)).token_type
    >>> anyio.run(main)
    'Bearer'
    """

    def __init__(self, profile: str | None = None, socket: str | None = None) -> None:
        self._profile = profile
        self._path = named(socket)  # once: a `chdir` must not lead to another daemon
        self._pool = Pool()

    async def get_token(self, *, min_ttl: float | None = None, wait: float = DEFAULT_WAIT) -> Token:
        """Return the current token; with `min_ttl`, one that lives at least that many seconds."""
        return calls.token(await self._call(calls.get_token(self._profile, min_ttl, wait)))

    async def refuse(self, token: Token | str, *, wait: float = DEFAULT_WAIT) -> Token:
        """Report that the API answered 401 to this token, or to the one with this id; return another."""
        return calls.token(await self._call(calls.refuse(self._profile, token, wait)))

    async def refresh(self, *, wait: float = DEFAULT_WAIT) -> Token:
        """Have the token replaced though nothing is wrong with it; return the new one."""
        return calls.token(await self._call(calls.refresh(self._profile, wait)))

    async def login(
        self,
        password: str | None = None,
        *,
        refresh_token: str | None = None,
        wait: float = DEFAULT_WAIT,
    ) -> Token:
        """Have the daemon log in again, with one of these or its own password. For operators."""
        try:
            call = calls.login(self._profile, password, wait, refresh_token)
        finally:
            del password, refresh_token
        return calls.token(await self._call(call))

    async def logout(self) -> None:
        """Have the daemon forget and revoke its tokens, until the next login. For operators."""
        calls.fields(await self._call(calls.logout(self._profile)))

    async def reload(self) -> None:
        """Have the daemon read its configuration; return when it is in force. For operators."""
        calls.fields(await self._call(calls.reload()))

    async def hello(self) -> dict[str, object]:
        """Return the daemon's name, version, protocol, pid, uptime, and the profiles that the caller may use."""
        return calls.fields(await self._call(calls.hello()))

    async def status(self) -> dict[str, object]:
        """Return the status of this client's profile, or of all that the caller may use if it has none."""
        return calls.fields(await self._call(calls.status(self._profile)))

    async def changes(self) -> AsyncGenerator[Change]:
        """Yield the profile's present state, then each new token and each change of state, without end.

        It waits for a daemon that is being restarted. To get the token itself, call `get_token`.
        """
        feed, channel = Feed(self._profile), None
        try:
            while True:
                try:
                    if channel is None:
                        channel = await self._connect()
                        await _send(channel, memoryview(feed.begin()))
                    with fail_after(feed.patience):
                        data = await _receive(channel)
                    told = feed.take(data)
                except (OSError, TokenError) as error:
                    if channel is not None:
                        channel.close()
                    channel = None
                    await sleep(feed.after(error))
                    continue
                for change in told:
                    yield change
        finally:
            if channel is not None:
                channel.close()

    def close(self) -> None:
        """Close the kept connections. Later calls still work, but keep none."""
        self._pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def _connect(self) -> socket:
        """Connect to the daemon's socket; from then on to no other, which could have another login."""
        path = find() if self._path is None else self._path
        try:
            channel = connect(path, waits=False)
        except BlockingIOError:  # others are in line: a thread waits there, for a second at most
            channel = await to_thread.run_sync(connect, path)
        self._path = path
        return channel

    async def _call(self, call: calls.Call) -> object:
        tries = Tries(call, self._pool, current_time())
        while True:
            try:
                return await self._try(tries)
            except (OSError, DaemonUnreachable, Stopping) as error:
                pause = tries.after(error, current_time())
            await sleep(pause)

    async def _try(self, tries: Tries) -> object:
        connection = tries.kept() or Connection(await self._connect())
        try:
            request = tries.request(connection.begin(), current_time())
            with fail_after(tries.answer_by - current_time()):
                answer = await _exchange(connection, request)
        except BaseException:
            connection.close()
            raise
        self._pool.keep(connection)
        return result_of(answer)


async def _exchange(connection: Connection, request: memoryview) -> Answer:
    """Send a request and return its answer.

    Raises:
        OSError: the connection was lost.
        ProtocolViolation: what came is not an answer to this request.
    """
    with suppress(BrokenPipeError):  # what the daemon said before it hung up is still to be read
        await _send(connection.channel, request)
    while True:
        answer = connection.take(await _receive(connection.channel))
        if answer is not None:
            return answer


async def _send(channel: socket, data: memoryview) -> None:
    while data:
        try:
            data = data[channel.send(data, SEND_FLAGS) :]
        except BlockingIOError:
            await wait_writable(channel)


async def _receive(channel: socket) -> bytes:
    while True:
        await wait_readable(channel)
        with suppress(BlockingIOError):  # woken for nothing
            return channel.recv(READ)
