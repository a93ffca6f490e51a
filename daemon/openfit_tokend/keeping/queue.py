"""Where logins wait that begin by themselves, before anything of theirs exists.

A thousand profiles log in when the daemon starts. As many tasks that wait for their turn would
leave 11 MB behind, twice what all sessions take. The turns of `turns.py` can't do it: they are for
requests that are ready, so that a secret that can't be read takes no turn from a refresh.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, final

from anyio.abc import TaskGroup

from openfit_tokend.host import clock
from openfit_tokend.host.alarm import Alarm

AT_ONCE: Final = 24
"""Logins at work for one server: as many as may be sent, and some that get ready meanwhile."""
HOLD: Final = 1.0
"""Seconds after which one doesn't count any more: a secret that can't be read, or a slow server,
must hold up nobody else."""

Work = Callable[[], Awaitable[None]]


@final
class Queue:
    """Logins in the order in which they came, for each server."""

    def __init__(self, tasks: TaskGroup, alarm: Alarm) -> None:
        self._tasks = tasks
        self._alarm = alarm
        self._lines: dict[str, _Line] = {}

    def start(self, server: str, login: Work) -> None:
        """Let a login begin as soon as there is room for it."""
        line = self._lines.setdefault(server, _Line())
        line.waiting.append(login)
        self._admit(line)

    def _admit(self, line: "_Line") -> None:
        while line.waiting and line.at_work < AT_ONCE:
            line.at_work += 1
            self._tasks.start_soon(self._do, line, line.waiting.popleft())

    async def _do(self, line: "_Line", login: Work) -> None:
        entry = self._alarm.at(clock.boot() + HOLD, lambda: self._leave(line))
        try:
            await login()
        finally:
            if self._alarm.cancel(entry):
                self._leave(line)

    def _leave(self, line: "_Line") -> None:
        line.at_work -= 1
        self._admit(line)


@final
class _Line:
    """The logins of one server."""

    __slots__ = ("at_work", "waiting")

    def __init__(self) -> None:
        self.at_work = 0
        self.waiting: deque[Work] = deque()
