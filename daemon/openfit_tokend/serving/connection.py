"""One client: its socket, what it is owed, and what it hasn't read yet."""

from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_STREAM, socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast, final

from openfit_token._shared.protocol import Decoder
from openfit_token.errors import TokenError
from openfit_tokend.core.answers import Call
from openfit_tokend.core.fair_queue import NO_SHARE
from openfit_tokend.host.alarm import Entry
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.peers import Peer
from openfit_tokend.serving.users import User

READ_SIZE: Final = 256
"""Bytes read of one connection in one pass: some twenty requests, less than a millisecond's work."""
MAX_PARKED: Final = 64
"""Calls of one connection that may wait; it isn't read while they do."""
MAX_DISCARDED: Final = 1024 * 1024
"""Bytes read for nothing behind rubbish: more than a socket holds."""
BATCH: Final = 32 * 1024
"""Bytes of answers that are gathered before they are sent."""

_AT_ONCE: Final = MSG_DONTWAIT
"""The flag that makes one call not wait: cheaper than to make the socket so."""


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


@dataclass(frozen=True, slots=True)
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
        "closed", "decoder", "ended", "held", "news", "outgoing", "owed", "peer", "queued", "share",
        "sock", "unread", "user", "watched",
    )  # fmt: skip

    def __init__(self, sock: socket, peer: Peer, user: User) -> None:
        self.sock = sock
        self.peer = peer
        self.user = user
        self.decoder: Decoder | None = None  # of what was read and isn't answered yet
        self.outgoing = b""
        self.unread = 0  # what of it `user.unread` counts
        self.owed: set[Owed] | None = None  # None: 10,000 idle clients need no sets
        self.news: dict[Keeper, bool] | None = None  # what it follows, and whether it is to be told
        self.watched = -1  # what the epoll looks for; -1: it doesn't know the socket yet
        self.held = False  # requests that were read may still lie in the decoder
        self.queued: bytes | None = None  # read, and not decoded before its turn; None: not queued
        self.share = NO_SHARE  # of the time that requests take
        self.ended = False  # nothing more is read: it closed its side, or sent rubbish
        self.closed = False

    @property
    def has_news(self) -> bool:
        """Return whether there is something it wasn't told yet."""
        return self.news is not None and True in self.news.values()

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is under way: its client can connect anew whenever it likes."""
        return self.queued is None and not (self.owed or self.news or self.outgoing or self.decoder)

    @property
    def is_free(self) -> bool:
        """Return whether another request may be answered now."""
        if self.owed is not None and len(self.owed) >= MAX_PARKED:
            return False
        return len(self.outgoing) <= BATCH

    def receive(self) -> bytes | None:
        """Return what was sent, b"" behind the last of it, or None for nothing yet."""
        try:
            return self.sock.recv(READ_SIZE, _AT_ONCE)
        except BlockingIOError:
            return None

    def send(self, data: bytes) -> bytes:
        """Send what the client's buffer takes; give the rest."""
        try:
            sent = self.sock.send(data, _AT_ONCE)
        except BlockingIOError:
            return data
        return data[sent:]

    def discard(self) -> None:
        """Read what nobody wants: closing over it would reset the connection under the last answer."""
        for _ in range(MAX_DISCARDED // READ_SIZE):
            if not self.receive():
                return

    def count_unread(self) -> None:
        """Let the user's sum say what this connection leaves unread."""
        unread = 0 if self.closed else len(self.outgoing)
        self.user.unread += unread - self.unread
        self.unread = unread


Judge = Callable[[Connection, Keeper], TokenError | None]
"""Returns the error of a connection's peer that may not use a keeper's profile any more, if so."""


class Door(Protocol):
    """Where what comes unasked, or later, goes out to a client."""

    def respond(self, connection: Connection, msgid: int, result: object, *, waited: bool) -> None:
        """Send an answer; `waited`: to a parked call, which may not leave much unread."""
        ...

    def tell(self, connection: Connection, notification: bytes) -> None:
        """Send bytes that answer nothing."""
        ...

    def drop(self, connection: Connection) -> None:
        """Close a connection, and so forget what it is owed and what it follows."""
        ...
