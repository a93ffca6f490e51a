"""Who is at the other end of a connection within this machine, where no TLS says so.

That end is a socket of this machine too, and the kernel knows whose it is:

1. Root, this process's own user, and the user that the configuration names may be there, nobody else.
2. The connection itself is judged, before a secret goes over it. A look beforehand at who listens says
   nothing of a port that changes hands meanwhile.
3. A connection that nobody has accepted yet is nobody's, whatever the kernel shows. It is looked at again.
4. Who can't be known isn't believed: a number that may be anybody's in a user namespace, or an end that
   the kernel doesn't show (another network namespace, an address that is translated).
"""

import os
import socket
import sys
from collections.abc import Collection, Iterator
from struct import Struct
from typing import Any, Final, Protocol

from openfit_token._shared.identity import may_be_anybody
from openfit_token._shared.origin import ANYBODY
from openfit_token._shared.trouble import Trouble
from openfit_token._shared.trusted_path import user_name

FIRST_PAUSE: Final = 0.001
LAST_PAUSE: Final = 0.5
"""Seconds between two looks at a connection that nobody has accepted: the pause doubles until then. A look
takes as long as the machine has connections, and any user can make them many."""
LOOKS: Final = 4
"""Times to look for an end that isn't shown: a table may change while it is read."""

_TCP: Final = "/proc/self/net/tcp"
_TCP6: Final = "/proc/self/net/tcp6"
_MAPPED: Final = bytes(10) + b"\xff\xff"
"""What stands before an IPv4 address that is written as one of IPv6."""
_CREDENTIALS: Final = Struct("3i")
_ACCEPTABLE: Final = frozenset({b"01", b"03", b"08"})
"""ESTABLISHED, SYN_RECV, CLOSE_WAIT: an end without an owner that is in another state was closed."""
_GONE: Final = -1
"""Instead of a uid: the connection has ended, so nobody receives what is sent."""


class Stranger(Trouble):
    """The other end isn't one that may be sent a secret."""


class Connected(Protocol):
    """A connected socket, as each library has it."""

    @property
    def family(self) -> int:
        """Return its address family."""
        ...

    def getsockname(self) -> Any:  # noqa: ANN401 -- socket's own
        """Return its address."""

    def getpeername(self) -> Any:  # noqa: ANN401 -- socket's own
        """Return the address of the other end."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        """Return an option."""
        ...


def judging(own: Connected, believed: Collection[str | int | None]) -> Iterator[float]:
    """Judge who is at the other end: wait for the seconds that it yields, until it ends.

    The caller limits the time, and sends nothing before the end. Each step but the first may block: see
    `in_threads`. `believed`: the uids that may be there besides root's and this process's, or ANYBODY.

    Raises:
        Stranger: somebody else is there, or it can't be known.
    """
    pause, unseen = FIRST_PAUSE, 0
    yield 0.0
    while ANYBODY not in believed:
        try:
            uid = _uid(own)
        except LookupError:
            unseen += 1
            if unseen == LOOKS:
                raise _unknown("the kernel doesn't show who is at the other end") from None
            uid = None
        if uid == _GONE:
            return
        if uid is not None:
            _judge(uid, believed)
            return
        yield pause
        pause = min(2 * pause, LAST_PAUSE)


async def in_threads(steps: Iterator[float]) -> None:
    """Wait as `judging` says, and have its looks done in threads, so that nobody else waits for them.

    Raises:
        Stranger: as `judging` does.
    """
    from anyio import sleep, to_thread  # noqa: PLC0415 -- the blocking adapter needs neither

    pause = next(steps, None)  # here: an adapter finds its connection among its callers
    while pause is not None:
        await sleep(pause)
        pause = await to_thread.run_sync(next, steps, None)


def has_ended(own: Connected) -> bool:
    """Return whether nobody is at the other end any more, or can't be seen. Then nobody was judged there."""
    try:
        return _uid(own) == _GONE
    except LookupError:
        return True


def _judge(uid: int, believed: Collection[str | int | None]) -> None:
    if may_be_anybody("uid", uid):
        raise _unknown(
            f"uid {uid} is at the other end, and in this user namespace that may be anybody"
        )
    me = os.geteuid()
    if uid in {0, me, *believed}:
        return
    known = " or ".join(dict.fromkeys(map(user_name, (0, me))))
    name = user_name(uid)
    value = name if name == str(uid) else f'"{name}"'
    raise Stranger(
        f"{name} (uid {uid}) is at the other end, not {known}",
        f"if that is the right one: loopback_user = {value}; else find out what runs there",
    )


def _unknown(what: str) -> Stranger:
    return Stranger(what, f'use https, or trust whoever listens there: loopback_user = "{ANYBODY}"')


def _uid(own: Connected) -> int | None:
    """Return the user of the other end, or _GONE; None: nobody has accepted the connection yet.

    Raises:
        LookupError: the kernel doesn't show it.
    """
    if own.family == socket.AF_UNIX:  # who listens: it is known before the connection is accepted
        credentials = own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(credentials)
        return int(uid)
    try:
        here, there = own.getsockname(), own.getpeername()
    except OSError:
        return _GONE
    for table, written in ((_TCP, _as_ipv4), (_TCP6, _as_ipv6)):
        ends = written(there), written(here)  # the other one's view
        _, found, rest = _content(table).partition(b" %b %b " % ends)
        if found:
            state, _, _, _, uid, _, inode, _ = rest.split(None, 7)
            if inode != b"0":
                return int(uid)
            return None if state in _ACCEPTABLE else _GONE
    raise LookupError


def _content(table: str) -> bytes:
    try:
        with open(table, "rb") as file:  # noqa: PTH123 -- pathlib isn't needed here
            return file.read()
    except OSError:
        return b""


def _as_ipv4(address: tuple[str, int]) -> bytes:
    packed = _packed(address[0])
    return _written(packed.removeprefix(_MAPPED), address[1])


def _as_ipv6(address: tuple[str, int]) -> bytes:
    packed = _packed(address[0])
    return _written(packed if len(packed) > 4 else _MAPPED + packed, address[1])  # noqa: PLR2004 -- an IPv4 address


def _packed(host: str) -> bytes:
    return socket.inet_pton(
        socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0]
    )


def _written(packed: bytes, port: int) -> bytes:
    """Return an address as these tables have it: in words, each as a number of this machine."""
    words = (packed[each : each + 4] for each in range(0, len(packed), 4))
    numbers = (int.from_bytes(word, sys.byteorder) for word in words)
    return b"".join(b"%08X" % number for number in numbers) + b":%04X" % port
