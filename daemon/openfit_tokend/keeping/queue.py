"""Automatic logins, queued before a task is created for them.

A thousand profiles log in when the daemon starts. A task for each of them, to wait for its turn at
the token server, leaves 5.5 MB behind, as much as all sessions take: 13 KiB a profile instead of 7.5.

The turns of `turns.py` can't do the same: they are for requests that are ready to be sent, so that
a login whose secret can't be read takes no turn from a refresh.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, final

from anyio.abc import TaskGroup

from openfit_tokend.host import clock
from openfit_tokend.host.alarm import Alarm

AT_ONCE: Final = 24
"""Logins in progress for one server: as many as may be sent, and some that are getting ready."""
HOLD: Final = 1.0
"""Seconds after which a login no longer counts: a secret that can't be read, or a slow server,
must not hold up the others."""

Work = Callable[[], Awaitable[None]]


@final
class Queue:
    """The queued logins of all servers, first come, first served."""

    def __init__(self, tasks: TaskGroup, alarm: Alarm) -> None:
        self._tasks = tasks
        self._alarm = alarm
        self._lines: dict[str, _Line] = {}

    def start(self, server: str, login: Work) -> None:
        """Start a login as soon as there is room for it."""
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
