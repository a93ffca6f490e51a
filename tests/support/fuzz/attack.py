"""Sends messages to a daemon, and judges what comes back: a hang, a crash or a fault is told."""

import socket
from contextlib import nullcontext, suppress
from pathlib import Path
from random import Random
from time import sleep
from typing import Final, Protocol, final

import msgpack

from daemons import NOBODY, PATIENCE, RunningDaemon, connected_to
from fuzz.messages import Messages
from openfit_token.errors import BY_CODE
from openfit_tokend.host import clock
from users import being

MOST: Final = 60
"""Messages of one connection: fewer than may be parked, so that the last one is always answered."""
GROWTH: Final = 30 * 2**20
"""Bytes that the daemon may grow beside any attack."""
ANSWERS: Final = 51
"""One in so many connections' answers is taken apart: to do so costs more than to send them."""
_LAST: Final[list[object]] = [0, 0xFFFFFFFE, "hello", list[object]()]
_ANSWERED: Final = b"\x94\x01\xce\xff\xff\xff\xfe\xc0"


class Broken(Exception):
    """The daemon did what it must not do."""


class Source(Protocol):
    """Where an attack's messages come from."""

    random: Random

    def next(self) -> bytes:
        """Return the next message, or what isn't one."""
        ...


class Attack:
    """One after the other, connections that send what a seed says: an operator's, a stranger's."""

    def __init__(self, daemon: RunningDaemon, messages: Source) -> None:
        self.sent = 0
        """Messages, and what isn't one."""
        self.connections = 0
        self._daemon = daemon
        self._messages = messages
        self._random = messages.random
        self._memory = daemon.memory()
        self._files = _open_files(daemon)

    def run(self, messages: int) -> None:
        """Send so many more messages.

        Raises:
            Broken: the daemon hung, or answered what is no answer, or told of a fault of its own.
        """
        until = self.sent + messages
        while self.sent < until:
            count = self._random.choice((1, 3, 10, 30, MOST))
            parts = [self._messages.next() for _ in range(count)]
            self.sent += count
            self.connections += 1
            try:
                self._talk(b"".join(parts))
            except TimeoutError:
                raise Broken(f"no answer, and no end, after {parts}") from None

    def judge(self) -> None:
        """Look whether the daemon is as it was.

        Raises:
            Broken: it isn't.
        """
        hello = self._daemon.call("hello")
        if hello["pid"] != self._daemon.pid:
            raise Broken("another daemon answers")
        if "internal_fault" in self._daemon.log():
            raise Broken(f"a fault of the daemon:\n{self._daemon.log()[-4000:]}")
        if (grown := self._daemon.memory() - self._memory) > GROWTH:
            raise Broken(f"it has grown by {grown / 2**20:.1f} MiB")
        until = clock.boot() + PATIENCE
        while (now := _open_files(self._daemon)) > self._files + 4:  # a reload, a login
            if clock.boot() > until:
                raise Broken(f"{now} descriptors instead of {self._files}")
            sleep(0.05)

    @property
    def grown(self) -> int:
        """Return by how many bytes the daemon is larger than at the beginning."""
        return self._daemon.memory() - self._memory

    def _talk(self, data: bytes) -> None:
        """Send all of this over one connection, and judge what is answered."""
        raise NotImplementedError

    def _connected(self, path: Path) -> socket.socket:
        with being(NOBODY) if self.connections % 2 else nullcontext():
            return connected_to(path)

    def _send(self, sock: socket.socket, data: bytes) -> None:
        if self._random.random() < 0.7:  # the rest is cut
            sock.sendall(data)
            return
        while data:
            cut = self._random.choice((1, 2, 7, 255, 256, 257, 4096))
            sock.sendall(data[:cut])
            data = data[cut:]


@final
class RpcAttack(Attack):
    """MessagePack-RPC, and what isn't."""

    def __init__(self, daemon: RunningDaemon, seed: int) -> None:
        super().__init__(daemon, Messages(seed))

    def _talk(self, data: bytes) -> None:
        data += msgpack.packb(_LAST)
        with self._connected(self._daemon.socket) as sock:
            way = self._random.randrange(10)
            with suppress(
                BrokenPipeError, ConnectionResetError
            ):  # it was closed at the first rubbish
                self._send(sock, data)
                if way == 0 or _is_swallowed(data):
                    return  # and hang up, whatever is answered
                if way == 1:
                    sock.shutdown(socket.SHUT_WR)
            answers = _read(sock)
        if self.connections % ANSWERS == 0:
            _judge(answers)


def _read(sock: socket.socket) -> bytes:
    """Read until the last message is answered, or the connection ends."""
    answers = b""
    with suppress(ConnectionResetError):
        while part := sock.recv(65536):
            seen = max(0, len(answers) - len(_ANSWERED))
            answers += part
            if _ANSWERED in answers[seen:]:
                break
    return answers


def _is_swallowed(data: bytes) -> bool:
    """Return whether half of another message has swallowed the last one: no answer is due then."""
    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(data)
    last: object = None
    try:
        for each in unpacker:
            last = each
    except (ValueError, TypeError):
        return False  # rubbish, which is answered and ends the connection
    return last != _LAST


def _judge(answers: bytes) -> None:
    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(answers)
    for answer in unpacker:
        match answer:
            case [1, int(), None, dict()] | [2, "changed", [dict()]]:
                pass
            case [1, int(), {"code": code, "message": str(), "hint": _, "retry_after": _}, None]:
                if code not in BY_CODE or code == "INTERNAL":
                    raise Broken(f"answered {answer}")
            case _:
                raise Broken(f"answered {answer}")


def _open_files(daemon: RunningDaemon) -> int:
    return sum(1 for _ in Path(f"/proc/{daemon.pid}/fd").iterdir())
