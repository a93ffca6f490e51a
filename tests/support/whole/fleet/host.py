"""One host of the fleet: its daemon starts, stops, stands still and is killed."""

import asyncio  # noqa: TID251 -- it knows which tasks are left
import os
import signal
import socket
from collections.abc import Callable, Generator, Sized
from contextlib import contextmanager, suppress
from functools import partial
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, Final, final

from openfit_token.errors import ConfigRejected
from openfit_tokend.app import Daemon
from openfit_tokend.config import config_file
from openfit_tokend.host.service_manager import Service
from openfit_tokend.serving.listener import Listener
from openfit_tokend.storage.ledger_file import LedgerFile
from whole.clients import Clients
from whole.fleet.clocks import HostClock, Pause
from whole.fleet.loop import Passes
from whole.fleet.rows import identities
from whole.fleet.store import Link
from whole.graves import close_all
from whole.network import Network
from whole.service import ServiceManager

if TYPE_CHECKING:  # the world is made of this module
    from whole.fleet.world import World

SOCKET_MODE: Final = 0o666


@final
class Host:
    """A host. `life` counts the daemons that lived on it."""

    def __init__(self, world: "World", index: int) -> None:
        self._world = world
        self.index = index
        self.name = f"host-{index}"
        rng = self._rng = Random(world.plan.seed * 7919 + index)  # noqa: S311 -- a seed decides it
        drift = world.plan.drift
        self.clock = HostClock(world.time, rng.uniform(1e3, 1e6), 1 + rng.uniform(-drift, drift))
        self.directory = world.directory / self.name
        self.directory.mkdir()
        self.configuration = self.directory / "config.toml"
        self.password_file = self.directory / "password"
        self.key_file = self.directory / "key"
        self.ledger = LedgerFile(self.directory / "state" / "ledger.json")
        assert self.ledger.lock()  # as the command does, for all daemons that live here
        self.boot_id = f"boot-{index}-0"
        self.clients = Clients(self.directory / "run" / "socket")
        self.network = Network(world.time, partial(world.connects, self), world.received)
        self.link = Link(world, self)
        self.life = 0
        self.daemon: Daemon | None = None
        self.passes: Passes | None = None
        self.ready: Sized = ()
        """What its loop has to do already."""
        self.wakes_at = inf
        """When its loop has something to do by itself."""
        self.password = ""
        """What the password's file has."""
        self.removed: str | None = None
        """The profile that its configuration lacks."""
        # What befalls it
        self.no_store_until = self.no_server_until = self.deaf_until = -inf
        self.files_hang_until = -inf
        self.stood_still = -inf
        """The world's time when its daemon last stood still, or was not there; inf: it does so now."""
        self.began = -inf
        """When its daemon started."""
        self.frozen = 0
        self._manager = ServiceManager(self.directory / "notify")
        self._main: asyncio.Task[None] | None = None
        self._at_work = False
        self._doomed = False
        self._passes_left = -1

    # Its life

    @property
    def runs(self) -> bool:
        """Return whether a daemon runs there now."""
        return self.daemon is not None and self.clock.paused is None

    def start(self) -> None:
        """Start a daemon, unless one runs."""
        world = self._world
        if self.daemon is not None:
            return
        try:
            settings = config_file.load(self.configuration)
        except ConfigRejected as error:
            world.witness.broken(0, "a daemon starts", error.message)
            return
        world.identities.update(identities(settings.profiles.values()))
        self.life += 1
        self._doomed, self._passes_left = False, -1
        self.began = self.stood_still = world.time.now
        self.passes = Passes(self.clock)
        loop, self.ready = self.passes.loop, self.passes.ready
        loop.waiting.passes = self._pass
        world.watch(loop.waiting.fileno(), self)
        world.watch(loop.waiting.eye, self)
        loop.waiting.watch(self._manager.fileno(), self._manager.read)
        with self.here():
            service = Service(
                notify_socket=self._manager.address, has_store=True, stored=self._manager.passed()
            )
            listener = Listener(self.directory / "run" / "socket", SOCKET_MODE, None)
            self.daemon = Daemon(
                self.configuration, settings, listener, self.ledger, service=service
            )
            self._main = loop.create_task(self.daemon.run())
        world.tell(self.name, f"starts, life {self.life}")

    def make_a_pass(self) -> None:
        """Let its loop make a pass."""
        passes, main = self.passes, self._main
        assert passes is not None
        assert main is not None
        with self.here():
            passes.make_one()
        if self.clock.paused is None:  # it may have begun to stand still just now
            self.wakes_at = passes.due
        if self._doomed:
            self.kill()
        elif main.done():
            self._ended(main)

    @contextmanager
    def here(self) -> Generator[None]:
        """Let what is done be done on this host."""
        before, self._world.machine = self._world.machine, self
        working, self._at_work = self._at_work, True
        try:
            yield
        finally:
            self._world.machine, self._at_work = before, working

    def work(self, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Do what one of the daemon's threads does."""
        with self.here():
            call(*args)

    def stop(self) -> None:
        """Ask for an orderly end."""
        if self.passes is not None:
            self.passes.send(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the daemon: nothing of it runs on, not even what cleans up."""
        if self.daemon is None:
            return
        if self._at_work:
            self._doomed = True
            return
        world = self._world
        world.witness.gone(self)
        world.tell(self.name, "is killed")
        close_all(self._descriptors())
        self._bury()

    def kill_in(self, passes: int) -> None:
        """Kill the daemon so many passes of its loop from now."""
        self._passes_left = passes

    def reboot(self) -> None:
        """Begin anew with all that a reboot forgets."""
        self.kill()
        self._manager.forget()
        self.boot_id = f"boot-{self.index}-{self.life}"
        self.clock.reboot(self._rng.uniform(1.0, 50.0))

    def pause(self, how: Pause) -> None:
        """Let the daemon, or its host, stand still."""
        if self.runs:
            self._world.witness.gone(self)
            self._world.tell(self.name, f"stands still: {how.name}")
            self.clock.change(how)
            self.stood_still = self.wakes_at = inf
            self.frozen += how is Pause.FROZEN

    def go_on(self) -> None:
        """Let it run again."""
        if self.clock.paused is not None:
            self._world.tell(self.name, "goes on")
            self.clock.change(None)
            self.stood_still = self._world.time.now
            self.wakes_at = inf if self.passes is None else self.passes.due

    def close(self) -> None:
        """End for good."""
        if self.daemon is not None:
            close_all(self._descriptors())
            self._bury()
        self._manager.close()
        self.clients.close()

    def _ended(self, main: "asyncio.Task[None]") -> None:
        world = self._world
        world.tell(self.name, "has ended")
        assert self.passes is not None
        error = main.exception()
        if error is not None:
            world.witness.broken(0, "no internal error", repr(error))
        left = [each for each in asyncio.all_tasks(self.passes.loop) if not each.done()]
        if left:
            world.witness.broken(8, "after a stop no task is left", f"{left}")
        self._bury()

    def _bury(self) -> None:
        assert self.passes is not None
        world, loop = self._world, self.passes.loop
        world.look_away(loop.waiting.fileno())
        world.look_away(loop.waiting.eye)
        world.graves.add((self.daemon, self._main, self.passes), asyncio.all_tasks(loop))
        self.daemon = self.passes = self._main = None
        self.ready, self.wakes_at = (), inf
        self.life += 1
        self.link.cut()
        if self.clock.paused is not None:
            self.clock.change(None)
        self.stood_still = world.time.now
        with suppress(RuntimeError):  # it is in a pass of its own: then it stays open
            loop.close()
        self._manager.read()
        world.time.at(world.time.now + world.deeds.gone_for, self.start)

    def _pass(self) -> None:
        if self._passes_left > 0:
            self._passes_left -= 1
            if not self._passes_left:
                self.kill()

    def _descriptors(self) -> list[int]:
        """Return what of the daemon others would notice: its files, its socket, connections to it."""
        own, run, found = f"{self.directory}/", f"{self.directory}/run/", list[int]()
        for listed in os.listdir("/proc/self/fd"):  # noqa: PTH208 -- names are enough
            fd = int(listed)
            with suppress(OSError):
                name = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 -- it is no path, mostly
                if name.startswith("socket:"):
                    sock = socket.socket(fileno=os.dup(fd))
                    name = sock.getsockname() if sock.family == socket.AF_UNIX else ""
                    sock.close()
                    if isinstance(name, str) and name.startswith(run):
                        found.append(fd)
                elif name.startswith(own):
                    found.append(fd)
        return found
