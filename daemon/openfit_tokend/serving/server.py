"""Serves the socket: a readiness loop that answers in the pass that read the request.

`turn` is a plain function: it waits at the server's own epoll and handles what is ready there. Whoever
drives it calls it instead of waiting itself; nothing here knows which event loop that is. A
request touches nothing but memory: recv, decode, one call, encode, send, and no await in between.

A client hurts only itself. It is not read while an answer to it can't be sent whole, or while it
has MAX_PARKED calls parked; one pass reads no more than READ_SIZE of it, and queues requests once
they have taken PASS_TIME, so that a flood leaves time for others.
"""

import errno
import os
from _socket import SHUT_RD, socket
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from resource import RLIMIT_NOFILE, getrlimit
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll
from typing import TYPE_CHECKING, Final, Protocol, final

from openfit_token._shared.protocol import (
    MAX_REQUEST,
    Decoder,
    Incomplete,
    Malformed,
    encode_error,
    encode_result,
    parse_params,
    parse_request,
)
from openfit_token.errors import BadRequest, Internal, Overloaded, TokenError
from openfit_tokend.core.fair_queue import FairQueue
from openfit_tokend.core.session import AccessToken
from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.connection import BATCH, Connection, Park, accept
from openfit_tokend.serving.following import Follow, Following
from openfit_tokend.serving.peers import peer_of
from openfit_tokend.serving.shortcut import Shortcut
from openfit_tokend.serving.users import RESERVE_OWN, Caller, User, Users
from openfit_tokend.serving.waiting import Later, Waiting

if TYPE_CHECKING:
    from openfit_token._shared.protocol import Value

TURN_TIME: Final = 0.005
"""Seconds after which a turn takes no more events, so that the keepers live beside any crowd."""
MAX_WAIT: Final = 60.0
"""Seconds that a turn without an end of its own waits."""
MAX_EVENTS: Final = 16
"""Events taken from the kernel at once: all that are taken are handled, or queued."""
PASS_TIME: Final = 0.001
"""Seconds after which requests of one pass are queued, but for those that go the short way."""
ACCEPT_TIME: Final = 0.001
"""Seconds for which clients are accepted, and served once, in one pass."""
MAX_UNREAD: Final = 256 * 1024
"""Bytes of answers that a parked caller may leave unread before it is closed."""
MAX_UNREAD_USER: Final = 16 * 1024 * 1024
"""Bytes of answers that all connections of one user may leave unread."""
RESERVE: Final = 64
"""Descriptors kept for token requests, secrets and the ledger, whatever the clients do."""
_LOOKED_AT: Final = 64
"""Connections of a user among which an idle one is looked for, when one is to be closed."""
ACCEPT_PAUSE: Final = 0.1
"""Seconds without accepting, when the system has no descriptor or memory left for it."""
_MORE_ROOM: Final = "raise LimitNOFILE, or close clients"
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


class Methods(Protocol):
    """What the server needs to know of the methods."""

    shortcut: Shortcut
    """The short way to the most common answer."""

    def call(self, caller: Caller, method: str, params: Mapping[str, object]) -> object:
        """Return a result, a Park, a Later or a Follow.

        Raises:
            TokenError: what the caller is answered instead.
        """
        ...

    def token(self, caller: Caller, keeper: Keeper, access: AccessToken, now: float) -> object:
        """Return the result that hands out a token to a caller."""
        ...

    def refusal(self, caller: Caller, keeper: Keeper) -> TokenError | None:
        """Return the error of a caller who may not use a keeper's profile any more, if so."""
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
        self.users = Users(self._capacity)
        self.waiting = Waiting(self, methods.refusal, methods.token, alarm)
        self.following = Following(self, methods.refusal)
        self._methods = methods
        self._shortcut = methods.shortcut
        self._alarm = alarm
        self._epoll = epoll()
        self._listener: socket | None = None
        self._listener_fd = -1
        self._loop_fd = -1
        self._stirred = False  # this turn did more than hand out tokens
        self._queue: FairQueue[Connection] = FairQueue()
        self._pass_ends = 0.0  # 0: no request of this pass has gone the usual way yet
        self._connections: dict[int, Connection] = {}

    # What the owner calls

    def watch(self, fd: int) -> None:
        """End each turn from now on as soon as this descriptor is readable; -1: never more."""
        if self._loop_fd >= 0:
            self._epoll.unregister(self._loop_fd)
        self._loop_fd = fd
        if fd >= 0:
            self._epoll.register(fd, EPOLLIN)

    @property
    def connections(self) -> int:
        """Return the number of clients connected."""
        return len(self._connections)

    def listen(self, listener: socket) -> None:
        """Accept clients of a listening socket that doesn't block. It stays the caller's."""
        self._listener, self._listener_fd = listener, listener.fileno()
        self._epoll.register(self._listener_fd, EPOLLIN)

    @property
    def is_full(self) -> bool:
        """Return whether nobody more can be accepted until somebody leaves."""
        return len(self._connections) >= self._capacity

    def stop_accepting(self) -> None:
        """Accept nobody any more: who waits in the listen queue is for whoever listens next."""
        if self._listener is not None:
            self._epoll.unregister(self._listener_fd)
            self._listener, self._listener_fd = None, -1

    def hear_out(self, limit: float) -> None:
        """Answer what was sent until now, within so many seconds, and take no more.

        A client that sends on is told so by its kernel (EPIPE), instead of losing an answer.
        """
        for connection in self._connections.values():
            with suppress(OSError):  # it has hung up
                connection.sock.shutdown(SHUT_RD)
            self.following.forget(connection)
        until = clock.boot() + limit
        while self._connections and (left := until - clock.boot()) > 0:
            self.turn(min(left, TURN_TIME))

    def turn(self, timeout: float | None) -> None:  # noqa: C901 -- a pass is one loop: a call more would cost each request
        """Wait for clients and handle them, until the event loop is needed.

        That is when `timeout` seconds are over (None: never), when the descriptor it watches is
        readable, after TURN_TIME without a pause, and as soon as a request did more than take a
        token: it may have given somebody else something to do. Never raises for a client.
        """
        until = clock.boot() + (MAX_WAIT if timeout is None else timeout)
        self._stirred = False
        waiting = self._queue.waiting
        while (ready := self._epoll.poll(0 if waiting else timeout, MAX_EVENTS)) or waiting:
            self._pass_ends = 0.0
            arrived = False
            for fd, events in ready:
                connection = self._connections.get(fd)
                if connection is not None:
                    self._handle(connection, events)
                elif fd == self._listener_fd:
                    arrived = True
                elif fd == self._loop_fd:
                    self._stirred = True
                # else closed earlier in this pass
            if arrived:  # last: an event may be of a descriptor that was closed and would be theirs
                self._accept()
            if waiting:
                self._handle_queued()
            now = clock.boot()
            if self._stirred:
                if len(ready) < MAX_EVENTS:
                    return
                until = min(until, now + TURN_TIME)
            if now >= until:
                return
            timeout = 0 if self._stirred else until - now

    def close(self) -> None:
        """Close all connections. Answers that couldn't be sent yet are lost."""
        for connection in list(self._connections.values()):
            self.drop(connection)
        if self._listener is not None:
            self._epoll.unregister(self._listener_fd)
        self._epoll.close()

    # Answers that come later

    def respond(self, connection: Connection, msgid: int, result: object, *, waited: bool) -> None:
        """Send an answer; `waited`: to a parked call, which may not leave much unread."""
        self._answer(connection, msgid, result)
        self._send(connection)
        if waited and len(connection.outgoing) > MAX_UNREAD:
            self.drop(connection)
        self._settle(connection)

    def tell(self, connection: Connection, notification: bytes) -> None:
        """Send bytes that answer nothing."""
        connection.outgoing += notification
        self._send(connection)
        self._settle(connection)

    def drop(self, connection: Connection) -> None:
        """Close a connection, and forget what it is owed."""
        if connection.closed:
            return
        connection.closed = True
        self.waiting.forget(connection)
        self.following.forget(connection)
        connection.user.connections -= 1
        connection.count_unread()
        del self._connections[connection.sock.fileno()]
        connection.sock.close()  # and so out of the epoll

    # Connections

    def _accept(self) -> None:
        assert self._listener is not None  # noqa: S101 -- its descriptor was ready
        until = clock.boot() + ACCEPT_TIME
        while clock.boot() < until:
            try:
                sock = accept(self._listener)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause_accepting(os.strerror(error.errno))
                    return
                continue  # the client went away before it was accepted
            self._welcome(sock)

    def _pause_accepting(self, reason: str) -> None:
        self._stirred = True
        log.limited("accepting_paused", None, reason=reason, hint=_MORE_ROOM)
        self._epoll.modify(self._listener_fd, 0)
        self._alarm.at(clock.boot() + ACCEPT_PAUSE, self._resume_accepting)

    def _resume_accepting(self) -> None:
        if not self._epoll.closed and self._listener is not None:
            self._epoll.modify(self._listener_fd, EPOLLIN)

    def _welcome(self, sock: socket) -> None:
        peer = peer_of(sock)
        user = self.users.of(peer.uid)
        connection = Connection(sock, peer, user)
        self._connections[sock.fileno()] = connection
        user.connections += 1
        if user.connections > user.most:
            log.limited("too_many_connections", user.uid, uid=user.uid, most=user.most)
            full = Overloaded(
                f"uid {user.uid} has {user.most} connections", "close some, or use one for all"
            )
            self._end(connection, encode_error(0, full))
        elif len(self._connections) > self._capacity - RESERVE_OWN:
            self._make_room(connection)
        # Most clients have sent their request already: the epoll is for those that haven't.
        self._handle(connection, EPOLLIN)

    def _make_room(self, newcomer: Connection) -> None:
        """Close a connection of the user who has the most, or refuse the newcomer if that is it."""
        if newcomer.user.kept and len(self._connections) <= self._capacity:
            return
        heaviest = self.users.heaviest()
        log.limited("connections_used_up", heaviest.uid, uid=heaviest.uid, hint=_MORE_ROOM)
        if heaviest.weight > newcomer.user.weight:
            self.drop(self._least_needed(heaviest))
        else:
            full = Overloaded("the daemon has as many connections as it can", "try again later")
            self._end(newcomer, encode_error(0, full))

    def _least_needed(self, user: User) -> Connection:
        """Return the oldest idle connection of a user, or the oldest if none of the first is."""
        theirs = (each for each in self._connections.values() if each.user is user)
        oldest = list(islice(theirs, _LOOKED_AT))
        return next((each for each in oldest if each.is_idle), oldest[0])

    def _handle(self, connection: Connection, events: int) -> None:
        try:
            if events & EPOLLIN and not connection.ended:  # never watched together with EPOLLOUT
                data = connection.receive()
                if data:
                    at_rest = connection.decoder is None and not connection.outgoing
                    if at_rest and (answer := self._shortcut.answer(data)):
                        connection.user.requests += 1
                        connection.outgoing = connection.send(answer)
                        if not connection.outgoing and connection.watched == EPOLLIN:
                            return
                    else:
                        self._process(connection, data)
                elif data is not None:
                    connection.ended = True  # it may still read what it asked for
            elif events & EPOLLOUT:
                self._go_on(connection)
            if events & (EPOLLHUP | EPOLLERR) and (connection.ended or not events & EPOLLIN):
                self.drop(connection)  # nobody is there to read an answer
            self._settle(connection)
        except OSError:
            self.drop(connection)
        except Exception:  # noqa: BLE001 -- a fault of ours: this client is closed, the others live
            log.exception("internal_fault")
            self.drop(connection)

    def _handle_queued(self) -> None:
        """Go on with whoever is next in the queue."""
        self._pass_ends = 0.0
        connection = self._queue.pop()
        if not connection.closed:
            self._handle(connection, EPOLLOUT)

    def _go_on(self, connection: Connection) -> None:
        """Send what found no room, and then what had to wait for that, or for its turn."""
        self._send(connection)
        if connection.has_news and not connection.outgoing:
            connection.outgoing = self.following.news(connection)
            self._send(connection)
        if connection.queued is not None or (connection.held and connection.is_free):
            data, connection.queued, connection.held = connection.queued, None, False
            self._process(connection, data or None)

    def _process(self, connection: Connection, data: bytes | None = None) -> None:
        """Answer the requests in `data`, or those that were held, as long as they can be.

        One request at least, unless this pass has no time left: then the connection is queued.
        """
        self._stirred = True
        now = began = clock.boot()
        if not self._pass_ends:
            self._pass_ends = began + PASS_TIME
        elif began >= self._pass_ends:
            self._wait(connection, data or b"")
            return
        decoder = connection.decoder or Decoder(MAX_REQUEST)
        try:
            begun = not decoder.is_empty  # then `data` isn't the whole message
            message = decoder.next() if data is None else decoder.feed(data)
            if data and not begun and decoder.is_empty and not isinstance(message, Incomplete):
                self._methods.note(data, message)
            while not isinstance(message, Incomplete):
                self._request(connection, message)
                if len(connection.outgoing) > BATCH:
                    self._send(connection)
                if connection.closed:
                    return
                now = clock.boot()
                if not connection.is_free:
                    connection.held = True
                    break
                if now >= self._pass_ends and not decoder.is_empty:
                    self._wait(connection, b"")
                    break
                message = decoder.next()
        except Malformed as error:
            self._end(connection, encode_error(error.msgid, BadRequest(str(error))))
        connection.share = self._queue.charge(connection.share, now - began)
        connection.decoder = None if decoder.is_empty else decoder
        self._send(connection)

    def _wait(self, connection: Connection, data: bytes) -> None:
        """Queue a connection, with what was read of it and not decoded."""
        connection.queued = data
        self._queue.add(connection, connection.share)

    def _send(self, connection: Connection) -> None:
        if not connection.outgoing or connection.closed:
            return
        try:
            connection.outgoing = connection.send(connection.outgoing)
        except OSError:
            self.drop(connection)

    def _settle(self, connection: Connection) -> None:
        """Watch for what may come next, or close where nothing can."""
        if connection.outgoing or connection.unread:
            self._count_unread(connection)
        if connection.closed:
            return
        if connection.queued is not None:
            if connection.watched >= 0:  # not even its end is looked for before its turn
                self._epoll.unregister(connection.sock)
                connection.watched = -1
            return
        if connection.ended and not (connection.outgoing or connection.owed or connection.news):
            self.drop(connection)
            return
        if connection.outgoing or connection.has_news or (connection.held and connection.is_free):
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
            uid = connection.user.uid
            log.limited("too_much_unread", uid, uid=uid, most=MAX_UNREAD_USER)
            self.drop(connection)

    def _end(self, connection: Connection, last: bytes) -> None:
        """Say one last thing and close, as soon as it could be sent."""
        self.waiting.forget(connection)
        self.following.forget(connection)
        connection.ended = True
        connection.outgoing += last
        self._send(connection)
        if not connection.closed:
            with suppress(OSError):
                connection.discard()

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
            result = Internal("internal error in the daemon", "its log has the details")
        if isinstance(result, Park):
            self.waiting.park(connection, msgid, result)
        elif isinstance(result, Later):
            self.waiting.begin(connection, msgid, result)
        elif isinstance(result, Follow):
            self._answer(connection, msgid, result.result)
            self.following.add(connection, result.keeper)
        else:
            self._answer(connection, msgid, result)

    def _answer(self, connection: Connection, msgid: int, result: object) -> None:
        if isinstance(result, TokenError):
            connection.outgoing += encode_error(msgid, result)
        else:
            connection.outgoing += encode_result(msgid, result)
