"""Creates the listening sockets, and removes them.

Nobody whom the mode excludes can ever connect: the socket is created without any permissions, gets its
group and its mode, starts to listen, and only then gets its name. A lock file beside it is held while a
daemon lives. So the socket of a live daemon is never replaced, not even in a race, and that of a dead
one always is.
"""

import grp
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, final

from openfit_token._shared.frozen import frozen
from openfit_token._shared.trouble import Trouble
from openfit_token._shared.trusted_path import Untrusted, group_name, judge_directory
from openfit_tokend.core.settings.fields import MAX_SOCKET_PATH
from openfit_tokend.host import lock_file
from openfit_tokend.host.peers import peer_of

BACKLOG: Final = 128
"""Connections that may wait to be accepted: some milliseconds' work. Beyond them `connect` blocks."""
DEFAULT_MODE: Final = 0o600
"""The socket's mode by default: for the daemon's user only."""


class SocketUnusable(Trouble):
    """The socket can't be made."""


class SocketTaken(SocketUnusable):
    """Another process already listens there."""


@final
class Listener:
    """A listening socket that this daemon created, and its lock."""

    def __init__(self, path: Path, mode: int | None, group: str | None) -> None:
        """Create the socket, and its directory if that is missing.

        Raises:
            SocketUnusable: another daemon listens there, or the place isn't safe or not writable.
        """
        self.path = path
        mode = DEFAULT_MODE if mode is None else mode
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        _judge_length(path)
        gid = _gid(group)
        try:
            _make_directory(path.parent, mode, gid)
            self._lock = _lock(path)
            try:
                _judge_place(path)
                self.socket = _listen(beside, mode, gid)
                beside.replace(path)
            except BaseException:
                os.close(self._lock)
                raise
        except OSError as error:
            raise SocketUnusable(
                f"the socket {path} can't be made: {error.strerror}",
                "check the directory's rights, or name another place",
            ) from error
        self._made = _inode(path)

    def close(self) -> None:
        """Stop listening, and remove the socket if it is still ours.

        Calling it again does nothing.
        """
        if self.socket.fileno() < 0:
            return
        self.socket.close()
        if _inode(self.path) == self._made:
            self.path.unlink(missing_ok=True)
        lock_path(self.path).unlink(missing_ok=True)
        os.close(self._lock)


@final
class AdoptedListener:
    """A listening socket that the service manager passed: its unit decides on path, mode and group.

    It is never removed or changed: the service manager keeps it, and clients that connect while no daemon
    runs are served by the next one.
    """

    def __init__(self, fd: int) -> None:
        """Take over a descriptor; it is closed if it is of no use.

        Raises:
            SocketUnusable: it isn't a listening Unix stream socket with a path.
        """
        try:
            self.socket = socket.socket(fileno=fd)
        except OSError as error:
            os.close(fd)
            raise _unfit("no socket") from error
        try:
            self.path = _path_of(self.socket)
        except BaseException:
            self.socket.close()
            raise
        self.socket.settimeout(0)

    def close(self) -> None:
        """Stop listening. Calling it again does nothing."""
        self.socket.close()

    def differences(
        self, key: str, path: Path | None, mode: int | None, group: str | None
    ) -> list[str]:
        """Return the settings that differ from what the socket's unit says; None: the setting is absent.

        `key`: the one that says its path.
        """
        try:
            status = self.path.stat()
        except OSError:  # its name is gone: the watchdog says so, and what to do
            return []
        given = {
            key: path is not None and path != self.path,
            "socket_mode": mode is not None and mode != stat.S_IMODE(status.st_mode),
            "socket_group": group is not None and group != group_name(status.st_gid),
        }
        return [name for name, differs in given.items() if differs]


@frozen
class Sockets:
    """What a daemon listens at."""

    rpc: Listener | AdoptedListener
    http: Listener | AdoptedListener | None = None
    credential: AdoptedListener | None = None
    """Where systemd requests units' credentials."""


def judge_place(path: Path, group: str | None) -> bool:
    """Check whether a socket could be created; return whether a daemon already listens there.

    Raises:
        SocketUnusable: it couldn't.
    """
    _gid(group)
    _judge_length(path)
    try:
        _judge_directory(path.parent)
    except FileNotFoundError:  # what is there of the path is safe
        if path.parent.parent.is_dir():
            return False
        raise _nowhere(path.parent) from None
    try:
        _judge_place(path)
    except SocketTaken:
        return True
    return False


def who_is_kept_out(directory: Path, mode: int | None, group: str | None) -> str | None:
    """Return whom an existing directory excludes, although the socket's mode lets them in; None: nobody."""
    mode, gid = DEFAULT_MODE if mode is None else mode, _gid(group)
    try:
        status = directory.stat()
    except OSError:  # it will be created with the right mode
        return None
    of_group = status.st_mode & 0o010 and (gid is None or gid == status.st_gid)
    if mode & 0o006 and not status.st_mode & 0o001:
        return f"socket_mode lets everybody in, but {directory} doesn't"
    if mode & 0o060 and not of_group and not status.st_mode & 0o001:
        return f"socket_mode lets the group in, but {directory} doesn't"
    return None


def _judge_length(path: Path) -> None:
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise SocketUnusable(
            f"the socket's path is too long: {path}",
            f"choose one of at most {MAX_SOCKET_PATH} bytes, with --socket or `socket` in the configuration",
        )


def _gid(group: str | None) -> int | None:
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise SocketUnusable(
            f"there is no group {group}", f"groupadd --system {group}, or change socket_group"
        ) from None


def _path_of(sock: socket.socket) -> Path:
    listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if (sock.family, sock.type) != (socket.AF_UNIX, socket.SOCK_STREAM) or not listens:
        raise _unfit("no listening Unix stream socket")
    path: object = sock.getsockname()
    if not isinstance(path, str) or not path:
        raise _unfit("a socket without a path")
    return Path(path)


def _unfit(what: str) -> SocketUnusable:
    return SocketUnusable(
        f"the service manager passed {what}",
        "write ListenStream=, an absolute path, and no Accept= into the socket unit",
    )


def _make_directory(directory: Path, mode: int, gid: int | None) -> None:
    """Judge the socket's directory; create it, if it is missing, for those who may use the socket."""
    with suppress(FileNotFoundError):
        _judge_directory(directory)
        return
    try:
        directory.mkdir(mode=0o700)
    except FileNotFoundError:
        raise _nowhere(directory) from None
    if gid is not None:
        os.chown(directory, -1, gid)
    directory.chmod(0o700 | (0o050 if mode & 0o060 else 0) | (0o005 if mode & 0o006 else 0))
    _judge_directory(directory)


def _nowhere(directory: Path) -> SocketUnusable:
    return SocketUnusable(
        f"there is no directory {directory.parent}", "make it, or name another place"
    )


def _judge_directory(directory: Path) -> None:
    try:
        judge_directory(os.fspath(directory))
    except Untrusted as untrusted:
        raise SocketUnusable(
            f"others could answer at a socket in {directory}: {untrusted}", untrusted.hint
        ) from None


def lock_path(path: Path) -> Path:
    """Return the path of the file that is locked while a daemon has this socket."""
    return path.with_name(f"{path.name}.lock")


def _lock(path: Path) -> int:
    """Lock the file beside the socket for as long as this process lives."""
    while True:
        lock = lock_file.acquire(lock_path(path))
        if lock is None:
            pid = lock_file.holder(lock_path(path))
            raise _taken(path, pid) if path.exists() else _unlisted(path, pid)
        # Its last holder may have removed the file after we opened it: then our lock protects nothing.
        if _inode(lock_path(path)) == (os.fstat(lock).st_dev, os.fstat(lock).st_ino):
            return lock
        os.close(lock)


def _judge_place(path: Path) -> None:
    """Refuse to replace anything but a dead socket of root's or our own."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no socket"
        raise SocketUnusable(f"{path} is there, and is {kind}", "name another place")
    if status.st_uid not in {0, os.geteuid()}:
        raise SocketUnusable(
            f"{path} is a socket of uid {status.st_uid}", "remove it, or name another place"
        )
    pid = _holder(path)
    if pid is not None:
        raise _held(path) if _is_service_manager(pid) else _taken(path, pid)


def _holder(path: Path) -> int | None:
    """Return the pid of the process that listens there; 0: unknown, None: none does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except BlockingIOError:  # its queue is full: it lives
            return 0
        return peer_of(probe).pid


def _is_service_manager(pid: int) -> bool:
    """Return whether a process is systemd's, the system's or a user's. Only words depend on it."""
    try:
        return pid == 1 or Path(f"/proc/{pid}/comm").read_text() == "systemd\n"
    except OSError:
        return False


def _taken(path: Path, pid: int | None) -> SocketTaken:
    return SocketTaken(
        f"another daemon{_number(pid)} listens at {path}",
        "stop it first, or name another place",
    )


def _number(pid: int | None) -> str:
    return f" (pid {pid})" if pid else ""  # 0: it is in another pid namespace


def _unlisted(path: Path, pid: int | None) -> SocketTaken:
    return SocketTaken(
        f"another daemon{_number(pid)} has {path}, though the socket's file is gone: nobody can reach it",
        "stop that daemon, then start this one; it holds the lock beside the socket"
        f" (fuser -v {lock_path(path)} names it)",
    )


def _held(path: Path) -> SocketTaken:
    return SocketTaken(
        f"systemd holds the socket {path}: it belongs to a socket unit",
        "start the service instead (systemctl start openfit-tokend), or name another place with"
        " --socket",
    )


def _listen(path: Path, mode: int, gid: int | None) -> socket.socket:
    path.unlink(missing_ok=True)  # left by a crash: the lock rules out another daemon
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        umask = os.umask(0o777)
        try:
            sock.bind(os.fspath(path))
        finally:
            os.umask(umask)
        if gid is not None:
            os.chown(path, -1, gid)
        path.chmod(mode)
        sock.settimeout(0)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        path.unlink(missing_ok=True)
        raise
    return sock


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
