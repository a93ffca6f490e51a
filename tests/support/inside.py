"""The daemon in the test's own process and loop, for what only a patch can cause.

async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
    ... await daemon.client().get_token(), daemon.log(), daemon.clocks.suspend(8 * 3600) ...
"""

import logging
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from socket import socket
from typing import Any, TextIO, cast

import anyio
import pytest

from daemons import PATIENCE, Fields
from emulators import PASSWORD
from openfit_token import AsyncTokenClient
from openfit_tokend.app import Daemon
from openfit_tokend.config import config_file
from openfit_tokend.host import clock, log
from openfit_tokend.host.listener import AdoptedListener, Listener, Sockets
from openfit_tokend.host.service_manager import NO_SERVICE, Service
from openfit_tokend.serving.connection import Connection
from openfit_tokend.storage.ledger_file import LedgerFile, ledger_path


class Clocks:
    """The clocks of this process and its emulators, but not of the event loop."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._boot, self._wall = clock.boot, clock.wall
        self._slept = 0.0
        self._set = 0.0
        patch.setattr(clock, "boot", lambda: self._boot() + self._slept)
        patch.setattr(clock, "wall", lambda: self._wall() + self._slept + self._set)

    def suspend(self, seconds: float) -> None:
        """Simulate a suspend: boot and wall clocks advance, the loop's clock doesn't."""
        self._slept += seconds

    def set_wall(self, seconds: float) -> None:
        """Step the wall clock."""
        self._set += seconds


class DaemonInside:
    """A daemon that serves while the test runs."""

    def __init__(self, daemon: Daemon, directory: Path, clocks: Clocks) -> None:
        self.daemon = daemon
        self.clocks = clocks
        self.socket = directory / "run" / "socket"
        self._log = directory / "log"

    def client(self, profile: str | None = None) -> AsyncTokenClient:
        """Return the Python client."""
        return AsyncTokenClient(profile, str(self.socket))

    async def profile_status(self, name: str = "main") -> Fields:
        """Return one profile's status."""
        async with self.client(name) as tokens:
            profiles = cast("dict[str, Any]", (await tokens.status())["profiles"])
        return cast("Fields", profiles[name])

    @property
    def newest_connection(self) -> Connection:
        """Return the connection that was accepted last, of those that are open."""
        server = self.daemon._faces.server  # pyright: ignore[reportPrivateUsage] -- no other way tells
        return list(server._connections.values())[-1]  # pyright: ignore[reportPrivateUsage] -- nor here

    def log(self) -> str:
        """Return what was logged."""
        log.flush()
        return self._log.read_text()


async def async_await_that(holds: Callable[[], bool], told: Callable[[], object] = str) -> None:
    """Poll until it holds, while the loop runs."""
    with anyio.move_on_after(PATIENCE):
        while not holds():  # noqa: ASYNC110 -- there is no event to wait for
            await anyio.sleep(0.01)
    assert holds(), told()


@asynccontextmanager
async def daemon_inside(
    directory: Path,
    *tables: str,
    password: str = PASSWORD,
    credential: socket | None = None,
    service: Service = NO_SERVICE,
    http: bool = False,
) -> AsyncGenerator[DaemonInside]:
    """Run a daemon in this loop; at the end it is stopped as by a signal.

    `http`: with an HTTP socket, `http` beside the other.
    """
    (directory / "password").write_text(password)
    (directory / "password").chmod(0o600)
    config = directory / "config.toml"
    config.write_text("\n".join(tables).replace('"password"', f'"{directory}/password"'))
    with (
        pytest.MonkeyPatch.context() as patch,
        (directory / "log").open("w") as written,
        _log_to(written, patch),
    ):
        patch.setenv("STATE_DIRECTORY", str(directory / "state"))
        listener = Listener(directory / "run" / "socket", 0o600, None)
        face = Listener(directory / "run" / "http", 0o600, None) if http else None
        ledger = LedgerFile(ledger_path(config))
        settings = config_file.load(config)
        units = None if credential is None else AdoptedListener(credential.detach())
        sockets = Sockets(listener, face, units)
        daemon = Daemon(config, settings, sockets, ledger, service)
        inside = DaemonInside(daemon, directory, Clocks(patch))
        ended = anyio.Event()

        async def run() -> None:
            try:
                await daemon.run()
            finally:
                ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            async with inside.client() as tokens:
                await tokens.hello()  # so it handles signals
            try:
                yield inside
            finally:
                if not ended.is_set():  # else nothing handles the signal, and it ends the tests
                    signal.raise_signal(signal.SIGTERM)
                    with anyio.move_on_after(PATIENCE, shield=True):
                        await ended.wait()


@contextmanager
def _log_to(stderr: TextIO, patch: pytest.MonkeyPatch) -> Generator[None]:
    patch.setattr(sys, "stderr", stderr)
    log._limits.clear()  # pyright: ignore[reportPrivateUsage] -- another test's daemon may have used them up
    logger = logging.getLogger("openfit_tokend")
    for name in ("level", "propagate"):
        patch.setattr(logger, name, getattr(logger, name))
    patch.setattr(logger, "handlers", list(logger.handlers))
    patch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    log.set_up("info", "text")
    try:
        yield
    finally:
        log.flush()
        for handler in logger.handlers:
            handler.close()
