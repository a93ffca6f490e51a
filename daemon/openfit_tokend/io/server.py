"""Serves the socket: a readiness loop that answers in the pass that read the request.

`turn` is a plain function: it handles what is ready on the server's own epoll and returns. Whoever
drives it calls it when that epoll is readable; nothing here knows which event loop that is. A
request touches nothing but memory: recv, decode, one call, encode, send, and no await in between.

A call that must wait is parked: an entry, no task. It is answered when its keeper's session
changes, or at its deadline; a closed connection drops its entries.

A client hurts only itself. It is not read while an answer to it can't be sent whole, or while it
has MAX_PARKED calls parked; one pass reads no more than READ_SIZE of it, so that a flood leaves
time for others.
"""

import errno
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from resource import RLIMIT_NOFILE, getrlimit
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll
from typing import TYPE_CHECKING, Final, Protocol, final

from openfit_token.errors import BadRequest, Internal, Overloaded, TokenError
from openfit_token.protocol import (
    Incomplete,
    Malformed,
    encode_error,
    encode_result,
    parse_params,
    parse_request,
)
from openfit_tokend.core.answers import LoginEnded, answer
from openfit_tokend.core.session import AccessToken
from openfit_tokend.io import clock, log
from openfit_tokend.io.alarm import Alarm
from openfit_tokend.io.connection import BATCH, Connection, Owed, Park, User
from openfit_tokend.io.keeper import Keeper
from openfit_tokend.io.peers import Peer, peer_of
from openfit_tokend.io.shortcut import Shortcut

if TYPE_CHECKING:
    from openfit_token.protocol import Value

TURN_TIME: Final = 0.005
"""Seconds after which a turn takes no more events, so that the keepers live beside any crowd."""
MAX_EVENTS: Final = 16
"""Events taken from the kernel at once: all that are taken are handled, whatever the time."""
MAX_ACCEPTS: Final = 16
"""Connections accepted in one pass."""
MAX_UNREAD: Final = 256 * 1024
"""Bytes of answers that a parked caller may leave unread before it is closed."""
MAX_UNREAD_USER: Final = 16 * 1024 * 1024
"""Bytes of answers that all connections of one user may leave unread."""
MAX_CONNECTIONS: Final = 4096
"""Connections of one user."""
MAX_CONNECTIONS_ROOT: Final = 16384
"""Connections of root."""
RESERVE: Final = 64
"""Descriptors kept for token requests, secrets and the ledger, whatever the clients do."""
ACCEPT_PAUSE: Final = 0.1
"""Seconds without accepting, when the system has no descriptor or memory left for it."""
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})

Reply = Callable[[object], None]
"""Answers a call later: with its result, or with a TokenError."""


class Caller(Protocol):
    """Who made a request, over which connection."""

    @property
    def peer(self) -> Peer:
        """Give the process that connected."""
        ...

    @property
    def sock(self) -> socket.socket:
        """Give the connection's socket, to ask the kernel about its other end."""
        ...


@dataclass(frozen=True, slots=True)
class Later:
    """A method's answer that its own doing will bring: `begin` is given the way to answer."""

    begin: Callable[[Reply], None]


class Methods(Protocol):
    """What the server needs to know of the methods."""

    shortcut: Shortcut
    """The short way to the most common answer."""

    def call(self, caller: Caller, method: str, params: Mapping[str, object]) -> object:
        """Give a result, a Park or a Later.

        Raises:
            TokenError: what the caller is answered instead.
        """
        ...

    def token(self, keeper: Keeper, access: AccessToken, now: float) -> object:
        """Give the result that hands out a token."""
        ...

    def note(self, data: bytes, message: "Value") -> None:
        """Take notice of a request's bytes, for the short way."""
        ...


@final
class Server:
    """All connections of one listening socket."""

    def __init__(self, methods: Methods, alarm: Alarm) -> None:
        descriptors, _hard = getrlimit(RLIMIT_NOFILE)
        self._capacity = max(1, descriptors - RESERVE)
        self.users: dict[int, User] = {}
        self._methods = methods
        self._alarm = alarm
        self._epoll = epoll()
        self._listener: socket.socket | None = None
        self._listener_fd = -1
        self._connections: dict[int, Connection] = {}
        self._parked: dict[Keeper, dict[Owed, None]] = {}
        self._later: set[Owed] = set()

    # What the owner calls

    def fileno(self) -> int:
        """Give the descriptor that is readable whenever `turn` has something to do."""
        return self._epoll.fileno()

    @property
    def connections(self) -> int:
        """Give the number of clients connected."""
        return len(self._connections)

    def listen(self, listener: socket.socket) -> None:
        """Accept clients of a listening socket that doesn't block. It stays the caller's."""
        self._listener, self._listener_fd = listener, listener.fileno()
        self._epoll.register(self._listener_fd, EPOLLIN)

    def turn(self) -> None:
        """Handle what is ready, a bounded amount of it. Never blocks, never raises for a client."""
        until = 0.0
        while ready := self._epoll.poll(0, MAX_EVENTS):
            for fd, events in ready:
                if fd == self._listener_fd:
                    self._accept()
                    continue
                connection = self._connections.get(fd)
                if connection is not None:  # else closed earlier in this turn
                    self._handle(connection, events)
            if len(ready) < MAX_EVENTS:
                return
            now = clock.boot()
            until = until or now + TURN_TIME
            if now >= until:
                return

    def changed(self, keeper: Keeper, ended: LoginEnded | None) -> None:
        """Answer whoever waits for this keeper and can be answered now."""
        now = clock.boot()
        for owed in list(self._parked.get(keeper, ())):
            try:
                self._try_parked(owed, now, ended)
            except Exception:  # noqa: BLE001 -- a fault of ours: one client's, not the keeper's
                log.exception("internal_fault")
                self._close(owed.connection)

    def removed(self, keeper: Keeper, error: TokenError) -> None:
        """Answer whoever waits for a keeper that is no more."""
        for owed in list(self._parked.get(keeper, ())):
            self._deliver(owed, error)

    def answer_all(self, error: TokenError) -> None:
        """Answer everybody who waits."""
        for keeper in list(self._parked):
            self.removed(keeper, error)
        for owed in list(self._later):
            self._deliver(owed, error)

    def close(self) -> None:
        """Close all connections. Answers that couldn't be sent yet are lost."""
        for connection in list(self._connections.values()):
            self._close(connection)
        if self._listener is not None:
            self._epoll.unregister(self._listener_fd)
        self._epoll.close()

    # Connections

    def _accept(self) -> None:
        assert self._listener is not None  # noqa: S101 -- its descriptor was ready
        for _ in range(MAX_ACCEPTS):
            if len(self._connections) >= self._capacity:
                self._pause_accepting("as many clients as descriptors allow")
                return
            try:
                sock, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause_accepting(os.strerror(error.errno))
                    return
                continue  # the client went away before it was accepted
            self._welcome(sock)

    def _pause_accepting(self, reason: str) -> None:
        hint = "raise LimitNOFILE, or close clients"
        log.limited("accepting_paused", None, reason=reason, hint=hint)
        self._epoll.modify(self._listener_fd, 0)
        self._alarm.at(clock.boot() + ACCEPT_PAUSE, self._resume_accepting)

    def _resume_accepting(self) -> None:
        if not self._epoll.closed:
            self._epoll.modify(self._listener_fd, EPOLLIN)

    def _welcome(self, sock: socket.socket) -> None:
        peer = peer_of(sock)
        user = self.users.setdefault(peer.uid, User())
        connection = Connection(sock, peer, user)
        self._connections[sock.fileno()] = connection
        user.connections += 1
        most = MAX_CONNECTIONS if peer.uid else MAX_CONNECTIONS_ROOT
        most = min(most, max(1, self._capacity // 2))
        if user.connections > most:
            log.limited("too_many_connections", peer.uid, uid=peer.uid, most=most)
            full = Overloaded(
                f"uid {peer.uid} has {most} connections", "close some, or use one for all"
            )
            self._end(connection, encode_error(0, full))
        # Most clients have sent their request already: the epoll is for those that haven't.
        self._handle(connection, EPOLLIN)

    def _handle(self, connection: Connection, events: int) -> None:
        try:
            if events & EPOLLIN and not connection.ended:  # never watched together with EPOLLOUT
                data = connection.receive()
                if data:
                    if self._answer_shortly(connection, data):
                        return
                    self._process(connection, data)
                elif data is not None:
                    connection.ended = True  # it may still read what it asked for
            elif events & EPOLLOUT:
                self._send(connection)
                if connection.held and connection.is_free:
                    connection.held = False
                    self._process(connection)
            if events & (EPOLLHUP | EPOLLERR) and (connection.ended or not events & EPOLLIN):
                self._close(connection)  # nobody is there to read an answer
            self._settle(connection)
        except OSError:
            self._close(connection)
        except Exception:  # noqa: BLE001 -- a fault of ours: this client is closed, the others live
            log.exception("internal_fault")
            self._close(connection)

    def _answer_shortly(self, connection: Connection, data: bytes) -> bool:
        """Answer the most common request without decoding it; False: it is another."""
        if not connection.is_at_rest:
            return False
        answer = self._methods.shortcut.answer(data)
        if answer is None:
            return False
        connection.user.requests += 1
        connection.outgoing = answer
        connection.send()
        if connection.outgoing or connection.watched != EPOLLIN:
            self._settle(connection)
        return True

    def _process(self, connection: Connection, data: bytes | None = None) -> None:
        """Answer the requests in `data`, or those that were held, as long as they can be."""
        decoder = connection.decoder
        try:
            message = decoder.next() if data is None else decoder.feed(data)
            if data is not None and decoder.is_empty and not isinstance(message, Incomplete):
                self._methods.note(data, message)
            while not isinstance(message, Incomplete):
                self._request(connection, message)
                if len(connection.outgoing) > BATCH:
                    self._send(connection)
                if connection.closed:
                    return
                if not connection.is_free:
                    connection.held = True
                    break
                message = decoder.next()
        except Malformed as error:
            self._end(connection, encode_error(error.msgid, BadRequest(str(error))))
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        if not connection.outgoing or connection.closed:
            return
        try:
            connection.send()
        except OSError:
            self._close(connection)

    def _settle(self, connection: Connection) -> None:
        """Watch for what may come next, or close where nothing can."""
        if connection.outgoing or connection.unread:
            self._count_unread(connection)
        if connection.closed:
            return
        if connection.ended and not connection.outgoing and not connection.owed:
            self._close(connection)
            return
        if connection.outgoing or (connection.held and connection.is_free):
            wanted = EPOLLOUT  # also to go on with what is held: a socket is mostly writable
        elif connection.ended or connection.held:
            wanted = 0
        else:
            wanted = EPOLLIN
        if connection.watched == wanted:
            return
        if connection.watched < 0:
            self._epoll.register(connection.sock, wanted)
        else:
            self._epoll.modify(connection.sock, wanted)
        connection.watched = wanted

    def _count_unread(self, connection: Connection) -> None:
        """Close the connection that makes what its user leaves unread too much."""
        connection.count_unread()
        if connection.unread and connection.user.unread > MAX_UNREAD_USER:
            uid = connection.peer.uid
            log.limited("too_much_unread", uid, uid=uid, most=MAX_UNREAD_USER)
            self._close(connection)

    def _end(self, connection: Connection, last: bytes) -> None:
        """Say one last thing and close, as soon as it could be sent."""
        for owed in list(connection.owed or ()):
            self._forget(owed)
        connection.ended = True
        connection.outgoing += last
        self._send(connection)
        if not connection.closed:
            with suppress(OSError):
                connection.discard()

    def _close(self, connection: Connection) -> None:
        if connection.closed:
            return
        connection.closed = True
        for owed in list(connection.owed or ()):
            self._forget(owed)
        connection.user.connections -= 1
        connection.count_unread()
        del self._connections[connection.sock.fileno()]
        connection.sock.close()  # and so out of the epoll

    # Requests

    def _request(self, connection: Connection, message: "Value") -> None:
        request = parse_request(message)
        if request is None:
            return  # a notification: the daemon takes none
        msgid, method, params = request
        connection.user.requests += 1
        try:
            result = self._methods.call(connection, method, parse_params(params))
        except TokenError as error:
            result = error
        except Malformed as error:
            raise Malformed(str(error), msgid) from error
        except Exception:  # noqa: BLE001 -- a fault of ours: the caller is told, the daemon lives
            log.exception("internal_fault", method=method[:64])
            result = Internal("a fault of the daemon", "its log has the details")
        if isinstance(result, Park):
            self._park(connection, msgid, result)
        elif isinstance(result, Later):
            owed = self._owe(connection, msgid, None)
            self._later.add(owed)
            result.begin(lambda answer: self._deliver(owed, answer))
        else:
            self._answer(connection, msgid, result)

    def _answer(self, connection: Connection, msgid: int, result: object) -> None:
        if isinstance(result, TokenError):
            connection.outgoing += encode_error(msgid, result)
        else:
            connection.outgoing += encode_result(msgid, result)

    # Answers that come later

    def _owe(self, connection: Connection, msgid: int, park: Park | None) -> Owed:
        owed = Owed(connection, msgid, park)
        if connection.owed is None:
            connection.owed = set()
        connection.owed.add(owed)
        return owed

    def _park(self, connection: Connection, msgid: int, park: Park) -> None:
        owed = self._owe(connection, msgid, park)
        self._parked.setdefault(park.keeper, {})[owed] = None
        park.keeper.waiting += 1
        owed.entry = self._alarm.at(
            park.deadline, lambda: self._try_parked(owed, clock.boot(), None)
        )

    def _try_parked(self, owed: Owed, now: float, ended: LoginEnded | None) -> None:
        park = owed.park
        assert park is not None  # noqa: S101 -- only parked calls come here
        result = answer(park.keeper.session, park.call, park.deadline, now, ended)
        if isinstance(result, AccessToken):
            self._deliver(owed, self._methods.token(park.keeper, result, now))
        elif result is not None:
            self._deliver(owed, result)

    def _deliver(self, owed: Owed, result: object) -> None:
        """Send an answer that was owed; to a connection that is gone, none."""
        connection = owed.connection
        if connection.owed is None or owed not in connection.owed:
            return
        self._forget(owed)
        self._answer(connection, owed.msgid, result)
        self._send(connection)
        if owed.park is not None and len(connection.outgoing) > MAX_UNREAD:
            self._close(connection)
        self._settle(connection)

    def _forget(self, owed: Owed) -> None:
        connection, park = owed.connection, owed.park
        if connection.owed is not None:
            connection.owed.discard(owed)
            if not connection.owed:
                connection.owed = None
        if park is None:
            self._later.discard(owed)
            return
        waiting = self._parked[park.keeper]
        del waiting[owed]
        if not waiting:
            del self._parked[park.keeper]
        park.keeper.waiting -= 1
        if owed.entry is not None:
            self._alarm.cancel(owed.entry)
