"""Kept connections, and when a call is retried. Nothing here waits: the two clients do that.

Rules for this file:
1. A connection serves one call at a time. A call that is broken off, whatever the reason, closes
   its connection; so a late answer is never read, and no call can get another's.
2. A call whose answer was lost is sent again only where that does no harm: `Call.again`. The first
   retry is immediate, since the usual reason is a restart of the daemon since the last call; more
   follow with pauses, as long as the call's `wait` lasts.
3. A client waits for a missing daemon only if the daemon has answered it before. After such a wait
   was in vain, the next calls fail at once, until one is answered.
"""

import os
from _socket import MSG_NOSIGNAL, socket

from openfit_token._client.calls import Call
from openfit_token._shared.protocol import (
    MAX_ANSWER,
    Decoder,
    Incomplete,
    Malformed,
    parse_response,
)
from openfit_token.errors import DaemonUnreachable, ProtocolViolation, Stopping, TokenError

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not loaded at run time: it would double the client's start
    from collections.abc import Iterator
    from typing import Final, TypeAlias

Answer: "TypeAlias" = tuple[TokenError | None, object]
"""The error of a call, or its result."""
READ: "Final" = 64 * 1024
"""Bytes to read at once: a token takes 1 to 4 KiB."""
SEND_FLAGS: "Final" = MSG_NOSIGNAL
"""A program may have set SIGPIPE back to its deadly default."""

_MAX_IDLE: "Final" = 8
"""Connections kept for later calls. More concurrent threads are rare, and have to connect."""
_MAX_ITEMS: "Final" = 64 * 1024
"""Items in one array or map of an answer: the profiles of a status, the uids of its clients."""
_GRACE: "Final" = 5.0
"""Seconds that an answer may be late, after the call's own time, on a busy machine."""
_FIRST_PAUSE: "Final" = 0.02
_LONGEST_PAUSE: "Final" = 0.5
"""Seconds between tries. A restart takes a second or so."""


def pauses() -> "Iterator[float]":
    """Return the seconds between retries, without end: short ones at first."""
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)


class Connection:
    """A connected socket, and the one call that is under way on it."""

    __slots__ = ("_decoder", "_msgid", "channel")

    def __init__(self, channel: socket) -> None:
        self.channel = channel
        self._decoder = Decoder(MAX_ANSWER, _MAX_ITEMS)
        self._msgid = 0

    def begin(self) -> int:
        """Return the msgid of the next call."""
        self._msgid += 1
        return self._msgid

    def take(self, data: bytes) -> "Answer | None":
        """Take what was read and return the call's answer; None while there is more to come.

        Raises:
            ConnectionResetError: the daemon closed the connection.
            ProtocolViolation: that isn't an answer to this call.
        """
        if not data:
            raise ConnectionResetError
        try:
            return self._taken(data)
        except ProtocolViolation as error:
            wrong = error.message
        del data
        raise ProtocolViolation(wrong)  # not the error itself, whose frames hold what was read

    def _taken(self, data: bytes) -> "Answer | None":
        try:
            message = self._decoder.feed(data)
            if isinstance(message, Incomplete):
                return None
            rest = self._decoder.next()
        except Malformed as error:
            raise ProtocolViolation(f"the daemon's answer breaks the protocol: {error}") from error
        msgid, failure, result = parse_response(message)
        # The daemon answers 0 where it couldn't make out a msgid, or refused the connection.
        if msgid != self._msgid and not (msgid == 0 and failure is not None):
            raise ProtocolViolation("the daemon answered a call that wasn't made")
        if not isinstance(rest, Incomplete):
            raise ProtocolViolation("the daemon answered more than one call")
        return failure, result

    def close(self) -> None:
        """Close our end. After a fork, the other process's end of it stays as it was."""
        self.channel.close()


def result_of(answer: "Answer") -> object:
    """Return the result of an answered call, or raise its error."""
    error, result = answer
    if error is not None:
        raise error
    return result


class Pool:
    """The idle connections. Threads may share it; a fork is noticed.

    No lock: each step is a single operation of a list, which the interpreter keeps whole. So a
    child that was forked at any moment finds nothing held, and Ctrl-C breaks nothing.

    Attributes:
        worked: whether the daemon was there at the last attempt, so that it's worth waiting for.
    """

    __slots__ = ("_idle", "_most", "_process", "worked")

    def __init__(self) -> None:
        self._idle: list[Connection] = []
        self._most = _MAX_IDLE
        self._process = os.getpid()
        self.worked = False

    def take(self) -> Connection | None:
        """Return a connection to use and to `keep` or close afterwards, or None to open one."""
        if self._process != os.getpid():
            self.drop()  # they are our parent's: two processes would read each other's answers
            self._process = os.getpid()  # not before, or another thread would take one of them
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def keep(self, connection: Connection) -> None:
        """Take back a connection whose call was answered."""
        self.worked = True
        self._idle.append(connection)
        if len(self._idle) > self._most:
            self._close_one()

    def drop(self) -> None:
        """Close what is kept."""
        while self._idle:
            self._close_one()

    def close(self) -> None:
        """Close what is kept, and keep nothing from now on."""
        self._most = 0
        self.drop()

    def _close_one(self) -> None:
        try:
            connection = self._idle.pop(0)
        except IndexError:
            return  # another thread was quicker
        connection.close()


def unreachable(error: OSError) -> DaemonUnreachable:
    """Return the error for a daemon that gave no answer, or accepted no connection."""
    match error:
        case TimeoutError():
            return DaemonUnreachable(
                "the daemon doesn't answer", "its log may tell why: `journalctl -u openfit-tokend`"
            )
        case BlockingIOError():
            return DaemonUnreachable("the daemon accepts no more connections")
        case _:
            return DaemonUnreachable("the daemon closed the connection before it answered")


class Tries:
    """The tries of one call: what to send at each, and whether there is a next one.

    Attributes:
        call: what is called.
        answer_by: when waiting for an answer ends, in seconds of the caller's clock.
    """

    __slots__ = ("_deadline", "_lost", "_pauses", "_pool", "_sent", "_waits", "answer_by", "call")

    def __init__(self, call: Call, pool: Pool, now: float) -> None:
        self.call = call
        self._pool = pool
        self._deadline = now + call.patience
        self._pauses = pauses()
        self._sent = False
        self._lost = False
        self._waits = pool.worked  # as it was: another call's wait may end in vain before ours does
        self.answer_by = self._deadline + _GRACE

    def kept(self) -> Connection | None:
        """Return a kept connection, if this try may use one.

        The daemon may have been restarted since it was last used. That costs nothing where the call
        can be sent again; all others get a new connection.
        """
        return self._pool.take() if self.call.again else None

    def request(self, msgid: int, now: float) -> memoryview:
        """Return the bytes to send: first with the caller's `wait`, in a retry with what is left of it."""
        left = max(0.0, self._deadline - now) if self._sent else None
        self._sent = True
        return self.call.request(msgid, left)

    def after(self, error: Exception, now: float) -> float:
        """Return the seconds to wait before the next try, after one that failed.

        Args:
            error: a Stopping or DaemonUnreachable, or the OSError that a system call raised;
                TimeoutError if no answer came.
            now: the caller's clock, seconds.

        Raises:
            Stopping, DaemonUnreachable: there is no next try.
        """
        self._pool.drop()  # what happened to one connection happened to the others
        match error:
            case TimeoutError():
                raise unreachable(error) from error
            case BlockingIOError():
                if now < self.answer_by:
                    return next(self._pauses)
                raise unreachable(error) from error
            case DaemonUnreachable():
                if self._waits and now < self._deadline:
                    return next(self._pauses)
                if self.call.patience > 0:  # else nobody has waited, so it wasn't in vain
                    self._pool.worked = False
                raise error
            case _:
                return self._after_loss(error, now)

    def _after_loss(self, error: Exception, now: float) -> float:
        """As `after`, where the daemon was there and the call was sent."""
        if not self.call.again or (self._lost and now >= self._deadline):
            if isinstance(error, Stopping):
                raise error
            raise DaemonUnreachable(
                "the daemon closed the connection before it answered",
                None
                if self.call.again
                else f"it isn't known whether the {self.call.method} was done",
            ) from error
        self._waits = self._pool.worked = True
        if not self._lost:
            self._lost = True
            return 0.0
        return next(self._pauses)
