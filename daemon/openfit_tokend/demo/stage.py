"""The demo's processes and their directory. All of it vanishes at the end, whatever the end is.

A shell, the warden, reads a pipe that only we hold open. When we are killed outright, it reads the
end and does what `close` would have done. Everything we start is in its process group, so Ctrl-C
reaches us alone.
"""

import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Final, Self

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
from openfit_tokend.emulator.command import DEFAULT_PASSWORD, DEFAULT_USER
from openfit_tokend.emulator.identity import Rules
from openfit_tokend.host import clock

_NAMES: Final = ("report", "import", "alerts", "backup")
_SHELL: Final = "backup"
"""The one that is a shell's, with curl, where there are both."""
SCRIPTS: Final = len(_NAMES)
STOP_TIME: Final = 5.0
"""Seconds that each of the two servers is given to end."""
_WARDEN: Final = """\
trap '' INT TERM HUP
while read -r _; do :; done
kill -TERM 0
sleep 1
rm -rf -- "$1"
kill -KILL 0
"""


@dataclass
class Script:
    """A running script, and what it told so far. `calls`: those that went well."""

    name: str
    process: "subprocess.Popen[bytes]"
    failures: list[str]
    """Shared by all scripts: so they stand in the order in which they were told."""
    calls: int = 0
    _rest: bytes = b""

    def hear(self) -> bool:
        """Read what it told. False: it tells no more. To be called when there is something."""
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
    """A context in which nothing runs at first: `start_server`, `start_daemon`, `start_scripts`."""

    def __init__(self) -> None:
        """Make the directory. Raises: NotStarted: it can't be made."""
        try:
            parent = temporary_parent()
            self.directory = Path(mkdtemp(prefix="openfit-demo-", dir=parent))
        except OSError as error:
            raise NotStarted(f"can't make a temporary directory: {error.strerror}") from error
        self.socket = self.directory / "socket"
        self.scripts: list[Script] = []
        self.failures: list[str] = []
        """The API calls that failed: which script's, and what it said."""
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = _environment(self.directory, self.socket)
        self._ears = selectors.DefaultSelector()
        try:
            self._warden = subprocess.Popen(  # noqa: S603 -- our own words
                ["/bin/sh", "-c", _WARDEN, "warden", str(self.directory)],
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
        """Start the token server and give its URL. Raises: NotStarted."""
        lifetime = f"--token-lifetime={token_lifetime}"
        server = self._serve("token server", "emulator", "--port=0", lifetime)
        out = self.directory / "token server.out"
        for _ in self._patiently(server):
            found = re.search(r"listens at (http://\S+)\. ", out.read_text())
            if found is not None:
                return found[1]
        raise not_started("token server", self._log("token server"))

    def start_daemon(self, url: str) -> None:
        """Start the daemon for the token server at `url`, and wait for its socket. Raises: NotStarted."""
        password, config = self.directory / "password", self.directory / "config.toml"
        _write(password, DEFAULT_PASSWORD)
        _write(
            config,
            f"""\
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
        daemon = self._serve("daemon", "run", f"--config={config}", f"--socket={self.socket}")
        for _ in self._patiently(daemon):
            with suppress(TokenError), TokenClient(socket=str(self.socket)) as client:
                client.hello()
                return
        raise not_started("daemon", self._log("daemon"))

    def start_scripts(self) -> Iterator[Script]:
        """Start a script each time the next one is asked for. Raises: NotStarted."""
        home = Path(__file__).parent
        path = self._environment["PATH"]
        in_python, in_shell = (
            [*PYTHON, str(home / "script.py")],
            ["/bin/sh", str(home / "script.sh")],
        )
        if not all(shutil.which(command, path=path) for command in ("curl", "openfit-token")):
            in_shell = in_python
        for name in _NAMES:
            yield self._run_script(name, [*(in_shell if name == _SHELL else in_python), name])

    def listen(self, seconds: float) -> None:
        """Hear what the scripts tell, for so long."""
        until = clock.boot() + seconds
        while (left := until - clock.boot()) > 0:
            for key, _ in self._ears.select(left):
                script: Script = key.data
                if not script.hear():
                    self._ears.unregister(key.fileobj)

    def ended(self) -> str | None:
        """Name a process that ended though it should not have, and why; None: all live."""
        for name, process in self._servers.items():
            if process.poll() is not None:
                return f"the {name} ended{last_lines(self._log(name))}"
        for script in self.scripts:
            if script.process.poll() is not None:
                return f"the script {script.name} ended"
        return None

    def close(self) -> None:
        """End all processes, the servers in order, and remove the directory. Takes no signals."""
        ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(each, signal.SIG_IGN) for each in ignored]
        try:
            for script in self.scripts:
                script.process.kill()
            for server in reversed(self._servers.values()):  # the daemon before what it talks to
                end(server, STOP_TIME)
            with suppress(ProcessLookupError):
                os.killpg(self._warden.pid, signal.SIGKILL)  # and what a script had started
            for process in (self._warden, *(script.process for script in self.scripts)):
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        pipe.close()
            self._ears.close()
            self._remove_directory()
        finally:
            for each, handler in zip(ignored, before, strict=True):
                signal.signal(each, handler)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _serve(self, name: str, *words: str) -> "subprocess.Popen[bytes]":
        with (
            (self.directory / f"{name}.out").open("wb") as out,
            (self.directory / f"{name}.log").open("wb") as log,
        ):
            command = [*PYTHON, "-m", "openfit_tokend", *words]
            self._servers[name] = self._start(command, out.fileno(), log.fileno())
        return self._servers[name]

    def _run_script(self, name: str, command: list[str]) -> Script:
        process = self._start(command, subprocess.PIPE, subprocess.DEVNULL)
        script = Script(name, process, self.failures)
        self.scripts.append(script)
        assert process.stdout is not None, "it was asked for"  # noqa: S101 -- can't happen
        self._ears.register(process.stdout, selectors.EVENT_READ, script)
        return script

    def _start(self, command: list[str], out: int, err: int) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(  # noqa: S603 -- our own programs
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self.directory,
                env=self._environment,
                process_group=self._warden.pid,
            )
        except OSError as error:
            raise NotStarted(f"can't start {command[0]}: {error.strerror}") from error

    def _patiently(self, server: "subprocess.Popen[bytes]") -> Iterator[None]:
        until = clock.boot() + PATIENCE
        while server.poll() is None and clock.boot() < until:
            self.listen(0.05)
            yield

    def _log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def _remove_directory(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def _environment(directory: Path, socket: Path) -> dict[str, str]:
    """Return the processes' environment, with the commands that stand beside this one first in $PATH."""
    commands = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return environment() | {
        "PATH": os.pathsep.join(commands),
        "STATE_DIRECTORY": str(directory / "state"),
        "OPENFIT_TOKEN_SOCKET": str(socket),
    }


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
