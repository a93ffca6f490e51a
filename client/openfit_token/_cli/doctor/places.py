"""The links up to an open connection: which socket, its rights, who listens there."""

import errno
import os
import stat
from _socket import SO_PEERCRED, SOL_SOCKET, socket
from collections.abc import Generator
from pathlib import Path
from struct import unpack

from openfit_token._cli.report import Verdict, fail, ok, warn
from openfit_token._client import paths
from openfit_token._client.connection import Connection
from openfit_token._shared.trusted_path import group_name, user_name
from openfit_token.errors import DaemonUnreachable, DaemonUntrusted

_START = "start the daemon there: `systemctl start openfit-tokend`, or `openfit-tokend run`"


def placed(given: str | None) -> Generator[Verdict, None, str | None]:
    """Report which socket is the caller's; return its path if there is one."""
    named_by = _named_by(given)
    *mine, machines = paths.usual()
    try:
        path = paths.find(given)
    except DaemonUnreachable as error:
        yield _missing(given, named_by, error)
        return None
    why = named_by or ("your own daemon's" if path in mine else "the machine's")
    match _kind(path):
        case "socket":
            yield ok("socket", f"{path} ({why})")
        case None:
            pass  # it can't be seen: connecting says why
        case other:
            status = DaemonUnreachable.exit_status
            text = f"{path} ({why}) is a {other}, no socket"
            yield fail("socket", text, _instead(given), status)
            return None
    if named_by is None and path in mine and _kind(machines) == "socket":
        yield warn(
            "daemons",
            f"there is {machines} (the machine's) too: yours is asked, since it comes first",
            f"stop the one you don't mean, or: export {paths.VARIABLE}={machines}",
        )
    return path


def connected(path: str) -> Generator[Verdict, None, Connection | None]:
    """Report whether the socket may be opened, and the listener be trusted; return a connection."""
    try:
        channel = paths.connect(path)
    except DaemonUntrusted as error:
        yield fail("owner", error.message, error.hint or "", error.exit_status)
        return None
    except DaemonUnreachable as error:
        yield _not_connected(path, error)
        return None
    except BlockingIOError:
        yield fail(
            "daemon",
            f"it accepts no more connections at {path}: it hangs, or too many ask at once",
            "its log may tell why: `journalctl -u openfit-tokend`; then restart it",
            DaemonUnreachable.exit_status,
        )
        return None
    yield ok("rights", _rights(path))
    yield ok("owner", f"{_listener(channel)} listens there")
    return Connection(channel)


def _named_by(given: str | None) -> str | None:
    """Return what names the socket; None if nothing does, and it is searched for."""
    if given is not None:
        return "--socket"
    return f"${paths.VARIABLE}" if os.environ.get(paths.VARIABLE) else None


def _kind(path: str) -> str | None:
    """Return what is at a path; None: nothing, or it can't be seen."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return None
    if stat.S_ISSOCK(mode):
        return "socket"
    return "directory" if stat.S_ISDIR(mode) else "file"


def _missing(given: str | None, named_by: str | None, error: DaemonUnreachable) -> Verdict:
    if named_by is None:
        return fail("socket", error.message, error.hint or _START, error.exit_status)
    (path,) = paths.candidates(given)
    what = "is a link to nothing" if Path(path).is_symlink() else "isn't there"
    return fail("socket", f"{path} ({named_by}) {what}", _instead(given), error.exit_status)


def _instead(given: str | None) -> str:
    """Return what to do if the named path isn't a socket."""
    there = [path for path in paths.usual() if _kind(path) == "socket"]
    if not there:
        return _START
    leave = "leave --socket out" if given is not None else f"unset {paths.VARIABLE}"
    return f"{leave} (there is {there[0]}); or {_START}"


def _not_connected(path: str, error: DaemonUnreachable) -> Verdict:
    cause = error.__cause__
    match cause.errno if isinstance(cause, OSError) else None:
        case errno.EACCES | errno.EPERM:
            link = "rights"
        case errno.ECONNREFUSED:
            link = "daemon"
        case _:
            link = "socket"
    fix = error.hint or f"look at it: ls -l {path}; --socket or ${paths.VARIABLE} names another"
    return fail(link, error.message, fix, error.exit_status)


def _rights(path: str) -> str:
    found = Path(path).stat()
    owners = f"{user_name(found.st_uid)}:{group_name(found.st_gid)}"
    return f"you may open it ({owners}, mode {stat.S_IMODE(found.st_mode):04o})"


def _listener(channel: socket) -> str:
    _, uid, _ = unpack("iII", channel.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
    if uid == 0:
        return "root"
    name = user_name(uid)
    return f"{name}, you," if uid == os.geteuid() else f"{name}, whose directory it is,"
