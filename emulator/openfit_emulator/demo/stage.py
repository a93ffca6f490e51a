"""The demo's processes and their directory. All are removed at the end, however the demo ends.

A shell, the cleaner, reads a pipe that only this process holds open. If this process is killed, the
shell reads the end of the pipe and does what `close` would have done. Everything that is started is in
its process group, so that Ctrl-C reaches only this process.
"""

import os
import selectors
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, Self

from openfit_token import TokenClient
from openfit_token.testing import Daemon, Emulator, NotStarted
from openfit_token.testing._processes import (
    PATIENCE,
    PYTHON,
    Program,
    environment,
    last_lines,
    not_started,
    started,
    temporary_parent,
)
from openfit_tokend.core.schedule import RECENT
from openfit_tokend.host import clock

_NAMES: Final = ("report", "import", "alerts", "backup")
_SHELL: Final = "backup"
"""The one that is a shell script, if curl and openfit-token are found."""
SCRIPTS: Final = len(_NAMES)
_CLEANER: Final = """\
trap '' INT TERM HUP
while read -r _; do :; done
kill -TERM 0
sleep 1
rm -rf -- "$1"
kill -KILL 0
"""


@dataclass
class Script:
    """A running script, and its output so far. `calls`: the successful ones."""

    name: str
    process: "subprocess.Popen[bytes]"
    failures: list[str]
    """Shared by all scripts, so that they are in order of time."""
    calls: int = 0
    _rest: bytes = b""

    def read(self) -> bool:
        """Read its output, once there is some; return False at the end of it."""
        out = self.process.stdout
        data = os.read(out.fileno(), 65536) if out is not None else b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line == b"ok":
                self.calls += 1
            else:
                self.failures.append(f"{self.name}: {line.decode(errors='replace')}")
        return bool(data)


class Server(Program):
    """A server that isn't ours. `attempts` waits for it."""

    def __init__(self, command: Sequence[str], directory: Path, process_group: int) -> None:
        super().__init__(process_group)
        self._command = command
        self._log = directory / "store.log"

    def start(self) -> None:
        """Start it, and don't wait. Raises: NotStarted."""
        with self._log.open("wb") as log:
            self._begin(self._command, log.fileno(), log.fileno())

    def log(self) -> str:
        """Return what it has logged so far."""
        return self._log.read_text(errors="replace")


class Stage:
    """A context that owns the processes. Call `start_server`, `start_daemon`, `start_scripts` in order."""

    def __init__(self) -> None:
        """Create the directory. Raises: NotStarted: that isn't possible."""
        try:
            parent = temporary_parent()
            self.directory = Path(mkdtemp(prefix="openfit-demo-", dir=parent))
        except OSError as error:
            raise NotStarted(f"can't make a temporary directory: {error.strerror}") from error
        self.emulator = Emulator()
        self.daemons: dict[str, Daemon] = {}
        self.clients: dict[str, TokenClient] = {}
        self.scripts: list[Script] = []
        self.failures: list[str] = []
        """The failed API calls: the script's name, and the error."""
        self._running: dict[str, Program] = {}
        self._output = selectors.DefaultSelector()
        try:
            self._cleaner = subprocess.Popen(  # noqa: S603 -- a fixed command
                ["/bin/sh", "-c", _CLEANER, "cleaner", str(self.directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                process_group=0,
            )
        except OSError as error:
            self._remove_directory()
            raise NotStarted(f"can't run /bin/sh: {error.strerror}") from error

    def start_server(self, token_lifetime: int) -> None:
        """Start the token server, `emulator`. Raises: NotStarted."""
        group = self._cleaner.pid
        self.emulator = Emulator(token_lifetime=token_lifetime, process_group=group)
        self._running["token server"] = self.emulator
        self.emulator.start()

    def start_daemon(self, name: str, more: str = "") -> None:
        """Start a daemon for the token server, or start it again, and wait until it has a token.

        `more`: what its configuration has besides the profile.

        Raises:
            NotStarted: it doesn't start.
        """
        place = self.directory / name
        place.mkdir(mode=0o700, exist_ok=True)
        daemon = Daemon(
            self.emulator, pause=RECENT, directory=place, process_group=self._cleaner.pid
        )
        daemon.config.write_text(f"{more}\n{daemon.config.read_text()}")
        self.daemons[name] = self._running[name] = daemon
        self.clients.setdefault(name, daemon.client())
        daemon.start()

    def start_store(self, command: Sequence[str]) -> Server:
        """Start a fleet's store, and don't wait. Raises: NotStarted."""
        server = Server(command, self.directory, self._cleaner.pid)
        self._running["store"] = server
        server.start()
        return server

    def kill(self, name: str) -> None:
        """Kill a daemon as `kill -9` does."""
        self._running.pop(name).kill()

    def run(self, name: str, command: Sequence[str], given: str = "") -> None:
        """Run a command to its end. Raises: NotStarted: it fails."""
        try:
            ran = subprocess.run(  # noqa: S603 -- commands of the demo
                command,
                input=given.encode(),
                capture_output=True,
                cwd=self.directory,
                env=_environment(),
                timeout=PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotStarted(f"{name}: {command[0]} can't be run: {error}") from error
        if ran.returncode:
            raise not_started(name, ran.stderr.decode(errors="replace"))

    def start_scripts(self, daemons: Sequence[str]) -> None:
        """Start the scripts, for these daemons in turn. Raises: NotStarted."""
        home = Path(__file__).parent
        path = _environment()["PATH"]
        in_python, in_shell = (
            [*PYTHON, str(home / "script.py")],
            ["/bin/sh", str(home / "script.sh")],
        )
        if not all(shutil.which(command, path=path) for command in ("curl", "openfit-token")):
            in_shell = in_python
        for name, daemon in zip(_NAMES, cycle(daemons)):
            command = [*(in_shell if name == _SHELL else in_python), name]
            self._run_script(name, command, daemon)
            self.listen(0.25)  # so that they call in turn

    def listen(self, seconds: float) -> None:
        """Read the scripts' output for so many seconds."""
        until = clock.boot() + seconds
        while (left := until - clock.boot()) > 0:
            for key, _ in self._output.select(left):
                script: Script = key.data
                if not script.read():
                    self._output.unregister(key.fileobj)

    def ended(self) -> str | None:
        """Return which process ended too early, and why; None: all are running."""
        for name, program in self._running.items():
            if not program.is_running:
                return f"the {name} ended{last_lines(program.log())}"
        for script in self.scripts:
            if script.process.poll() is not None:
                return f"the script {script.name} ended"
        return None

    def close(self) -> None:
        """End all processes, the servers in order, and remove the directory. Ignores signals meanwhile."""
        ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(each, signal.SIG_IGN) for each in ignored]
        try:
            for script in self.scripts:
                script.process.kill()
            for client in self.clients.values():
                client.close()
            for program in reversed(self._running.values()):  # the daemon before the token server
                program.stop()
            with suppress(ProcessLookupError):
                os.killpg(self._cleaner.pid, signal.SIGKILL)  # including what a script has started
            for process in (self._cleaner, *(script.process for script in self.scripts)):
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        pipe.close()
            self._output.close()
            self._remove_directory()
        finally:
            for each, handler in zip(ignored, before, strict=True):
                signal.signal(each, handler)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run_script(self, name: str, command: list[str], daemon: str) -> None:
        more = {
            "OPENFIT_DEMO_API": self.emulator.api_url,
            "OPENFIT_TOKEN_SOCKET": str(self.daemons[daemon].socket),
        }
        process = started(
            command,
            subprocess.PIPE,
            subprocess.DEVNULL,
            self._cleaner.pid,
            _environment() | more,
        )
        script = Script(name, process, self.failures)
        self.scripts.append(script)
        assert process.stdout is not None, "it was asked for"  # noqa: S101 -- can't happen
        self._output.register(process.stdout, selectors.EVENT_READ, script)

    def attempts(self, server: Server) -> Iterator[None]:
        """Yield now and then, until a server has ended or took too long to start."""
        until = clock.boot() + PATIENCE
        while server.is_running and clock.boot() < until:
            self.listen(0.05)
            yield

    def _remove_directory(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def _environment() -> dict[str, str]:
    """Return the scripts' environment. This environment's commands come first in its $PATH."""
    commands = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return environment() | {"PATH": os.pathsep.join(commands)}
