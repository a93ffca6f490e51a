"""One client: its socket, the answers it still awaits, and the dialect that gives its bytes a meaning.

The loop (`Server`) moves bytes. What they mean is up to the dialect of the listening socket.
"""

from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_STREAM, socket
from collections.abc import Callable
from dataclasses import dataclass
from select import epoll, poll
from typing import Final, Protocol, cast, final

from openfit_token._shared.frozen import frozen
from openfit_token.errors import TokenError
from openfit_tokend.core.callers.answers import Call
from openfit_tokend.core.callers.fair_queue import NO_SHARE
from openfit_tokend.core.callers.rights import Who
from openfit_tokend.host.alarm import Entry
from openfit_tokend.host.peers import Peer, who
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.users import User

MAX_DISCARDED: Final = 1024 * 1024
"""Bytes that are read and dropped after an invalid request: more than a socket holds."""
BATCH: Final = 32 * 1024
"""Bytes of answers that are gathered before they are sent."""
FAREWELL: Final = 0.5
"""Seconds in which the last answers are sent; a client that doesn't read them gets none."""

_AT_ONCE: Final = MSG_DONTWAIT
"""The flag that makes one call not wait: cheaper than making the socket non-blocking."""


_accept: Final = cast(
    "Callable[[socket], tuple[int, object]]",
    socket._accept,  # type: ignore[attr-defined] # noqa: SLF001 -- accept() asks the kernel for the family and type, which we know
)


def accept(listener: socket) -> socket:
    """Return the next client's socket.

    Raises:
        OSError: there is none (BlockingIOError), or it can't be had.
    """
    fd, _address = _accept(listener)
    return socket(AF_UNIX, SOCK_STREAM, 0, fd)


class Dialect(Protocol):
    """What the bytes of one listening socket's connections mean. No method waits.

    The methods may append to `outgoing`, which is sent behind them. Outside of them, bytes go out by
    the server's `put`.
    """

    hears: bool
    """Whether clients are read. If not, each is answered when it connects, and then closed."""
    most_owed: int
    """Answers that one connection may be owed; nothing more of it is answered while it is."""
    read_size: int
    """Bytes read of one connection in one pass: less than a millisecond's work."""
    farewell: float
    """Seconds in which its clients can take their last answers when the daemon ends."""
    guests: User | None
    """The user that all its connections are counted to. Clients beyond its `most` wait in the listen queue.
    None: each connection is counted to its peer's user, and clients beyond that user's `most` are refused."""

    def prepared(self, data: bytes, caller: "Connection", /) -> bytes | None:
        """Return the whole answer to these bytes if it is prepared, and needn't be logged for this caller."""
        ...

    def answer(self, connection: "Connection", data: bytes | None, /) -> bool:
        """Answer the first request in `rest` and `data`; return whether there was one.

        What is left of them stays in `rest`; None: nothing is. `data` None: go on with `rest`; or
        answer a client that isn't heard.
        """
        ...

    def more(self, connection: "Connection", /) -> bytes:
        """Return what is to follow what was sent. Called while `has_more` is set."""
        ...

    def refuse(self, connection: "Connection", error: TokenError, /) -> None:
        """Tell a client why it isn't served, and end the connection."""
        ...

    def forget(self, connection: "Connection", /) -> None:
        """Drop what is kept for a connection that ends."""
        ...


@dataclass(eq=False, slots=True)
class Door:
    """A listening socket, and what is spoken there."""

    listener: socket
    dialect: Dialect


@frozen
class Park:
    """A method's answer that is not known yet."""

    keeper: Keeper
    call: Call
    deadline: float


@final
class Owed:
    """An answer still to come. `park` None: it comes Later."""

    __slots__ = ("connection", "entry", "msgid", "park")

    def __init__(self, connection: "Connection", msgid: int, park: Park | None) -> None:
        self.connection = connection
        self.msgid = msgid
        self.park = park
        self.entry: Entry | None = None


@final
class Connection:
    """A connected socket. Its methods never block; a broken one raises OSError."""

    __slots__ = (
        "_who", "closed", "dialect", "ended", "follows", "has_more", "held", "named", "outgoing", "owed",
        "peer", "queued", "read_size", "rest", "share", "sock", "unread", "user", "watched", "watcher",
    )  # fmt: skip

    def __init__(self, sock: socket, peer: Peer, user: User, dialect: Dialect) -> None:
        self.sock = sock
        self.peer = peer
        self.user = user
        self.dialect = dialect
        self.read_size = dialect.read_size  # looked up for each request
        self.rest: object = None  # what the dialect keeps of what was read and isn't answered yet
        self.outgoing = b""
        self.unread = 0  # what of it `user.unread` counts
        self.owed: set[Owed] | None = None  # None: 10,000 idle clients need no sets
        self.follows = False  # it may be told something that it doesn't ask for
        self.has_more = False  # the dialect has more for it, once `outgoing` is sent
        self.held = not dialect.hears  # when it is free, `answer` is to be called without data
        self.queued: bytes | None = None  # read, and for its turn; None: not queued
        self.share = NO_SHARE  # of the time that requests take
        self.ended = not dialect.hears  # nothing more is read: it closed its side, or sent rubbish
        self.closed = False
        self.watched = -1  # what `watcher` looks for; -1: nothing does
        self.watcher: epoll
        self.named: str | None = None  # the id of the last token that the log says its client got
        self._who: Who | None = None  # None: not looked up yet

    @property
    def who(self) -> Who:
        """Return the identity that rights are checked against. The kernel is asked once."""
        if self._who is None:
            self._who = who(self.sock, self.peer)
        return self._who

    @property
    def is_gone(self) -> bool:
        """Return whether the client has left; one that only ended its own side hasn't."""
        hung_up = poll()
        hung_up.register(self.sock, 0)
        return bool(hung_up.poll(0))

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is under way, so that its client can simply connect again."""
        return self.queued is None and not (self.owed or self.follows or self.outgoing or self.rest)

    @property
    def is_free(self) -> bool:
        """Return whether another request may be answered now."""
        if self.owed is not None and len(self.owed) >= self.dialect.most_owed:
            return False
        return len(self.outgoing) <= BATCH

    def receive(self) -> bytes | None:
        """Return what was sent, b"" behind the last of it, or None for nothing yet."""
        try:
            return self.sock.recv(self.read_size, _AT_ONCE)
        except BlockingIOError:
            return None

    def send(self, data: bytes) -> bytes:
        """Send what the client's buffer takes; return the rest."""
        try:
            sent = self.sock.send(data, _AT_ONCE)
        except BlockingIOError:
            return data
        return data[sent:]

    def discard(self) -> None:
        """Read and drop what was sent: closing over unread data would lose the last answer."""
        for _ in range(MAX_DISCARDED // self.read_size):
            if not self.receive():
                return

    def count_unread(self) -> None:
        """Update the user's total of unread bytes."""
        unread = 0 if self.closed else len(self.outgoing)
        self.user.unread += unread - self.unread
        self.unread = unread
