"""Turns at the token servers: a limited number of requests at once, the earliest deadline first."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, final

import anyio

MAX_REQUESTS: Final = 16
"""Token requests under way at one server: 1,000 profiles must not look like an attack."""


@final
class Turns:
    """Turns at one server, given by deadline."""

    def __init__(self) -> None:
        self._free = MAX_REQUESTS
        self._queue: list[tuple[float, int, anyio.Event]] = []
        self._order = count()

    @asynccontextmanager
    async def turn(self, deadline: float) -> AsyncGenerator[None]:
        """Wait for a turn, which ends with the block. `deadline` is in seconds of any clock."""
        await self._acquire(deadline)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, deadline: float) -> None:
        if self._free:
            self._free -= 1
            return
        mine = (deadline, next(self._order), anyio.Event())
        heappush(self._queue, mine)
        try:
            await mine[2].wait()
        except BaseException:  # cancelled: another request gets the turn
            if mine in self._queue:
                self._queue.remove(mine)
                heapify(self._queue)
            else:
                self._release()
            raise

    def _release(self) -> None:
        if self._queue:
            heappop(self._queue)[2].set()
        else:
            self._free += 1
