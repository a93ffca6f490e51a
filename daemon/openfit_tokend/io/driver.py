"""The event loop of the daemon: while it waits, the server's clients are answered.

An event loop of asyncio does its work and then waits in its selector for what comes next. This one
waits in the server's own epoll, which also watches asyncio's. A client that is handed a token is
answered right there, and asyncio never knows: a turn of it would cost more than the answer. It is
given its turn as soon as anything else happens.
"""

import asyncio  # noqa: TID251 -- the one thing that anyio has no name for: the loop itself
from selectors import EpollSelector, SelectorKey
from typing import Protocol, final


class Server(Protocol):
    """Who has clients to answer."""

    def watch(self, fd: int) -> None:
        """End the turns early from now on when this descriptor is readable; -1: never more."""
        ...

    def turn(self, timeout: float | None) -> None:
        """Answer clients for so many seconds (None: for ever), or until the loop is needed."""
        ...


@final
class ServingLoop(asyncio.SelectorEventLoop):
    """A loop that serves while it waits."""

    def __init__(self) -> None:
        self._waiting = _Waiting()
        super().__init__(self._waiting)

    def serve(self, server: Server) -> None:
        """Drive a server from now on."""
        server.watch(self._waiting.fileno())
        self._waiting.server = server

    def leave(self, server: Server) -> None:
        """Drive it no more."""
        self._waiting.server = None
        server.watch(-1)


def running_loop() -> ServingLoop:
    """Give the loop that runs: a daemon runs in no other."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ServingLoop)  # noqa: S101 -- whoever runs a daemon takes it
    return loop


class _Waiting(EpollSelector):
    server: Server | None = None

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if self.server is None:
            return super().select(timeout)
        self.server.turn(timeout)
        return super().select(0)
