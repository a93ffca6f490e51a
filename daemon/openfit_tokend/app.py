"""Puts the parts together: the only place that knows all of them."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final, final

import anyio
import anyio.to_thread

from openfit_token.errors import ConfigRejected, Internal, NoSuchProfile
from openfit_tokend import __version__
from openfit_tokend.core.settings import Profile, Settings
from openfit_tokend.io import clock, config_file, log, peers
from openfit_tokend.io.accounts import Accounts
from openfit_tokend.io.alarm import Alarm
from openfit_tokend.io.calls import Calls, stopping
from openfit_tokend.io.connection import User
from openfit_tokend.io.driver import running_loop
from openfit_tokend.io.endpoint import Endpoint
from openfit_tokend.io.keeper import Keeper, Tools
from openfit_tokend.io.listener import Listener
from openfit_tokend.io.queue import Queue
from openfit_tokend.io.server import Server
from openfit_tokend.io.state import StateFile
from openfit_tokend.io.waiting import Reply

MAX_FAULTS: Final = 100
"""Faults of a configuration that an answer or a status names; the log and `check` name all."""
STOP_TIME: Final = 60.0
"""Seconds that requests under way are given when the daemon stops: as long as one may take."""


@final
class Daemon:
    """One running daemon."""

    def __init__(
        self, config_path: Path, settings: Settings, listener: Listener, ledger: StateFile
    ) -> None:
        """Take settings that were loaded from a file, and a socket to serve. Nothing runs yet.

        The ledger's lock stays the caller's; the socket is closed when `run` ends.

        Raises:
            ConfigRejected: a group of `admin_groups` doesn't exist.
        """
        self.keepers: dict[str, Keeper] = {}
        self.default_profile = settings.default_profile
        self.admin_groups = admin_groups(settings)
        self.socket_path = os.fsencode(listener.path).decode(errors="replace")
        self.started_at = clock.boot()
        self.config_error: str | None = None
        self.stopping = False
        self._config_path = config_path
        self._settings = settings
        self._listener = listener
        self._alarm = Alarm()
        self._endpoint = Endpoint()
        self._accounts = Accounts(ledger)
        self._calls = Calls(self)
        self._server = Server(self._calls, self._alarm)
        self._reload_wanted = anyio.Event()
        self._reload_replies: list[Reply] = []

    @property
    def users(self) -> Mapping[int, User]:
        """Give what each uid did."""
        return self._server.users

    @property
    def connections(self) -> int:
        """Give the number of clients connected."""
        return self._server.connections

    def reload(self, reply: Reply) -> None:
        """Read the configuration anew and say how that went. Many calls may share one reading."""
        self._reload_replies.append(reply)
        self._reload_wanted.set()

    async def run(self) -> None:
        """Serve until a signal says stop, and then end in order."""
        stop = anyio.Event()
        async with anyio.create_task_group() as services:
            services.start_soon(self._alarm.run)
            services.start_soon(self._mind_signals, stop)
            async with anyio.create_task_group() as requests:
                logins = Queue(requests, self._alarm)
                tools = Tools(self._endpoint, self._accounts, self._alarm, requests, logins)
                services.start_soon(self._reload_when_wanted, tools)
                self._serve()
                for profile in self._settings.profiles.values():
                    self._add(profile, tools)
                log.info(
                    "started",
                    version=__version__,
                    socket=self.socket_path,
                    config=self._config_path,
                    profiles=len(self.keepers),
                )
                await stop.wait()
                self._begin_to_stop()
                services.start_soon(self._abandon_in_time)
                requests.cancel_scope.cancel()  # what was sent is shielded, and waited for here
            await self._accounts.write()
            await self._endpoint.close()
            self._end_serving()
            services.cancel_scope.cancel()
        log.info("stopped")

    # Serving

    def _serve(self) -> None:
        self._server.listen(self._listener.socket)
        running_loop().serve(self._server)

    def _end_serving(self) -> None:
        running_loop().leave(self._server)
        self._server.close()
        self._listener.close()

    def _add(self, profile: Profile, tools: Tools) -> None:
        self.keepers[profile.name] = Keeper(profile, tools, self._server.waiting.changed)

    def _remove(self, name: str) -> None:
        keeper = self.keepers.pop(name)
        keeper.remove()
        gone = NoSuchProfile(f"profile {name} was removed from the configuration")
        self._server.waiting.removed(keeper, gone)

    # Stopping

    async def _mind_signals(self, stop: anyio.Event) -> None:
        wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        with anyio.open_signal_receiver(*wanted) as signals:
            async for received in signals:
                if received == signal.SIGHUP:
                    self.reload(lambda _: None)
                elif stop.is_set():
                    log.warning("stopping_at_once", signal=received.name)
                    self._endpoint.abandon()
                else:
                    log.info("stopping", signal=received.name)
                    stop.set()

    def _begin_to_stop(self) -> None:
        """Begin nothing new. Live tokens are served to the end."""
        self.stopping = True
        for keeper in self.keepers.values():
            keeper.retire()
        self._server.waiting.answer_all(stopping())
        for reply in self._reload_replies:
            reply(stopping())

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
            result = await self._read_anew(tools)
            for reply in replies:
                reply(result)
            await self._accounts.write()

    async def _read_anew(self, tools: Tools) -> object:
        """Give the answer to a reload: what became of it."""
        try:
            settings = await anyio.to_thread.run_sync(config_file.load, self._config_path)
            if self.stopping:
                return stopping()
            self._apply(settings, tools)
        except ConfigRejected as error:
            log.error("reload_refused", faults=error.message, hint="the old configuration stays")
            self.config_error = _shortened(error.message)
            return ConfigRejected(self.config_error, error.hint)
        except Exception:  # noqa: BLE001 -- a fault of ours must not end the sessions
            log.exception("internal_fault", method="reload")
            return Internal("a fault of the daemon", "its log has the details")
        return {}

    def _apply(self, settings: Settings, tools: Tools) -> None:
        """Take over what changed; a profile that didn't keeps its session."""
        groups = admin_groups(settings)  # may refuse, so before anything is changed
        old, self._settings = self._settings, settings
        self.admin_groups, self.default_profile = groups, settings.default_profile
        self.config_error = None
        self._endpoint.forget_trust()
        self._calls.shortcut.forget()
        for name in self.keepers.keys() - settings.profiles.keys():
            self._remove(name)
        for name, profile in settings.profiles.items():
            if name in self.keepers:
                self.keepers[name].reconfigure(profile)
            else:
                self._add(profile, tools)
        log.info("reloaded", profiles=len(self.keepers))
        if _place(old) != _place(settings):
            log.warning("restart_needed", reason="socket, socket_mode or socket_group changed")


def admin_groups(settings: Settings) -> frozenset[int]:
    """Give the ids of the groups whose members are operators.

    Raises:
        ConfigRejected: there is no such group.
    """
    missing = [name for name in settings.admin_groups if not peers.group_exists(name)]
    if missing:
        raise ConfigRejected(
            f"admin_groups: there is no group {', '.join(missing)}", "groupadd, or correct the name"
        )
    return peers.group_ids(settings.admin_groups)


def _shortened(faults: str) -> str:
    """Give as many faults as an answer can carry; the log has all."""
    lines = faults.splitlines()
    more = len(lines) - MAX_FAULTS
    return faults if more <= 0 else "\n".join([*lines[:MAX_FAULTS], f"and {more} more"])


def _place(settings: Settings) -> tuple[str | None, int, str | None]:
    return settings.socket, settings.socket_mode, settings.socket_group
