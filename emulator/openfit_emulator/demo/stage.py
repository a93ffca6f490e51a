"""The demo's processes and their directory. All are removed at the end, however the demo ends.

A shell, the cleaner, reads a pipe that only this process holds open. If this process is killed, the
shell reads the end of the pipe and does what `close` would have done. Everything that is started is in
its process group, so that Ctrl-C reaches only this process.
"""

import os
import re
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

from openfit_emulator.command import DEFAULT_PASSWORD, DEFAULT_USER
from openfit_emulator.identity import Rules
from openfit_token import TokenClient, TokenError
from openfit_token.testing._processes import (
    PATIENCE,
    PYTHON,
    NotStarted,
    end,
    environment,
    last_lines,
    not_started,
    temporary_parent,
)
from openfit_tokend.host import clock

_NAMES: Final = ("report", "import", "alerts", "backup")
_SHELL: Final = "backup"
"""The one that is a shell script, if curl and openfit-token are found."""
SCRIPTS: Final = len(_NAMES)
STOP_TIME: Final = 5.0
"""Seconds that each of the two servers may take to end."""
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


class Stage:
    """A context that owns the processes. Call `start_server`, `start_daemon`, `start_scripts` in order."""

    def __init__(self) -> None:
        """Create the directory. Raises: NotStarted: that isn't possible."""
        try:
            parent = temporary_parent()
            self.directory = Path(mkdtemp(prefix="openfit-demo-", dir=parent))
        except OSError as error:
            raise NotStarted(f"can't make a temporary directory: {error.strerror}") from error
        self.scripts: list[Script] = []
        self.failures: list[str] = []
        """The failed API calls: the script's name, and the error."""
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = _environment(self.directory)
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

    def start_server(self, token_lifetime: int) -> str:
        """Start the token server and return its URL. Raises: NotStarted."""
        lifetime = f"--token-lifetime={token_lifetime}"
        server = self._serve("token server", "emulator", "--port=0", lifetime)
        out = self.directory / "token server.out"
        for _ in self.attempts(server):
            found = re.search(r"listens at (http://\S+)\. ", out.read_text())
            if found is not None:
                return found[1]
        raise not_started("token server", self.log("token server"))

    @property
    def socket(self) -> Path:
        """Return the socket of the only daemon."""
        return self.socket_of("daemon")

    def socket_of(self, daemon: str) -> Path:
        """Return the socket of a daemon."""
        return self.directory / daemon / "socket"

    def start_daemon(self, url: str, name: str = "daemon", more: str = "") -> None:
        """Start a daemon for the token server at `url`, and wait until it answers.

        `more`: what its configuration has besides the profile.

        Raises:
            NotStarted: it doesn't.
        """
        place = self.directory / name
        place.mkdir(mode=0o700, exist_ok=True)
        password, config = place / "password", place / "config.toml"
        write(password, DEFAULT_PASSWORD)
        write(
            config,
            f"""\
{more}
[profiles.demo]
environment = "custom"
id_server = "{url}"
api_url = "{url}/api"
client_id = "{Rules().client_id}"
username = "{DEFAULT_USER}"
password_file = "{password}"
""",
        )
        self._environment["OPENFIT_DEMO_API"] = f"{url}/api"
        socket = self.socket_of(name)
        words = ("run", f"--config={config}", f"--socket={socket}")
        daemon = self._serve(name, *words, STATE_DIRECTORY=str(place / "state"))
        for _ in self.attempts(daemon):
            with suppress(TokenError), TokenClient(socket=str(socket)) as client:
                client.hello()
                return
        raise not_started(name, self.log(name))

    def kill(self, name: str) -> None:
        """Kill a process as `kill -9` does."""
        process = self._servers.pop(name)
        process.kill()
        process.wait()

    def run(self, name: str, command: Sequence[str], given: str = "") -> None:
        """Run a command to its end. Raises: NotStarted: it fails."""
        try:
            ran = subprocess.run(  # noqa: S603 -- commands of the demo
                command,
                input=given.encode(),
                capture_output=True,
                cwd=self.directory,
                env=self._environment,
                timeout=PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotStarted(f"{name}: {command[0]} can't be run: {error}") from error
        if ran.returncode:
            raise not_started(name, ran.stderr.decode(errors="replace"))

    def start(self, name: str, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start a server that isn't ours. Raises: NotStarted."""
        return self._run_server(name, command)

    def start_scripts(self, daemons: Sequence[str] = ("daemon",)) -> Iterator[Script]:
        """Yield each script after starting it, for these daemons in turn. Raises: NotStarted."""
        home = Path(__file__).parent
        path = self._environment["PATH"]
        in_python, in_shell = (
            [*PYTHON, str(home / "script.py")],
            ["/bin/sh", str(home / "script.sh")],
        )
        if not all(shutil.which(command, path=path) for command in ("curl", "openfit-token")):
            in_shell = in_python
        for name, daemon in zip(_NAMES, cycle(daemons)):
            command = [*(in_shell if name == _SHELL else in_python), name]
            yield self._run_script(name, command, daemon)

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
        for name, process in self._servers.items():
            if process.poll() is not None:
                return f"the {name} ended{last_lines(self.log(name))}"
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
            for server in reversed(self._servers.values()):  # the daemon before the token server
                end(server, STOP_TIME)
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

    def _serve(self, name: str, *words: str, **more: str) -> "subprocess.Popen[bytes]":
        return self._run_server(name, [*PYTHON, "-m", "openfit_tokend", *words], **more)

    def _run_server(
        self, name: str, command: Sequence[str], **more: str
    ) -> "subprocess.Popen[bytes]":
        with (
            (self.directory / f"{name}.out").open("wb") as out,
            (self.directory / f"{name}.log").open("wb") as log,
        ):
            self._servers[name] = self._start(command, out.fileno(), log.fileno(), **more)
        return self._servers[name]

    def _run_script(self, name: str, command: list[str], daemon: str) -> Script:
        socket = str(self.socket_of(daemon))
        process = self._start(
            command, subprocess.PIPE, subprocess.DEVNULL, OPENFIT_TOKEN_SOCKET=socket
        )
        script = Script(name, process, self.failures)
        self.scripts.append(script)
        assert process.stdout is not None, "it was asked for"  # noqa: S101 -- can't happen
        self._output.register(process.stdout, selectors.EVENT_READ, script)
        return script

    def _start(
        self, command: Sequence[str], out: int, err: int, **more: str
    ) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(  # noqa: S603 -- our own programs, and the store of a fleet
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self.directory,
                env=self._environment | more,
                process_group=self._cleaner.pid,
            )
        except OSError as error:
            raise NotStarted(f"can't start {command[0]}: {error.strerror}") from error

    def attempts(self, server: "subprocess.Popen[bytes]") -> Iterator[None]:
        """Yield now and then, until a server has ended or took too long to start."""
        until = clock.boot() + PATIENCE
        while server.poll() is None and clock.boot() < until:
            self.listen(0.05)
            yield

    def log(self, name: str) -> str:
        """Return what a process has logged so far."""
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def _remove_directory(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def _environment(directory: Path) -> dict[str, str]:
    """Return the processes' environment. This environment's commands come first in its $PATH."""
    commands = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return environment() | {
        "PATH": os.pathsep.join(commands),
        "STATE_DIRECTORY": str(directory / "state"),
    }


def write(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.touch(mode=0o600)
    path.write_text(text)
