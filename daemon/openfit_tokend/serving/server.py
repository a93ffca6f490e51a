"""Serves the sockets: a readiness loop that answers in the pass that read the request.

`turn` is a plain function: it waits at the server's own epoll and handles what is ready there. An event
loop calls it instead of waiting itself; nothing here knows which loop that is. A request touches
nothing but memory: recv, decode, one call, encode, send, and no await in between.
A *turn* is one call of `turn`; a *pass* is one poll of the epoll, and what that brought.

What the bytes mean is up to the dialect of the listening socket. All dialects have the same limits.

A client hurts only itself. It is not read while an answer to it can't be sent whole, or while it is
owed as many answers as it may be; one pass reads no more than the dialect's `read_size` of it, and
queues requests once they have taken PASS_TIME, so that a flood leaves time for others.
"""

import errno
import os
from _socket import SHUT_RD, socket
from contextlib import suppress
from itertools import islice
from resource import RLIMIT_NOFILE, getrlimit
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll
from typing import Final, final

from openfit_token.errors import Overloaded
from openfit_tokend.core.callers.fair_queue import FairQueue
from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.host.peers import peer_of
from openfit_tokend.serving.connection import BATCH, Connection, Dialect, Door, accept
from openfit_tokend.serving.users import CONNECTS, RESERVE_OWN, User, Users, judge_pace

TURN_TIME: Final = 0.005
"""Seconds after which a turn takes no more events, so that keepers get their time beside any crowd."""
MAX_WAIT: Final = 60.0
"""Seconds that a turn without an end of its own waits."""
MAX_EVENTS: Final = 16
"""Events taken from the kernel at once: all that are taken are handled, or queued."""
CROWD: Final = 64
"""Connections of a user that are watched one by one. Those beyond are watched together, and MAX_EVENTS
of them are handled at a time, so that one user's crowd doesn't go before all others."""
MAX_CROWDS: Final = 16
"""Users that may have so many at the same time: each costs a descriptor of RESERVE."""
PASS_TIME: Final = 0.001
"""Seconds after which requests of one pass are queued, but for those that go the short way."""
MIN_ACCEPTED: Final = 32
"""Clients accepted at a socket, and heard, in one pass, whatever they ask for."""
ACCEPT_TIME: Final = 0.002
"""Seconds in which more of them are: as many as wait at most, if they ask for little."""
MAX_UNREAD_USER: Final = 16 * 1024 * 1024
"""Bytes of answers that all connections of one user may leave unread."""
RESERVE: Final = 64
"""Descriptors kept for token requests, secrets and the ledger, whatever the clients do."""
_LOOKED_AT: Final = 64
"""Connections of a user among which an idle one is looked for, when one is to be closed."""
ACCEPT_PAUSE: Final = 0.1
"""Seconds without accepting, when the system has no descriptor or memory left for it."""
_MORE_ROOM: Final = "raise LimitNOFILE, or close clients"
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""What the system says that has no descriptor or memory left."""


@final
class Server:
    """All connections of the listening sockets."""

    def __init__(self, alarm: Alarm) -> None:
        descriptors, _hard = getrlimit(RLIMIT_NOFILE)
        self._capacity = max(1, descriptors - RESERVE)
        self.users = Users(self._capacity)
        self._alarm = alarm
        self._epoll = epoll()
        self._doors: dict[int, Door] = {}
        self._full_doors: list[Door] = []
        self._crowds: dict[int, epoll] = {}  # users' own, each watched by ours
        self._loop_fd = -1
        self._stirred = False  # this turn did more than hand out tokens
        self._queue: FairQueue[Connection] = FairQueue()
        self._pass_ends = 0.0  # 0: no request of this pass has gone the usual way yet
        self._connections: dict[int, Connection] = {}

    # For the owner

    def fileno(self) -> int:
        """Return the descriptor that is readable while there is something for a turn to do."""
        return self._epoll.fileno()

    def watch(self, fd: int) -> None:
        """End each turn from now on as soon as this descriptor is readable; -1: never more."""
        if self._loop_fd >= 0:
            self._epoll.unregister(self._loop_fd)
        self._loop_fd = fd
        if fd >= 0:
            self._epoll.register(fd, EPOLLIN)

    def listen(self, listener: socket, dialect: Dialect) -> None:
        """Accept clients of a listening socket that doesn't block. It stays the caller's."""
        self._doors[listener.fileno()] = Door(listener, dialect)
        self._epoll.register(listener, EPOLLIN)

    @property
    def is_full(self) -> bool:
        """Return whether no client can be accepted until another one leaves."""
        return len(self._connections) >= self._capacity

    def stop_accepting(self, dialect: Dialect) -> None:
        """Accept no more clients: those in the listen queue are left to the next daemon."""
        for fd, door in list(self._doors.items()):
            if door.dialect is dialect:
                self._epoll.unregister(fd)
                del self._doors[fd]

    def hear_out(self, dialect: Dialect) -> None:
        """Answer what was sent until now, within the dialect's `farewell`, and take no more.

        A client that sends on is told so by its kernel (EPIPE), instead of losing an answer.
        """
        theirs = [each for each in self._connections.values() if each.dialect is dialect]
        for connection in theirs:
            with suppress(OSError):  # it has hung up
                connection.sock.shutdown(SHUT_RD)
        until = clock.boot() + dialect.farewell
        while (left := until - clock.boot()) > 0 and not all(each.closed for each in theirs):
            self.turn(min(left, TURN_TIME))
        for connection in theirs:
            self.drop(connection)

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
            arrived: tuple[Door, ...] = ()
            for fd, events in ready:
                connection = self._connections.get(fd)
                if connection is not None:
                    self._handle(connection, events)
                elif fd == self._loop_fd:
                    self._stirred = True
                elif (door := self._doors.get(fd)) is not None:
                    arrived += (door,)
                elif (crowd := self._crowds.get(fd)) is not None:
                    self._handle_some(crowd)
                # else closed earlier in this pass
            if arrived:  # last: an event may be of a descriptor that was closed and would be theirs
                for door in arrived:
                    self._accept(door)
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

    def _handle_some(self, crowd: epoll) -> None:
        """Handle what is ready of a user's crowd, a few at a time."""
        for fd, events in crowd.poll(0, MAX_EVENTS):
            connection = self._connections.get(fd)
            if connection is not None:  # else closed earlier in this pass
                self._handle(connection, events)

    def close(self) -> None:
        """Close all connections. Answers that couldn't be sent yet are lost."""
        for connection in list(self._connections.values()):
            self.drop(connection)
        self._doors.clear()
        self._epoll.close()

    # For dialects

    def put(self, connection: Connection, data: bytes) -> bool:
        """Send a late answer or a notification; False: the client has left."""
        connection.outgoing += data
        taken = self._flush(connection)
        self._settle(connection)
        return taken

    def _flush(self, connection: Connection) -> bool:
        """Send what the client's buffer takes; False: the client has left."""
        if connection.closed:
            return False
        if connection.outgoing:
            try:
                connection.outgoing = connection.send(connection.outgoing)
            except OSError:
                self.drop(connection)
                return False
        return True

    def end(self, connection: Connection, last: bytes) -> None:
        """Send a last answer, and close once it is sent."""
        connection.dialect.forget(connection)
        connection.ended, connection.held = True, False
        connection.outgoing += last
        if self._flush(connection):
            with suppress(OSError):
                connection.discard()
        self._settle(connection)

    def drop(self, connection: Connection) -> None:
        """Close a connection and drop its waiting calls."""
        if connection.closed:
            return
        connection.closed = True
        connection.dialect.forget(connection)
        connection.user.connections -= 1
        connection.count_unread()
        del self._connections[connection.sock.fileno()]
        connection.sock.close()  # and so out of the epoll
        if not connection.user.connections and (crowd := connection.user.crowd) is not None:
            connection.user.crowd = None
            del self._crowds[crowd.fileno()]
            crowd.close()
        if self._full_doors:
            self._reopen(connection.user)

    # New clients

    def _accept(self, door: Door) -> None:
        until, left = clock.boot() + ACCEPT_TIME, MIN_ACCEPTED
        while left > 0 or clock.boot() < until:
            left -= 1
            guests = door.dialect.guests
            if guests is not None and guests.connections >= guests.most:
                self._full_doors.append(door)
                self._look_at(door, 0)
                return
            try:
                sock = accept(door.listener)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._pause_accepting(door, os.strerror(error.errno))
                    return
                continue  # the client went away before it was accepted
            self._welcome(sock, door)

    def _pause_accepting(self, door: Door, reason: str) -> None:
        self._stirred = True
        log.limited("accepting_paused", None, reason=reason, hint=_MORE_ROOM)
        self._look_at(door, 0)
        self._alarm.at(clock.boot() + ACCEPT_PAUSE, lambda: self._look_at(door, EPOLLIN))

    def _reopen(self, guests: User) -> None:
        for door in [each for each in self._full_doors if each.dialect.guests is guests]:
            self._full_doors.remove(door)
            self._look_at(door, EPOLLIN)

    def _look_at(self, door: Door, events: int) -> None:
        fd = door.listener.fileno()
        if self._doors.get(fd) is door:
            self._epoll.modify(fd, events)

    def _welcome(self, sock: socket, door: Door) -> None:
        peer, dialect = peer_of(sock), door.dialect
        user = dialect.guests or self.users.of(peer.uid)
        connection = Connection(sock, peer, user, dialect)
        self._connections[sock.fileno()] = connection
        user.connections += 1
        user.connects += 1
        if user.connects >= CONNECTS:
            judge_pace(user, peer)
        if user.connections > user.most:
            log.limited("too_many_connections", user.uid, uid=user.uid, most=user.most)
            full = Overloaded(
                f"uid {user.uid} has {user.most} connections", "close some, or use one for all"
            )
            dialect.refuse(connection, full)
        elif len(self._connections) > self._capacity - RESERVE_OWN:
            self._make_room(connection)
        # Most clients have sent their request already: the epoll is for those that haven't.
        self._handle(connection, EPOLLIN if dialect.hears else EPOLLOUT)

    def _make_room(self, newcomer: Connection) -> None:
        """Close a connection of the user with the most of them, or refuse the newcomer if it is that user's."""
        if newcomer.user.kept and len(self._connections) <= self._capacity:
            return
        heaviest = self.users.heaviest(newcomer.user)
        log.limited("connections_used_up", heaviest.uid, uid=heaviest.uid, hint=_MORE_ROOM)
        if heaviest.weight > newcomer.user.weight:
            self.drop(self._least_needed(heaviest))
        else:
            full = Overloaded("the daemon has as many connections as it can", "try again later")
            newcomer.dialect.refuse(newcomer, full)

    def _least_needed(self, user: User) -> Connection:
        """Return the oldest idle connection of a user, or the oldest if none of the first is."""
        theirs = (each for each in self._connections.values() if each.user is user)
        oldest = list(islice(theirs, _LOOKED_AT))
        return next((each for each in oldest if each.is_idle), oldest[0])

    # The life of a request
    #
    # 1. A client connects. `_accept` takes the connection; `_welcome` asks the kernel who it is, counts
    #    it to its user, and refuses it if that is one too many.
    # 2. `_handle` reads `read_size` bytes of what the client has sent.
    # 3. If the dialect has prepared the answer to just these bytes, that is sent, and this is all: the
    #    short way. Nothing is decoded.
    # 4. If not, the dialect makes requests of the bytes, does what they ask, and adds the answers to
    #    `outgoing`. What it can't answer yet it owes; half a request it keeps in `rest`.
    # 5. `_flush` sends as much of `outgoing` as the client's socket takes.
    # 6. `_settle` says what is waited for next: the client's reading, if something is left to be sent,
    #    else its next request. It closes a connection of which nothing more can come.
    # 7. An answer that was owed comes by `put`: when a keeper has changed, or at the call's deadline.

    def _handle(self, connection: Connection, events: int) -> None:
        try:
            if events & EPOLLIN and not connection.ended:  # never watched together with EPOLLOUT
                data = connection.receive()
                if data:
                    at_rest = connection.rest is None and not connection.outgoing
                    if at_rest and (answer := connection.dialect.prepared(data, connection)):
                        connection.user.requests += 1
                        connection.outgoing = connection.send(answer)
                        if not connection.outgoing and connection.watched == EPOLLIN:
                            return
                    else:
                        self._answer(connection, data)
                elif data is not None:
                    connection.ended = True  # it may still read what it asked for
            elif events & EPOLLOUT:
                self._go_on(connection)
            if events & (EPOLLHUP | EPOLLERR) and (connection.ended or not events & EPOLLIN):
                self.drop(connection)  # the client has left
            self._settle(connection)
        except OSError:
            self.drop(connection)
        except Exception:  # noqa: BLE001 -- an internal error: this client is closed, the others go on
            log.exception("internal_fault")
            self.drop(connection)

    def _handle_queued(self) -> None:
        """Continue with the next connection in the queue."""
        self._pass_ends = 0.0
        connection, began = self._queue.pop(), clock.boot()
        if not connection.closed:
            self._handle(connection, EPOLLOUT)
            self._queue.end_turn(connection.user.share, clock.boot() - began)

    def _go_on(self, connection: Connection) -> None:
        """Send what is left, then answer what had to wait for that or for its turn."""
        self._flush(connection)
        if connection.has_more and not connection.outgoing:
            connection.outgoing = connection.dialect.more(connection)
            self._flush(connection)
        if connection.closed:
            return  # the client has left
        if connection.queued is not None or (connection.held and connection.is_free):
            data, connection.queued, connection.held = connection.queued, None, False
            self._answer(connection, data or None)

    def _answer(self, connection: Connection, data: bytes | None) -> None:
        """Let the dialect answer one request at least; or queue it, if this pass has no time left."""
        self._stirred = True
        began = clock.boot()
        if not self._pass_ends:
            self._pass_ends = began + PASS_TIME
        elif began >= self._pass_ends:
            self._enqueue(connection, data or b"")
            return
        self._answer_all(connection, data)
        cost = clock.boot() - began
        connection.share = self._queue.charge(connection.user.share, connection.share, cost)
        if connection.held and connection.is_free:  # it stopped for want of time
            self._enqueue(connection, b"")
        self._flush(connection)

    def _answer_all(self, connection: Connection, data: bytes | None) -> None:
        """Let the dialect answer requests while the connection is free and this pass has time."""
        while connection.dialect.answer(connection, data):
            data = None
            if len(connection.outgoing) > BATCH:
                self._flush(connection)
            if connection.closed:
                return
            has_time = connection.rest is None or clock.boot() < self._pass_ends
            if not (connection.is_free and has_time):
                connection.held = True
                return

    def _enqueue(self, connection: Connection, data: bytes) -> None:
        """Queue a connection, with what was read of it and not looked at."""
        connection.queued = data
        connection.share = self._queue.add(connection, connection.user.share, connection.share)

    def _settle(self, connection: Connection) -> None:
        """Watch for what may come next, or close where nothing can."""
        if connection.outgoing or connection.unread:
            self._count_unread(connection)
        if connection.closed:
            return
        if connection.queued is not None:
            if connection.watched >= 0:  # not even its end is looked for before its turn
                connection.watcher.unregister(connection.sock)
                connection.watched = -1
            return
        comes = connection.outgoing or connection.has_more
        if connection.ended and not (comes or connection.owed or connection.follows):
            self.drop(connection)
            return
        if comes or (connection.held and connection.is_free):
            wanted = EPOLLOUT  # also to go on with what is held: a socket is mostly writable
        elif connection.ended or connection.held:
            wanted = 0
        else:
            wanted = EPOLLIN
        if connection.watched == wanted:
            return
        if connection.watched < 0:
            connection.watcher = self._watcher_for(connection.user)
            connection.watcher.register(connection.sock, wanted)
        else:
            connection.watcher.modify(connection.sock, wanted)
        connection.watched = wanted

    def _watcher_for(self, user: User) -> epoll:
        """Return what is to watch one more connection of a user."""
        if user.connections <= CROWD:
            return self._epoll
        if user.crowd is None:
            if len(self._crowds) >= MAX_CROWDS:
                return self._epoll
            user.crowd = epoll()
            self._crowds[user.crowd.fileno()] = user.crowd
            self._epoll.register(user.crowd, EPOLLIN)
        return user.crowd

    def _count_unread(self, connection: Connection) -> None:
        """Close the connection if its user now leaves more than MAX_UNREAD_USER unread."""
        connection.count_unread()
        if connection.unread and connection.user.unread > MAX_UNREAD_USER:
            uid = connection.user.uid
            log.limited("too_much_unread", uid, uid=uid, most=MAX_UNREAD_USER)
            self.drop(connection)
