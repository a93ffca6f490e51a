"""The event loop of the daemon: while it waits, the server's clients are answered.

An event loop of asyncio does its work and then waits in its selector for what comes next. This one
waits in the server's own epoll, which also watches asyncio's. A client that is handed a token is
answered right there, and asyncio never knows: a turn of it would cost more than the answer. It is
given its turn as soon as anything else happens.
"""

import asyncio  # noqa: TID251 -- the one thing that anyio has no name for: the loop itself
import socket
from functools import partial
from selectors import EpollSelector, SelectorKey
from typing import TYPE_CHECKING, Any, Final, final

from openfit_tokend.host.blocking_calls import BlockingCalls

if TYPE_CHECKING:
    from openfit_tokend.serving.server import Server

LOOK_UP_TIME: Final = 30.0
"""Seconds for looking up a name, unless the caller waits less."""
LOOK_UPS: Final = 32
"""Names that are looked up at the same time: more than would hang even where most do."""


@final
class ServingLoop(asyncio.SelectorEventLoop):
    """A loop that serves while it waits, and looks names up where one that hangs harms no other."""

    def __init__(self) -> None:
        self._waiting = _Waiting()
        self._names = BlockingCalls("names", LOOK_UPS)
        super().__init__(self._waiting)

    def serve(self, server: "Server") -> None:
        """Drive a server from now on."""
        server.watch(self._waiting.fileno())
        self._waiting.server = server

    async def getaddrinfo(  # noqa: PLR0913 -- asyncio's signature
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 -- asyncio's signature
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Look a name up. Concurrent lookups of the same name share the answer.

        asyncio's own way is an executor of a few threads, which as many names that hang take up.
        """
        asked = (host, port, family, type, proto, flags)
        return await self._names.share(
            repr(asked), partial(socket.getaddrinfo, *asked), LOOK_UP_TIME
        )

    def leave(self, server: "Server") -> None:
        """Stop driving it."""
        self._waiting.server = None
        server.watch(-1)


def running_loop() -> ServingLoop:
    """Return the loop that runs: a daemon runs in no other."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ServingLoop)  # noqa: S101 -- the daemon runs in no other
    return loop


class _Waiting(EpollSelector):
    server: "Server | None" = None

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if self.server is None:
            return super().select(timeout)
        self.server.turn(timeout)
        return super().select(0)
