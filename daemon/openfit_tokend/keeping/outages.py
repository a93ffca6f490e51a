"""Whether token servers can be reached: what one request finds out holds for all profiles of a server.

While a server can't be reached, one request at a time tries, PACE seconds after the last that failed.
Others wait for what comes of it. If callers wait for a token meanwhile, or ask for one, a *knock*
does it for them: it connects, and reads no password. Whoever connects first ends the outage for all: the
requests that didn't get through are sent at once.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from math import inf
from typing import TYPE_CHECKING, Final, final

import anyio
from anyio.abc import TaskGroup

from openfit_tokend.core.events import ServerReached
from openfit_tokend.core.settings.values import Profile
from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.keeping.connecting import NotSent

if TYPE_CHECKING:
    from openfit_tokend.keeping.endpoint import Endpoint
    from openfit_tokend.keeping.keeper import Keeper

PACE: Final = 4.0
"""Seconds from an attempt that failed to the next one at the same server."""


@final
class Reach:
    """Whether one server can be reached, as far as is known."""

    def __init__(self) -> None:
        self.is_known = False
        """It could be reached, last time."""
        self.lost: dict[Keeper, None] = {}
        """Those whose last request didn't get through."""
        self.knocks = False
        """Somebody knocks, or will."""
        self._failure: NotSent | None = None
        self._failed_at = -inf
        self._trial: anyio.Event | None = None

    @property
    def next_at(self) -> float:
        """Return the moment from which it may be tried again."""
        return self._failed_at + PACE

    @asynccontextmanager
    async def trial(self) -> AsyncGenerator[NotSent | None]:
        """Wait until it may be tried, or another has tried since; return its failure. None: connect, and tell."""
        came = clock.boot()
        while not self.is_known:
            if self._failed_at > came:
                yield self._failure
                return
            if self._trial is not None:
                await self._trial.wait()
            elif (early := self.next_at - clock.boot()) > 0:
                await anyio.sleep(early)
            else:
                break
        if self.is_known:
            yield None
            return
        mine = self._trial = anyio.Event()
        try:
            yield None
        finally:
            self._end(mine)

    def connected(self) -> None:
        """Note that it can be reached: whoever waits for that goes on."""
        if self.is_known:
            return
        self.is_known = True
        if self._trial is not None:
            self._end(self._trial)
        lost, self.lost = self.lost, {}
        for keeper in lost:
            keeper.feed(ServerReached())

    def failed(self, failure: NotSent) -> None:
        """Note that it can't be reached."""
        self.is_known, self._failure, self._failed_at = False, failure, clock.boot()

    def _end(self, trial: anyio.Event) -> None:
        """Let others go on; the next trial may have begun already."""
        trial.set()
        if self._trial is trial:
            self._trial = None


@final
class Outages:
    """What keepers use of it."""

    def __init__(self, endpoint: "Endpoint", tasks: TaskGroup, alarm: Alarm) -> None:
        self._endpoint = endpoint
        self._tasks = tasks
        self._alarm = alarm

    def ended(self, keeper: "Keeper", sender: Profile, *, got_through: bool) -> None:
        """Note how a keeper's request ended, before its session is told."""
        reach = self._endpoint.reach(sender)
        if got_through or reach.is_known:
            reach.lost.pop(keeper, None)
            return
        reach.lost[keeper] = None
        if keeper.waiting:
            self._knock_soon(reach, sender)

    def wanted(self, keeper: "Keeper") -> None:
        """Have a server tried again soon: a caller wants a token."""
        reach = self._endpoint.reach(keeper.profile)
        if keeper in reach.lost:
            self._knock_soon(reach, keeper.profile)

    def tried_by(self, keeper: "Keeper") -> float:
        """Return until when the server is tried for a keeper whose callers want a token; inf: it isn't."""
        reach = self._endpoint.reach(keeper.profile)
        return reach.next_at if keeper in reach.lost else inf

    def _knock_soon(self, reach: Reach, profile: Profile) -> None:
        if not reach.knocks:
            reach.knocks = True
            at = max(clock.boot(), reach.next_at)
            self._alarm.at(at, lambda: self._begin(reach, profile))

    def _begin(self, reach: Reach, profile: Profile) -> None:
        self._tasks.start_soon(self._knock, reach, profile)

    async def _knock(self, reach: Reach, profile: Profile) -> None:
        try:
            await self._endpoint.knock(profile)
        except Exception:  # noqa: BLE001 -- an internal error: requests are still tried by schedule
            log.exception("internal_fault", profile=profile.name)
        reach.knocks = False
        waiting = next((keeper for keeper in reach.lost if keeper.waiting), None)
        if waiting is not None:
            self._knock_soon(reach, waiting.profile)
