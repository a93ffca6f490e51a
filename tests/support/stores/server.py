"""A store's server: a process with a directory of its own, which may be killed and started again."""

import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import trustme

from daemons import NOBODY, PATIENCE, await_that
from openfit_token._shared.secret import Secret
from openfit_tokend.core.settings.store import Host
from openfit_tokend.fleet.store import Password, Store
from ports import LOOPBACK, free_port
from processes import done
from users import IS_ROOT

USER: Final = "openfit"
PASSWORD: Final = "store-secret-7f3a"
OWNER: Final = NOBODY if IS_ROOT else os.geteuid()
"""Whom the servers belong to: PostgreSQL's may not be root's."""


class StoreServer(ABC):
    """A server with the user USER. Not root's: PostgreSQL insists."""

    def __init__(self) -> None:
        # One in another: below /tmp itself, a service's directory isn't trusted.
        self._home = Path(mkdtemp(prefix="oft-store-"))
        self._home.chmod(0o755)
        self.directory = self._home / self._home.name
        self.directory.mkdir(mode=0o700)
        self.host = Host(LOOPBACK, free_port())
        self.certificate: tuple[Path, Path] | None = None
        """The files of its certificate and key: it talks TLS, and nothing else."""
        self._log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        if IS_ROOT:
            os.chown(self.directory, NOBODY, NOBODY)

    @abstractmethod
    def set_up(self) -> None:
        """Start it for the first time."""

    def store(
        self,
        table: str,
        *,
        password: str = PASSWORD,
        hosts: Sequence[Host] | None = None,
        ca_file: Path | None = None,
    ) -> Store:
        """Return a client that isn't connected; with a `ca_file`, one that wants TLS."""

        async def read() -> Secret:
            return Secret(password)

        trusted = None if ca_file is None else str(ca_file)
        return self._client(table, tuple(hosts or (self.host,)), trusted, read)

    @abstractmethod
    def _client(
        self, table: str, hosts: tuple[Host, ...], ca_file: str | None, password: Password
    ) -> Store:
        """Return the client of this kind of store."""

    @abstractmethod
    def make_table(self, table: str) -> None:
        """Let USER read and write rows there."""

    @abstractmethod
    def refuse_writes(self, table: str) -> None:
        """Answer each write there with an error from now on."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Return the setting that names this server."""

    @abstractmethod
    def start(self) -> None:
        """Start it, and wait until it answers."""

    def await_answers(self) -> None:
        """Wait until it answers; fail if it ended."""

        def answers() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, f"it ended:\n{self.log()}"
            return self._answers()

        await_that(answers, self.log)

    def talk_tls(self, certificate: trustme.LeafCert) -> None:
        """Talk TLS with this certificate, once it is started."""
        chain, key = self.directory / "chain.pem", self.directory / "key.pem"
        chain.write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))
        key.touch(mode=0o600)
        key.write_bytes(certificate.private_key_pem.bytes())
        if IS_ROOT:
            os.chown(key, NOBODY, NOBODY)
        self.certificate = chain, key

    def kill(self) -> None:
        """End it at once, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def stand_still(self) -> None:
        """Let it do nothing until it goes on; its connections stay."""
        for pid in self._pids():
            os.kill(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        for pid in self._pids():
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGCONT)

    @abstractmethod
    def end_connections(self) -> None:
        """Make clients begin anew, as an administrator may."""

    def content(self) -> bytes:
        """Return all that is in its files, its log included."""
        files = [each for each in self.directory.rglob("*") if each.is_file()]
        return b"\n".join(each.read_bytes() for each in files)

    def log(self) -> str:
        """Return what it has logged."""
        return self._log.read_text(errors="replace")

    def remove(self) -> None:
        """Kill it, and remove its files."""
        if self._process is not None:
            self.go_on()
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def run(self, *command: str | Path) -> str:
        """Run a command as the server's user, and return what it prints."""
        return done(*_as_its_user(), *command, directory=self.directory)

    def _begin(self, *command: str | Path) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_as_its_user(), *command],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether it takes writes."""

    def _pids(self) -> list[int]:
        """Return the process and its children."""
        if self._process is None:
            return []
        own = self._process.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        return [own, *map(int, children)]


async def right_password() -> Secret:
    """Return the password, as if from a file."""
    return Secret(PASSWORD)


def _as_its_user() -> list[str]:
    """Return the prefix of a command: it ends with this process, and doesn't run as root."""
    drop = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return ["setpriv", "--pdeathsig=KILL", *(drop if IS_ROOT else [])]
