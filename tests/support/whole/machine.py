"""The host of the daemon: it starts, stops and kills it, and keeps what outlives it."""

import asyncio  # noqa: TID251 -- it knows which tasks are left
import os
import signal
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import sniffio

from openfit_token.errors import ConfigRejected
from openfit_tokend.app import Daemon
from openfit_tokend.config import config_file
from openfit_tokend.host.service_manager import Service
from openfit_tokend.serving.listener import Listener
from openfit_tokend.storage.ledger_file import LedgerFile, Ledgers
from whole.graves import Graves, close_all
from whole.service import ServiceManager
from whole.time import Stop, VirtualLoop

if TYPE_CHECKING:  # the world is made of this module
    from whole.world import World

SOCKET_MODE: Final = 0o666


class Killed(Stop):
    """The daemon is killed: nothing of it runs on, not even what cleans up."""


@final
class Machine:
    """One host. `life` counts the daemons that lived on it."""

    def __init__(self, world: "World", directory: Path) -> None:
        self.configuration = directory / "config.toml"
        self.socket = directory / "run" / "socket"
        self.ledger = _Ledger(directory / "state" / "ledger.json")
        assert self.ledger.lock()  # as the command does, for all daemons that live here
        self.life = 0
        self.daemon: Daemon | None = None
        self.loop: VirtualLoop | None = None
        self.stops = 0
        """Times that the daemon of now was asked to end."""
        self.killed_at = -1.0
        self._world = world
        self._manager = ServiceManager(directory / "notify")
        self._graves = Graves()
        self._pass_to_die = -1
        self._open: set[int] = set()  # descriptors that aren't the daemon's

    def start(self) -> None:
        """Start a daemon, if its configuration allows it."""
        world = self._world
        try:
            settings = config_file.load(self.configuration)
        except ConfigRejected as error:
            world.tell("daemon", f"doesn't start: {error.message}")
            return
        self.life += 1
        self._pass_to_die = -1
        self.stops = 0
        self._open = _descriptors()
        service = Service(
            notify_socket=self._manager.address, has_store=True, stored=self._manager.passed()
        )
        listener = Listener(self.socket, SOCKET_MODE, None)
        loop = self.loop = VirtualLoop(world.time)
        loop.waiting.watch(self._manager.fileno(), self._manager.read)
        loop.waiting.watch(world.clients.fileno(), world.clients.read)
        loop.waiting.passes = self._pass
        _Ledger.world = world
        self.daemon = Daemon(self.configuration, settings, listener, self.ledger, service=service)
        world.tell("daemon", f"starts, life {self.life}")
        world.witness.started()

    def run(self) -> None:
        """Live until the daemon has ended or was killed."""
        world, loop, daemon = self._world, self.loop, self.daemon
        assert loop is not None
        assert daemon is not None
        token = sniffio.current_async_library_cvar.set("asyncio")  # as anyio.run does
        main = loop.create_task(daemon.run())
        orderly = False
        try:
            loop.run_until_complete(main)
            orderly = True
        except Killed:
            world.tell("daemon", "is killed")
        finally:
            sniffio.current_async_library_cvar.reset(token)
            left = asyncio.all_tasks(loop)
            self._graves.add((daemon, main, loop), left)
            self.daemon = self.loop = None
            self.life += 1
            loop.close()
            self._manager.read()
            mine = _descriptors() - self._open - world.clients.descriptors - self._manager.stored
            if not orderly:
                close_all(mine)
        if orderly:
            world.tell("daemon", "has ended")
            world.witness.ended(daemon, left, mine)

    @staticmethod
    def work(call: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Do what one of the daemon's threads does."""
        call(*args)

    def stop(self) -> None:
        """Ask for an orderly end; the second time, for one at once."""
        self.stops += 1
        self._send(signal.SIGTERM)

    def hang_up(self) -> None:
        """Ask for a reload by signal."""
        self._send(signal.SIGHUP)

    def kill(self) -> None:
        """Kill the daemon right here."""
        if self.loop is not None:
            self.killed_at = self._world.time.now
            raise Killed

    def kill_in(self, passes: int) -> None:
        """Kill the daemon so many passes of its loop from now."""
        self._pass_to_die = passes

    def reboot(self) -> None:
        """Forget what systemd stored."""
        self._manager.forget()

    def close(self) -> None:
        """End for good."""
        self._manager.close()
        self._graves.close()

    def _send(self, number: signal.Signals) -> None:
        """Send a signal, which is minded as soon as the daemon runs."""
        if self.daemon is not None and callable(signal.getsignal(number)):
            signal.raise_signal(number)

    def _pass(self) -> None:
        if self._pass_to_die >= 0:
            self._pass_to_die -= 1
            if self._pass_to_die < 0:
                self.kill()
        self._world.between_passes()


class _Ledger(LedgerFile):
    """The ledger's file, on a disk that may be full."""

    world: "World"

    def save(self, ledgers: Ledgers) -> None:
        if self.world.time.now < self.world.disk_full_until:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        super().save(ledgers)


def _descriptors() -> set[int]:
    """Return what is open, but for the listing itself."""
    listed = os.listdir("/proc/self/fd")  # noqa: PTH208 -- names are enough
    return {int(each) for each in listed if Path(f"/proc/self/fd/{each}").exists()}
