"""One host: its daemon starts, stops, stands still and is killed, and what outlives that is kept."""

import asyncio  # noqa: TID251 -- it knows which tasks are left
import json
import os
import signal
import socket
from collections.abc import Generator, Sized
from contextlib import contextmanager, suppress
from errno import ENOSPC
from math import inf
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, final

from openfit_token.errors import ConfigRejected
from openfit_tokend.app import Daemon
from openfit_tokend.config import config_file
from openfit_tokend.host.listener import Listener, Sockets
from openfit_tokend.host.service_manager import Service
from openfit_tokend.storage.ledger_file import LedgerFile, Ledgers
from whole.clients import Clients
from whole.clocks import HostClock, Pause
from whole.configuration import Configuration
from whole.graves import close_all
from whole.rows import identities
from whole.service import ServiceManager
from whole.store import Link
from whole.time import VirtualLoop

if TYPE_CHECKING:  # the world is made of this module
    from whole.world import World

SOCKET_MODE: Final = 0o666
UNSEEN: Final = 0.01
"""Seconds within which a daemon takes note of an answer, and has written it down."""


@final
class Host:
    """A host. `life` counts the daemons that lived on it."""

    def __init__(self, world: "World", index: int, wanted: Configuration) -> None:
        self._world = world
        self.index = index
        self.name = f"host-{index}"
        rng = self._rng = Random(world.plan.seed * 7919 + index)  # noqa: S311 -- a seed decides it
        drift = world.plan.drift
        self.clock = HostClock(world.time, rng.uniform(1e3, 1e6), 1 + rng.uniform(-drift, drift))
        self.directory = world.directory / self.name
        self.directory.mkdir()
        self.configuration = self.directory / "config.toml"
        self.key_file = self.directory / "key"
        self.ledger = _Ledger(self.directory / "state" / "ledger.json")
        self.ledger.host = self
        assert self.ledger.lock()  # as the command does, for all daemons that live here
        self.boot_id = f"boot-{index}-0"
        self.clients = Clients(self.directory / "run" / "socket")
        self.link = Link(world, self)
        self.life = 0
        self.daemon: Daemon | None = None
        self.loop: VirtualLoop | None = None
        self.ready: Sized = ()
        """What its loop has to do already."""
        self.wakes_at = inf
        """When its loop has something to do by itself."""
        self.wanted = wanted
        """What the configuration's file says."""
        self.in_force: tuple[Configuration, ...] = (wanted,)
        """The configuration that is in force; more while a reload is under way."""
        self.stored: dict[int, str] = {}
        """What the password's file of each account has, or is to have."""
        # What befalls it
        self.no_store_until = self.no_server_until = self.deaf_until = -inf
        self.files_hang_until = self.disk_hangs_until = self.disk_full_until = -inf
        self.stood_still = -inf
        """The world's time when its daemon last stood still, or was not there; inf: it does so now."""
        self.began = -inf
        """When its daemon started."""
        self.frozen = 0
        self.stops = 0
        """Times that the daemon of now was asked to end."""
        self._missed: list[tuple[float, float]] = []
        self._paused_at = -inf
        self._manager = ServiceManager(self.directory / "notify")
        self._main: asyncio.Task[None] | None = None
        self._open: set[int] = set()  # descriptors that aren't the daemon's
        self._at_work = False
        self._doomed = False
        self._passes_left = -1

    def password_file(self, account: int) -> Path:
        """Return where an account's password is."""
        return self.directory / f"password-{account}"

    @property
    def is_full(self) -> bool:
        """Return whether nothing can be written to its disk."""
        return self._world.time.now < self.disk_full_until

    def noted_logins(self, account: int) -> int:
        """Return the logins of an account that the ledger on disk has as under way."""
        try:
            noted = json.loads(self.ledger.path.read_bytes())
        except FileNotFoundError:
            return 0
        accounts = noted["accounts"]
        return sum(each["under_way"] for each in accounts if each["username"] == f"user-{account}")

    # Its life

    @property
    def runs(self) -> bool:
        """Return whether a daemon runs there now."""
        return self.daemon is not None and self.clock.paused is None

    def start(self) -> None:
        """Start a daemon, unless one runs."""
        world = self._world
        if self.daemon is not None or world.stopping:
            return
        try:
            settings = config_file.load(self.configuration)
        except ConfigRejected as error:
            world.witness.broken(0, "a daemon starts", error.message)
            return
        world.identities.update(identities(settings.profiles.values()))
        self.in_force = (self.wanted,)
        self.life += 1
        self._doomed, self._passes_left, self.stops = False, -1, 0
        self.began = self.stood_still = world.time.now
        self._open = _descriptors()
        loop = self.loop = VirtualLoop(world.time, self.clock, self._pass)
        self.ready = loop.ready
        world.watch(loop.looking.fileno(), self)
        world.watch(loop.looking.eye, self)
        loop.looking.watch(self._manager.fileno(), self._manager.read)
        with self.here():
            service = Service(
                notify_socket=self._manager.address, has_store=True, stored=self._manager.passed()
            )
            listener = Listener(self.directory / "run" / "socket", SOCKET_MODE, None)
            self.daemon = Daemon(
                self.configuration, settings, Sockets(listener), self.ledger, service
            )
            self._main = loop.create_task(self.daemon.run())
        world.tell(self.name, f"starts, life {self.life}")
        world.witness.started(self)

    def make_a_pass(self) -> None:
        """Let its loop make a pass."""
        loop, main = self.loop, self._main
        assert loop is not None
        assert main is not None
        with self.here():
            loop.make_a_pass()
        if self.clock.paused is None:  # it may have begun to stand still just now
            self.wakes_at = loop.due
        if self._doomed:
            self.kill()
        elif main.done():
            self._ended(main)

    @contextmanager
    def here(self) -> Generator[None]:
        """Let what is done be done on this host."""
        before, self._world.host = self._world.host, self
        working, self._at_work = self._at_work, True
        try:
            yield
        finally:
            self._world.host, self._at_work = before, working

    def send(self, sent: signal.Signals) -> None:
        """Send the daemon a signal: SIGTERM asks for an orderly end, the second time for one at once."""
        if self.loop is not None:
            self.stops += sent is signal.SIGTERM
            self.loop.send(sent)

    def kill(self) -> None:
        """Kill the daemon: nothing of it runs on, not even what cleans up."""
        if self.daemon is None:
            return
        if self._at_work:
            self._doomed = True
            return
        world, now = self._world, self._world.time.now
        self._missed.append((now - UNSEEN if self.runs else self._paused_at, now + UNSEEN))
        world.witness.gone(self)
        world.tell(self.name, "is killed")
        close_all(self._noticed())
        self._bury()

    def kill_in(self, passes: int) -> None:
        """Kill the daemon so many passes of its loop from now."""
        self._passes_left = passes

    def missed(self, moment: float) -> bool:
        """Return whether the daemon was killed before it could take note of what came then."""
        return any(since <= moment <= until for since, until in self._missed)

    def forget_sessions(self) -> None:
        """Lose what systemd keeps, with the daemon."""
        self.kill()
        self._manager.forget()

    def reboot(self) -> None:
        """Begin anew with all that a reboot forgets."""
        self.forget_sessions()
        self.boot_id = f"boot-{self.index}-{self.life}"
        self.clock.reboot(self._rng.uniform(1.0, 50.0))

    def pause(self, how: Pause) -> None:
        """Let the daemon, or its host, stand still."""
        if self.runs:
            self._world.witness.gone(self)
            self._world.tell(self.name, f"stands still: {how.name}")
            self.clock.change(how)
            self._paused_at = self._world.time.now - UNSEEN
            self.stood_still = self.wakes_at = inf
            self.frozen += how is Pause.FROZEN

    def go_on(self) -> None:
        """Let it run again."""
        if self.clock.paused is not None:
            self._world.tell(self.name, "goes on")
            self.clock.change(None)
            self.stood_still = self._world.time.now
            self.wakes_at = inf if self.loop is None else self.loop.due

    def close(self) -> None:
        """End for good."""
        if self.daemon is not None:
            close_all(self._noticed())
            self._bury()
        self._manager.close()
        self.clients.close()

    def _ended(self, main: "asyncio.Task[None]") -> None:
        world, daemon, loop = self._world, self.daemon, self.loop
        assert daemon is not None
        assert loop is not None
        world.tell(self.name, "has ended")
        error = main.exception()
        if error is not None:
            world.witness.broken(0, "no internal error", repr(error))
        left = [each for each in asyncio.all_tasks(loop) if not each.done()]
        if left:
            world.witness.broken(8, "after a stop no task is left", f"{left}")
        for name, keeper in daemon.profiles.keepers.items():
            if keeper.waiting:
                world.witness.broken(8, "after a stop nobody waits", f"{keeper.waiting} at {name}")
        self._bury()
        if world.plan.hosts == 1:  # else others open descriptors, too
            mine = _descriptors() - self._open - self.clients.descriptors - self._manager.stored
            if mine:
                world.witness.broken(8, "after a stop no descriptor is left", f"{mine}")

    def _bury(self) -> None:
        world, loop = self._world, self.loop
        assert loop is not None
        world.look_away(loop.looking.fileno())
        world.look_away(loop.looking.eye)
        world.graves.add((self.daemon, self._main, loop), asyncio.all_tasks(loop))
        self.daemon = self.loop = self._main = None
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
        self._world.between_passes(self)

    def _noticed(self) -> list[int]:
        """Return what of the daemon others would notice: its files, its socket, connections to it."""
        own, run, found = f"{self.directory}/", f"{self.directory}/run/", list[int]()
        for fd in _descriptors():
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


class _Ledger(LedgerFile):
    """The ledger's file, on a disk that may be full."""

    host: Host

    def save(self, ledgers: Ledgers) -> None:
        if self.host.is_full:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        super().save(ledgers)


def _descriptors() -> set[int]:
    """Return what is open, but for the listing itself."""
    listed = os.listdir("/proc/self/fd")  # noqa: PTH208 -- names are enough
    return {int(each) for each in listed if Path(f"/proc/self/fd/{each}").exists()}
