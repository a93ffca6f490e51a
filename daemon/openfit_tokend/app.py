"""Puts the parts of the daemon together: the only module that knows all of them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import anyio
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint

from openfit_token.errors import ConfigRejected, Internal, NoSuchProfile
from openfit_tokend import __version__
from openfit_tokend.config import config_file
from openfit_tokend.config.passwords import Passwords
from openfit_tokend.core.callers.answers import LoginEnded
from openfit_tokend.core.callers.rights import Rights
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.schedule import REQUEST_TIMEOUT
from openfit_tokend.core.settings.values import FleetSettings, Profile, Settings
from openfit_tokend.host import clock, log, signals
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.host.blocking_calls import BlockingCalls
from openfit_tokend.host.listener import AdoptedListener, Listener, Sockets
from openfit_tokend.host.service_manager import NO_SERVICE, Service, ServiceManager
from openfit_tokend.host.signals import NO_TERMINAL, Terminal
from openfit_tokend.keeping.claims import Claims
from openfit_tokend.keeping.endpoint import Endpoint
from openfit_tokend.keeping.keeper import Keeper, Tools
from openfit_tokend.keeping.outages import Outages
from openfit_tokend.keeping.queue import Queue
from openfit_tokend.reporting.notices import Notices
from openfit_tokend.reporting.service_status import ServiceStatus
from openfit_tokend.reporting.token_files import TokenFiles
from openfit_tokend.reporting.watchdog import Watchdog
from openfit_tokend.serving.calls import stopping
from openfit_tokend.serving.faces import Faces
from openfit_tokend.serving.places import export_line
from openfit_tokend.serving.profiles import Profiles
from openfit_tokend.serving.users import Users
from openfit_tokend.serving.waiting import Respond
from openfit_tokend.storage.accounts import Accounts
from openfit_tokend.storage.ledger_file import LedgerFile
from openfit_tokend.storage.stored_sessions import StoredSessions

if TYPE_CHECKING:
    from openfit_tokend.fleet.fleet import Fleet

RESTART_NEEDED: Final = "socket, http_socket, socket_mode, socket_group or fleet changed"
"""What a reload doesn't change."""
MAX_FAULTS: Final = 100
"""Faults of a configuration that an answer or a status lists; the log and `check` list all."""
SLICE: Final = 25
"""Profiles that a reload changes at once, which takes about a millisecond."""
STOP_TIME: Final = REQUEST_TIMEOUT
"""Seconds that requests under way may still take when the daemon stops: as long as any request may."""


@final
class Daemon:
    """The daemon."""

    def __init__(  # noqa: PLR0913, PLR0917 -- the parts that whoever starts it has made
        self,
        config_path: Path,
        settings: Settings,
        sockets: Sockets,
        ledger: LedgerFile,
        service: Service = NO_SERVICE,
        terminal: Terminal = NO_TERMINAL,
        judge: Callable[[Settings], None] = lambda _: None,
    ) -> None:
        """Create a daemon that isn't running yet.

        Args:
            config_path: the file that `settings` were loaded from.
            settings: the configuration.
            sockets: closed when `run` ends.
            ledger: the caller keeps it locked.
            service: what the service manager passed; its sockets are those above.
            terminal: the daemon ends when it closes.
            judge: raises ConfigRejected for settings with which a start would end; it may block.
        """
        self.profiles = Profiles(settings.rights)
        self.socket_path = _path_of(sockets.rpc)
        self.http_socket_path = None if sockets.http is None else _path_of(sockets.http)
        self.started_at = clock.boot()
        self._terminal = terminal
        self._judge = judge
        self._config_path = config_path
        self._loading = BlockingCalls("configuration", at_once=1)
        self._settings = settings
        self._in_force = _place(settings)
        self._alarm = Alarm()
        self._passwords = Passwords()
        self._endpoint = Endpoint(self._passwords)
        self._accounts = Accounts(ledger, self._tell_of_all)
        self._faces = Faces(sockets, self, self.profiles, self._alarm)
        self.users.subordinates = settings.subordinates
        self._manager = ServiceManager(service.notify_socket, self._alarm)
        self._sessions = StoredSessions(
            service, self._manager, settings.profiles, shared=settings.fleet is not None
        )
        self._service_status = ServiceStatus(
            self.profiles, self._endpoint, self._manager, self._alarm
        )
        self._watchdog = Watchdog(self.profiles, self._endpoint, self._faces.server, sockets.rpc)
        self._watchdog_limit = service.watchdog
        self.fleet = self._membership(settings.fleet)
        self._notices = Notices(self._alarm)
        self._token_files = TokenFiles(self._alarm, self._tell_of_file)
        self._reload_wanted = anyio.Event()
        self._reload_replies: list[Respond] = []
        self._reading: anyio.CancelScope | None = None  # of the configuration, the last one
        self._hurried = 0.0  # when its time is over if another reload is ordered

    @property
    def users(self) -> Users:
        """Return what each user has in use."""
        return self._faces.server.users

    def reload(self, reply: Respond) -> None:
        """Reread the configuration and call `reply` with the result. Many calls may share one reading."""
        self._reload_replies.append(reply)
        self._reload_wanted.set()
        if self._reading is not None:
            self._reading.deadline = min(self._reading.deadline, self._hurried)

    async def run(self) -> None:
        """Serve until a signal stops the daemon, then end in order."""
        stop = anyio.Event()
        async with anyio.create_task_group() as services:
            services.start_soon(self._alarm.run)
            services.start_soon(self._accounts.keep_trying)
            await services.start(self._mind_signals, stop)  # before a client can be answered
            async with anyio.create_task_group() as requests:
                logins = Queue(requests, self._alarm)
                tools = Tools(
                    self._endpoint,
                    self._accounts,
                    self._alarm,
                    self._sessions,
                    requests,
                    logins,
                    self._passwords,
                    Outages(self._endpoint, requests, self._alarm),
                    self._join,
                )
                _warn_of_names(self._settings)
                services.start_soon(self._reload_when_wanted, tools)
                self._faces.serve()
                services.start_soon(self._notices.run)
                services.start_soon(self._token_files.run)
                if self.fleet is not None:
                    services.start_soon(self.fleet.run)
                for profile in self._settings.profiles.values():
                    self._add(profile, self._settings.rights, tools)
                self.profiles.serve(self._settings)
                self._service_status.begin()
                services.start_soon(
                    self._watchdog.run, self._manager, self._alarm, self._watchdog_limit
                )
                log.info(
                    "started",
                    version=__version__,
                    socket=self.socket_path,
                    config=self._config_path,
                    profiles=len(self.profiles.keepers),
                    hint=export_line(Path(self.socket_path)),
                )
                await stop.wait()
                self._begin_to_stop()
                services.start_soon(self._abandon_in_time)
                requests.cancel_scope.cancel()  # requests already sent are shielded, and awaited here
            if self.fleet is not None:
                await self.fleet.drain()
            await self._accounts.write()
            await self._token_files.stop()
            await self._manager.drain()
            await anyio.sleep(self._faces.last_call)
            self._faces.end()
            self._manager.close()
            services.cancel_scope.cancel()
        log.info("stopped")

    def _membership(self, settings: FleetSettings | None) -> "Fleet | None":
        """Return the daemon's membership of its fleet, whose packages are imported only here.

        Raises:
            ConfigRejected: a package is missing.
        """
        if settings is None:
            return None
        from openfit_tokend.fleet.lacking import refuse_lacking  # noqa: PLC0415 -- few daemons have one

        refuse_lacking(settings.store)
        from openfit_tokend.fleet.made import fleet  # noqa: PLC0415 -- few daemons have one

        return fleet(settings, self._accounts, self._alarm, self._passwords)

    def _join(self, keeper: Keeper) -> Claims:
        return Claims(self._accounts) if self.fleet is None else self.fleet.join(keeper)

    # Changes of keepers

    def _add(self, profile: Profile, rights: Rights, tools: Tools) -> None:
        keeper = Keeper(profile, rights, tools, self._changed)
        self.profiles.add(keeper)
        self._notices.recall(profile, keeper.reported)
        self._follow(keeper)

    def _changed(self, keeper: Keeper, ended: LoginEnded | None) -> None:
        self._faces.changed(keeper, ended)
        self._service_status.changed()
        self._follow(keeper)

    def _follow(self, keeper: Keeper) -> None:
        """Update token files and notices after a change of a keeper."""
        if self.profiles.keepers.get(keeper.profile.name) is not keeper:
            return  # it is being created, or was removed
        self._token_files.changed(keeper.profile, keeper.session)
        if not self.profiles.stopping:
            self._notices.changed(keeper.profile, keeper.health(clock.boot()))

    def _tell_of_all(self) -> None:
        for keeper in self.profiles.keepers.values():
            keeper.tell()

    def _tell_of_file(self, name: str, problem: Problem | None) -> None:
        keeper = self.profiles.keepers.get(name)
        if keeper is not None and keeper.file_problem != problem:
            keeper.file_problem = problem
            keeper.tell()

    def _remove(self, name: str) -> None:
        keeper = self.profiles.keepers.pop(name)
        keeper.remove()
        self._sessions.forget(name)
        gone = NoSuchProfile(f"profile {name} was removed from the configuration")
        self._faces.removed(keeper, gone)
        self._token_files.removed(name)
        self._notices.removed(name)

    # Stopping

    async def _mind_signals(self, stop: anyio.Event, *, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(*signals.wanted()) as arriving:
            signals.mind_hangups()
            task_status.started()
            async for received in arriving:
                gone = received == signal.SIGHUP and self._terminal.is_gone
                if received == signal.SIGHUP and not gone:
                    self.reload(lambda _: None)
                elif gone and stop.is_set():
                    continue  # a closing terminal sends several, and so does its shell
                elif stop.is_set():
                    log.warning("stopping_at_once", signal=received.name)
                    self._endpoint.abandon()
                else:
                    log.info("stopping", signal=received.name)
                    stop.set()

    def _begin_to_stop(self) -> None:
        """Start nothing new. Live tokens are served to the end."""
        self.profiles.stopping = True
        for keeper in self.profiles.keepers.values():
            keeper.retire()
        self._faces.begin_to_stop()
        for reply in self._reload_replies:
            reply(stopping())
        self._service_status.stopping(STOP_TIME)

    async def _abandon_in_time(self) -> None:
        await anyio.sleep(STOP_TIME)
        log.warning("requests_abandoned", after=STOP_TIME)
        self._endpoint.abandon()

    # Reloading

    async def _reload_when_wanted(self, tools: Tools) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted = anyio.Event()
            replies, self._reload_replies = self._reload_replies, []
            self._service_status.reloading()
            result = await self._read_anew(tools)
            self._service_status.reloaded()
            for reply in replies:
                reply(result)
            await self._accounts.write()

    async def _read_anew(self, tools: Tools) -> object:
        """Reread the configuration and return the answer to a reload."""
        try:
            now = anyio.current_time()
            self._reading = anyio.CancelScope(deadline=now + config_file.LOAD_TIME)
            self._hurried = now + config_file.HURRIED_TIME
            settings = await config_file.load_in_time(
                self._loading, self._config_path, self._judge, self._reading
            )
            if self.fleet is not None:
                self.fleet.reload()
            if self.profiles.stopping:
                return stopping()
            await self._apply(settings, tools)
        except ConfigRejected as error:
            log.error("reload_refused", faults=error.message, hint="the old configuration stays")
            self.profiles.config_error = _shortened(error.message)
            return ConfigRejected(self.profiles.config_error, error.hint)
        except Exception:  # noqa: BLE001 -- an internal error must not end the sessions
            log.exception("internal_fault", method="reload")
            return Internal("internal error in the daemon", "its log has the details")
        return {}

    async def _apply(self, settings: Settings, tools: Tools) -> None:
        """Apply what changed; a profile that didn't change keeps its session.

        Clients are served after each SLICE of profiles; `Profiles` says which settings apply then.
        """
        profiles = self.profiles
        self.users.subordinates = settings.subordinates
        profiles.expect(settings.rights)
        for count, profile in enumerate(settings.profiles.values(), 1):
            if count % SLICE == 0:
                await checkpoint()
            if profiles.stopping:
                return  # retired keepers can't take new settings
            keeper = profiles.keepers.get(profile.name)
            if keeper is None:
                self._add(profile, settings.rights, tools)
            else:
                profiles.change(keeper, profile)
                self._faces.changed(keeper, None)  # callers that lost the right to it are told
                self._follow(keeper)
        profiles.serve(settings)
        for count, name in enumerate(profiles.keepers.keys() - settings.profiles.keys(), 1):
            if count % SLICE == 0 and not profiles.stopping:
                await checkpoint()
            self._remove(name)
        log.info("reloaded", profiles=len(profiles.keepers))
        _warn_of_names(settings)
        if _place(settings) != self._in_force:
            log.warning("restart_needed", reason=RESTART_NEEDED)


def _warn_of_names(settings: Settings) -> None:
    for line in settings.unknown_names:
        log.warning("unknown_name", reason=line, hint="it lets nobody in; reload once it exists")


def _shortened(faults: str) -> str:
    """Return as many faults as fit in an answer; the log has all."""
    lines = faults.splitlines()
    more = len(lines) - MAX_FAULTS
    return faults if more <= 0 else "\n".join([*lines[:MAX_FAULTS], f"and {more} more"])


def _place(settings: Settings) -> tuple[object, ...]:
    return (
        settings.socket,
        settings.http_socket,
        settings.socket_mode,
        settings.socket_group,
        settings.fleet,
    )


def _path_of(listener: Listener | AdoptedListener) -> str:
    return os.fsencode(listener.path).decode(errors="replace")
