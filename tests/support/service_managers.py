"""A small service manager: what systemd does for the daemon, done by the test.

with managed_daemon(profile(emulator.url)) as (manager, daemon):
    daemon.start() ... manager.await_word("READY=1"), manager.names, manager.kept("main") ...
"""

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread

import forked
from daemons import UNPACED, RunningDaemon, await_that
from emulators import PASSWORD
from openfit_tokend.storage.session_form import StoredSession, decoded
from openfit_tokend.storage.stored_sessions import _sealed as sealed  # pyright: ignore[reportPrivateUsage] -- what the daemon stores is made the same way

LAUNCHER = """
import fcntl, os, sys
count = int(sys.argv[1])
fds = [int(fd) for fd in sys.argv[2 : 2 + count]]
safe = max([2, *fds]) + count + 1
moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, safe) for fd in fds]  # so that none overwrites another
for index, fd in enumerate(moved):
    os.dup2(fd, 3 + index)
os.closerange(3 + count, max([3, *moved]) + 1)
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, *sys.argv[2 + count :]])
"""
"""Puts the descriptors where sd_listen_fds(3) expects them, and sets LISTEN_PID."""


class Manager:
    """A notify socket with a thread that reads it, a descriptor store, and passed sockets."""

    def __init__(self, directory: Path) -> None:
        self.address = str(directory / "notify")
        self.words: list[str] = []
        """Every line received, except those for the store."""
        self.least = -1
        """The fewest descriptors that were stored since the first was; -1: none was."""
        self.variables: dict[str, str] = {}
        """More variables for the daemon."""
        self.sockets: list[tuple[str, socket.socket]] = []
        """Listening sockets to pass, by name."""
        self._others: list[tuple[str, int]] = []
        self._store: list[tuple[str, int]] = []
        self._lock = Lock()
        self._reads = Event()
        self._socket: socket.socket
        self._thread: Thread
        self._ended = Event()
        self.listen()

    def listen(self) -> None:
        """Begin to read."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(0)
        self._socket.bind(self.address)
        self._ended.clear()
        self._reads.set()
        self._thread = Thread(target=self._read)
        self._thread.start()

    def leave(self) -> None:
        """Disappear: what is sent is refused."""
        self._ended.set()
        self._reads.set()
        self._thread.join()
        self._socket.close()
        Path(self.address).unlink()

    def hold(self) -> None:
        """Stop reading until `go_on`."""
        self._reads.clear()

    def fill(self) -> None:
        """Fill the queue, however long it is (net.unix.max_dgram_qlen)."""
        while self._fill_from_one():
            pass

    def _fill_from_one(self) -> bool:
        """Send from one socket until that would block; return whether it could send at all.

        One socket can fill only part of a long queue, since its own buffer is limited.
        """
        sent = False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, suppress(BlockingIOError):
            other.settimeout(0)
            while True:
                other.sendto(b"STATUS=of another", self.address)
                sent = True
        return sent

    def go_on(self) -> None:
        """Read again."""
        self._reads.set()

    def await_word(self, word: str, times: int = 1) -> None:
        """Wait for a line with this prefix."""
        await_that(lambda: self.count(word) >= times, lambda: f"no {word!r} in {self.words}")

    def count(self, word: str) -> int:
        """Return the number of lines with this prefix."""
        return sum(each.startswith(word) for each in list(self.words))

    @property
    def status(self) -> str:
        """Return the newest STATUS."""
        found = [each for each in list(self.words) if each.startswith("STATUS=")]
        return found[-1].removeprefix("STATUS=") if found else ""

    @property
    def names(self) -> list[str]:
        """Return the names of what is stored."""
        with self._stored() as stored:
            return [name for name, _ in stored]

    @property
    def descriptors(self) -> list[int]:
        """Return the stored descriptors, which the manager keeps."""
        with self._stored() as stored:
            return [fd for _, fd in stored]

    def contents(self) -> list[bytes]:
        """Return the bytes of all that is stored."""
        with self._stored() as stored:
            return [os.pread(fd, os.fstat(fd).st_size, 0) for _, fd in stored]

    def kept(self, profile: str = "main") -> StoredSession:
        """Return the newest session that is stored of a profile."""
        all_of_them = [decoded(content) for content in self.contents()]
        return max(
            (each for each in all_of_them if each.profile == profile),
            key=lambda each: each.sequence,
        )

    def put(self, name: str, content: bytes) -> None:
        """Store something in addition."""
        with self._stored() as stored:
            stored.append((name, sealed(content)))

    def replace(self, *contents: bytes) -> None:
        """Replace what is stored with these, under the same names."""
        names = self.names
        self.empty()
        for name, content in zip(names, contents, strict=True):
            self.put(name, content)

    def empty(self) -> None:
        """Drop all that is stored, as `systemctl stop` does."""
        with self._stored() as stored:
            for _, fd in stored:
                os.close(fd)
            stored.clear()

    def pass_socket(self, path: Path, name: str = "socket", mode: int = 0o600) -> socket.socket:
        """Listen at a path for the daemon, as a socket unit does."""
        path.parent.mkdir(mode=0o700, exist_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        path.chmod(mode)
        listening.listen(128)
        self.sockets.append((name, listening))
        return listening

    def pass_descriptor(self, name: str, fd: int) -> None:
        """Pass another descriptor, which the manager now owns."""
        self._others.append((name, fd))

    def passed(self) -> list[tuple[str, int]]:
        """Return what is passed at a start."""
        with self._stored() as stored:
            sockets = [(name, each.fileno()) for name, each in self.sockets]
            return sockets + self._others + stored

    def close(self) -> None:
        """End."""
        if not self._ended.is_set():
            self.leave()
        self.empty()
        for _, each in self.sockets:
            each.close()
        for _, fd in self._others:
            os.close(fd)

    def _read(self) -> None:
        while not self._ended.is_set():
            self._reads.wait()
            if select([self._socket], [], [], 0.02)[0]:
                with self._stored():
                    pass

    @contextmanager
    def _stored(self) -> Generator[list[tuple[str, int]]]:
        """Return what is stored after everything sent so far."""
        with self._lock:
            with suppress(BlockingIOError):
                while self._reads.is_set() and not self._ended.is_set():
                    data, fds, _flags, _from = socket.recv_fds(self._socket, 65536, 8)
                    self._take(data.decode().split("\n"), fds)
            yield self._store

    def _take(self, lines: list[str], fds: Sequence[int]) -> None:
        if lines[0] == "FDSTORE=1":
            assert len(fds) == 1
            self._store.append((lines[1].removeprefix("FDNAME="), fds[0]))
            self.least = len(self._store) if self.least < 0 else self.least
        elif lines[0] == "FDSTOREREMOVE=1":
            named = lines[1].removeprefix("FDNAME=")
            for name, fd in [each for each in self._store if each[0] == named]:
                self._store.remove((name, fd))
                os.close(fd)
            self.least = min(self.least, len(self._store))
        else:
            self.words += lines


class ManagedDaemon(RunningDaemon):
    """A daemon that a service manager starts."""

    def __init__(self, directory: Path, manager: Manager) -> None:
        super().__init__(directory)
        self.manager = manager

    def start(self, *options: str, without: tuple[str, ...] = (), first: str = "") -> None:
        """Start the daemon and wait until its socket answers."""
        assert not first
        self.launch(*options, without=without)
        await_that(self._answers, self.log)

    def launch(self, *options: str, without: tuple[str, ...] = ()) -> None:
        """Start the daemon and pass it everything."""
        assert not without
        manager = self.manager
        passed = manager.passed()
        fds = [fd for _, fd in passed]
        environment = {
            "NOTIFY_SOCKET": manager.address,
            "LISTEN_FDS": str(len(passed)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in passed),
        }
        own = ["run", "--config", str(self.config), *options]
        if not manager.sockets:
            own += ["--socket", str(self.socket)]
        environment = self.environment | environment | manager.variables
        launcher = [sys.executable, "-c", LAUNCHER, str(len(fds)), *map(str, fds)]
        with self._log.open("ab") as log:
            if self.is_forked and len(fds) <= forked.MAX_PASSED:
                first = "" if self.is_paced else UNPACED
                self._process = forked.start(own, environment, log, fds, first)
                return
            assert self.is_paced
            self._process = subprocess.Popen(
                [*launcher, "-m", "openfit_tokend", *own],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=fds,
            )

    def restart(self) -> None:
        """Stop it in order and start it again."""
        assert self.stop() == 0
        self.start()

    def crash(self) -> None:
        """Kill it, and start it again."""
        self.kill()
        self.start()


@contextmanager
def managed_daemon(
    *tables: str, password: str = PASSWORD
) -> Generator[tuple[Manager, ManagedDaemon]]:
    """Prepare a daemon and its service manager; at the end it is killed."""
    with TemporaryDirectory(prefix="oft-", ignore_cleanup_errors=True) as name:
        manager = Manager(Path(name))
        daemon = ManagedDaemon(Path(name), manager)
        daemon.write_config(*tables)
        daemon.write_password(password)
        try:
            yield manager, daemon
        finally:
            daemon.kill()
            manager.close()


def seals(fd: int) -> int:
    """Return the seals of a memfd."""
    return fcntl.fcntl(fd, fcntl.F_GET_SEALS)
