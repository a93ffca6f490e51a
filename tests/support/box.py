"""A real systemd, booted as PID 1 in namespaces, on a throw-away view of this machine or of a root.

with Box(files, opt) as box:
    box.run("systemctl", "start", "openfit-tokend")
    box.run("openfit-token", "get", user="alice")
    box.outside("/run/openfit-tokend/socket")  # the same file, for this process

Nothing that happens inside is seen outside. It takes half a second.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from time import sleep
from typing import Final, Self, final

import processes
from openfit_tokend.host import clock
from processes import Completed
from terminals import Terminal
from users import MAY_MOUNT

INSIDE: Final = Path(__file__).with_name("box.sh")
PATIENCE: Final = 30.0
"""Seconds for the boot, and for a command inside; only a failing test waits so long."""
TARGET: Final = """\
[Unit]
Description=What a test needs of a machine
Requires=basic.target
Wants=dbus.socket systemd-journald.service
After=basic.target systemd-journald.service
AllowIsolate=yes
"""
ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
HOMES: Final = "/home"
_CLONE_NEWNET: Final = 0x40000000
_TOOLS: Final = (
    "dbus-daemon", "mount", "nsenter", "pivot_root", "setpriv", "systemctl", "unshare",
)  # fmt: skip
_NAMESPACES: Final = ("--mount", "--uts", "--ipc", "--cgroup", "--net")
_UNSHARE: Final = (
    "unshare", "--pid", "--fork", "--kill-child", "--propagation=private", *_NAMESPACES,
)  # fmt: skip
_IN_CGROUP: Final = (
    "sh", "-c", 'echo $$ >"$0/cgroup.procs"; exec setpriv --pdeathsig KILL "$@"',
)  # fmt: skip
"""Runs a command in a cgroup, for as long as this process lives."""


def hindrance() -> str | None:
    """Return why no box can be created here."""
    if not MAY_MOUNT:
        return "needs root: namespaces and a cgroup of one's own"
    if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
        return "needs root: this one is root of a user namespace only"
    if missing := [tool for tool in _TOOLS if not shutil.which(tool)]:
        return f"no {', '.join(missing)}: apt-get install systemd dbus util-linux"
    try:
        subprocess.run([*_UNSHARE, "true"], check=True, capture_output=True)
        cgroup = _own_cgroup() / f"box-{os.getpid()}-trial"
        cgroup.mkdir()
        cgroup.rmdir()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no namespaces or no cgroup can be made here: {error}"
    return None


def _own_cgroup() -> Path:
    """Return the directory of this process's own cgroup (version 2)."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    roots = [fields[1] for fields in mounts if fields[2] == "cgroup2"]
    own = re.search(r"^0::(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
    if not roots or own is None:
        raise OSError("cgroup2 is not mounted")
    return Path(roots[0] + own[1].rstrip("/"))


def _remove_cgroup(path: Path) -> None:
    """Remove a cgroup and those below it, unless one contains a process."""
    directories = [Path(each[0]) for each in os.walk(path, topdown=False)]
    with suppress(OSError):
        for each in directories:
            each.rmdir()


def _sweep() -> None:
    """Remove what is left of boxes whose test session was killed; their names contain its pid."""
    for cgroup in _own_cgroup().glob("box-*-box-*"):
        _, session, directory = cgroup.name.split("-", 2)
        if not Path("/proc", session).exists():
            _remove_cgroup(cgroup)
            shutil.rmtree(Path(gettempdir(), directory), ignore_errors=True)


@final
class Box:
    """A booted machine."""

    def __init__(self, files: Path, opt: Path, lower: Path = Path("/")) -> None:
        """Boot it. `files` is copied over its root, which shows that of `lower`, a whole system's.

        `opt` is its /opt, which is read-only.
        """
        _sweep()
        self.opt = opt
        target = files / "etc/systemd/system/box.target"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(TARGET)
        self._directory = Path(mkdtemp(prefix="box-"))
        self._console = self._directory / "console"
        self._cgroup = _own_cgroup() / f"box-{os.getpid()}-{self._directory.name}"
        self._cgroup.mkdir()
        root = self._directory / "root"
        root.mkdir()
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                [*_IN_CGROUP, self._cgroup, *_UNSHARE, INSIDE, root, files, opt, lower],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        self.pid = 0
        try:
            self._await(self._has_systemd)
            # unshare(1) is outside of the PID namespace: systemd would meet it there as pid 0.
            (_own_cgroup() / "cgroup.procs").write_text(str(self._process.pid))
            self._await(self._is_up)
        except BaseException:
            self.close()
            raise
        self.run("systemctl", "log-target", "journal")
        self.run("systemctl", "log-level", "info")

    def run(
        self, *command: str | Path, user: str | None = None, stdin: str = "", check: bool = True
    ) -> Completed:
        """Run a command inside to its end, as root or as a user with all their groups."""
        who = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        own = ENVIRONMENT | ({"HOME": self.home(user)} if user else {})
        words = (*self._enter(), *who, *command)
        done = processes.run(*words, stdin=stdin, directory=Path("/"), inherited=own)
        if check:
            assert done.returncode == 0, self._told(command, done)
        return done

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command inside; the caller must end it."""
        return subprocess.Popen([*self._enter(), *command], env=ENVIRONMENT, cwd="/")

    def terminal(self, *command: str) -> Terminal:
        """Run a command inside, with root at a terminal."""
        return Terminal([*self._enter(), *command], ENVIRONMENT, Path("/"))

    def home(self, user: str) -> str:
        """Return the home of a user created by `useradd --create-home`."""
        return f"{HOMES}/{user}"

    def property(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()

    def journal(self, *options: str) -> str:
        """Return what was logged inside."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", "-o", "cat", *options).stdout

    def outside(self, path: str) -> Path:
        """Return where a path inside is for this process."""
        return Path(f"/proc/{self.pid}/root{path}")

    def enter_network(self) -> None:
        """Move this thread permanently to the box's network."""
        libc = ctypes.CDLL(None, use_errno=True)
        namespace = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            assert libc.setns(namespace, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        finally:
            os.close(namespace)

    def close(self) -> None:
        """Kill everything inside, and remove what is left."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # PID 1 of its namespace: the others die with it
        else:
            self._process.kill()
        self._process.wait(PATIENCE)
        self._await(self._cgroup_is_gone)
        shutil.rmtree(self._directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self.pid}", "--pid", *_NAMESPACES, "--"]

    def _has_systemd(self) -> bool:
        """Find the process that the namespaces were created for, once it is systemd."""
        assert self._process.poll() is None, f"no boot:\n{self._console.read_text()}"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for child in children.read_text().split():
            with suppress(OSError):
                if Path(f"/proc/{child}/exe").readlink().name == "systemd":
                    self.pid = int(child)
        return self.pid != 0

    def _is_up(self) -> bool:
        assert self._process.poll() is None, f"no boot:\n{self._console.read_text()}"
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in {"running", "degraded"}

    def _cgroup_is_gone(self) -> bool:
        """Remove the cgroup, once its last process has ended."""
        _remove_cgroup(self._cgroup)
        return not self._cgroup.exists()

    def _await(self, holds: Callable[[], bool]) -> None:
        until = clock.boot() + PATIENCE
        while not holds():
            assert clock.boot() < until, f"it didn't come:\n{self._console.read_text()}"
            sleep(0.02)

    def _told(self, command: Sequence[str | Path], done: Completed) -> str:
        journal = ("journalctl", "--no-pager", "-n", "40", "-o", "short-monotonic")
        last = processes.run(*self._enter(), *journal, inherited=ENVIRONMENT)
        words = " ".join(map(str, command))
        return (
            f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}\njournal:\n{last.stdout}"
        )
