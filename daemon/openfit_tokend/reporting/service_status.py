"""Notifies the service manager of the daemon's phase, and gives it a status line."""

from datetime import UTC, datetime
from math import inf
from typing import Final, final

from openfit_tokend.core.reports.summary import in_words
from openfit_tokend.host import clock
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.host.service_manager import ServiceManager
from openfit_tokend.keeping.endpoint import Endpoint
from openfit_tokend.serving.profiles import Profiles

READY_TIME: Final = 10.0
"""Seconds from the start until the daemon reports that it is ready, even if a profile had no answer
yet."""
PACE: Final = 1.0
"""The least seconds between two status lines, however often things change."""
MARGIN: Final = 10.0
"""Seconds requested for a stop in addition to those that a request may take."""
_DAY: Final = 86400.0


@final
class ServiceStatus:
    """Keeps the service manager informed."""

    def __init__(
        self, profiles: Profiles, endpoint: Endpoint, manager: ServiceManager, alarm: Alarm
    ) -> None:
        self._profiles = profiles
        self._endpoint = endpoint
        self._manager = manager
        self._alarm = alarm
        self._begun = False
        self._ready = False
        self._text: str = ""  # the last one sent
        self._told_at = -inf
        self._scheduled = False

    def begin(self) -> None:
        """Begin to notify. Call it once the socket is served and every profile is added."""
        if self._manager.is_there:
            self._begun = True
            self._alarm.at(clock.boot() + READY_TIME, self._be_ready)
            self.changed()

    def changed(self) -> None:
        """Notify of a change: at once, or as soon as PACE allows."""
        if not self._begun:
            return
        if not self._ready and all(keeper.answered for keeper in self._profiles.keepers.values()):
            self._be_ready()
        if not self._scheduled:
            self._scheduled = True
            self._alarm.at(max(clock.boot(), self._told_at + PACE), self._tell)

    def reloading(self) -> None:
        """Notify of the start of a reload. Before the daemon is ready that is part of the start."""
        if self._ready and not self._profiles.stopping:
            self._manager.reloading()

    def reloaded(self) -> None:
        """Notify of the end of a reload, successful or not."""
        if self._ready and not self._profiles.stopping:
            self._tell()
            self._manager.ready()

    def stopping(self, time: float) -> None:
        """Notify of the stop, which may need so many seconds for requests under way."""
        if self._begun:
            self._manager.stopping()
            if self._endpoint.under_way:
                self._manager.extend(time + MARGIN)
            self._tell()

    def _be_ready(self) -> None:
        if not self._ready and not self._profiles.stopping:
            self._ready = True
            self._tell()  # first, so that it is there once the start is complete
            self._manager.ready()

    def _tell(self) -> None:
        self._scheduled = False
        text = self._in_words()
        if text != self._text:
            self._text, self._told_at = text, clock.boot()
            self._manager.status(text)

    def _in_words(self) -> str:
        profiles, now = self._profiles, clock.boot()
        if profiles.stopping:
            left = self._endpoint.under_way
            are = "request is" if left == 1 else "requests are"
            return f"stopping: {left} {are} being finished" if left else "stopping"
        named = [(name, each.session, each.health(now)) for name, each in profiles.keepers.items()]
        text = in_words(named, lambda moment: _local_time(moment, now))
        return f"{text}; the last reload was refused" if profiles.config_error else text


def _local_time(moment: float, now: float) -> str:
    """Return a moment as local time, with the date if it is more than a day away."""
    local = datetime.fromtimestamp(clock.wall() + moment - now, UTC).astimezone()
    return local.strftime("%H:%M" if moment - now < _DAY else "%Y-%m-%d %H:%M")
