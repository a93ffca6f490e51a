"""Where the daemon's socket is, and whether to trust who listens there.

A token that a stranger hands out would send the caller's data to the stranger's account. So the first
socket found is the only one tried (a daemon that is down must not turn one login into another), and
the kernel is asked who listens.
"""

import errno
import os

# Not `socket`: that module loads selectors and enum, 7 ms, more than the rest of this client.
from _socket import AF_UNIX, SO_PEERCRED, SOCK_STREAM, SOL_SOCKET, socket
from struct import unpack

from openfit_token.errors import DaemonUnreachable, DaemonUntrusted

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not loaded at run time: it would double the client's start
    from typing import Final

VARIABLE: "Final" = "OPENFIT_TOKEN_SOCKET"
"""The environment variable that names the socket."""
SYSTEM_SOCKET: "Final" = "/run/openfit-tokend/socket"
"""The socket of the system's daemon."""

_START: "Final" = "start it: `systemctl start openfit-tokend`, or `openfit-tokend run`"
_OR_NAME: "Final" = (
    f"{_START}; one whose configuration has a `socket` is found by --socket or ${VARIABLE}"
)
_OTHERS_WRITE: "Final" = 0o022
"""The mode bits that let group and others write."""
_GROUP_WRITES: "Final" = 0o020


def candidates(given: str | None = None) -> list[str]:
    """Give the paths where the socket may be, best first. A given path is the only one."""
    chosen = os.environ.get(VARIABLE) or None if given is None else given
    if chosen is not None:
        return [chosen]
    return usual()


def usual() -> list[str]:
    """Give the paths where it may be when nothing names one: the user's own, the machine's."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return [f"{runtime}/openfit-tokend/socket", SYSTEM_SOCKET]


def find(given: str | None = None) -> str:
    """Give the first path that exists.

    A path that may not be looked at counts as one that exists: going on could lead to another
    daemon's login.

    Raises:
        DaemonUnreachable: none exists.
    """
    paths = candidates(given)
    for path in paths:
        try:
            os.stat(path)  # noqa: PTH116 -- pathlib costs 9 ms
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass  # connecting meets the same fault, and reports it
        return path
    raise DaemonUnreachable(
        f"no daemon: there is no {' and no '.join(paths)}", _OR_NAME if len(paths) > 1 else _START
    )


def connect(given: str | None = None) -> socket:
    """Give a non-blocking connection to the daemon, whose owner can be trusted. Never waits.

    Raises:
        DaemonUnreachable: there is no socket, nobody listens, or it may not be opened.
        DaemonUntrusted: the listener is neither root, nor the caller, nor the directory's owner.
        BlockingIOError: the daemon's queue of connections is full. Try again in a moment.
    """
    path = find(given)
    try:
        connection = socket(AF_UNIX, SOCK_STREAM)
    except OSError as error:
        raise DaemonUnreachable(f"can't make a socket: {error.strerror}") from error
    try:
        connection.settimeout(0)
        connection.connect(path)
        _refuse_stranger(connection, path)
    except BlockingIOError:
        connection.close()
        raise
    except OSError as error:
        connection.close()
        raise _unreachable(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_stranger(connection: socket, path: str) -> None:
    """Raise DaemonUntrusted unless the peer is root, the caller, or rules the socket's directory."""
    _, peer, _ = unpack("iII", connection.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
    if peer == 0:
        return
    _refuse_ambiguous(peer, path)
    if peer == os.geteuid():
        return
    # A link is resolved, since its own directory says nothing of who may put a socket at its end.
    directory = os.path.dirname(os.path.realpath(path))  # noqa: PTH120 -- pathlib costs 9 ms
    found = os.stat(directory)  # noqa: PTH116 -- pathlib costs 9 ms
    if found.st_uid == peer and not found.st_mode & _OTHERS_WRITE:
        return
    raise DaemonUntrusted(
        f"user {user_name(peer)} listens at {path}: neither root, nor you, nor the only one who can"
        f" write to {directory}",
        "if that user is right, the socket belongs into a directory which only that user can write to",
    )


def _refuse_ambiguous(peer: int, path: str) -> None:
    """Raise DaemonUntrusted if the number of the peer's user doesn't say who that is."""
    from openfit_token.identity import may_be_anybody  # noqa: PLC0415 -- root's daemon needs none of it

    if not may_be_anybody("uid", peer):
        return
    who = f"user {user_name(peer)} (uid {peer})"
    raise DaemonUntrusted(
        f"{who} listens at {path}, and in this user namespace that is anybody who isn't mapped",
        "run as another user than that, daemon and client"
        if peer == os.geteuid()
        else "let the daemon run as a user whom this user namespace maps",
    )


def _unreachable(path: str, error: OSError) -> DaemonUnreachable:
    """Give the error that tells a person why connecting failed, and what to do."""
    match error.errno:
        case errno.ECONNREFUSED:
            return DaemonUnreachable(f"no daemon listens at {path}: it isn't running", _START)
        case errno.ENOENT | errno.ENOTDIR:
            return DaemonUnreachable(f"no daemon: there is no {path}", _START)
        case errno.EACCES | errno.EPERM:
            return _forbidden(path)
        case _:
            return DaemonUnreachable(f"can't connect to {path}: {error.strerror or error}")


def _forbidden(path: str) -> DaemonUnreachable:
    """Give the error for a socket, or a directory above it, that the caller may not use."""
    closed = path
    while (found := _look_at(closed)) is None:
        # What can't be seen is kept from us by the directory above; "/" can be seen by all.
        closed = os.path.dirname(closed) or "."  # noqa: PTH120 -- pathlib costs 9 ms
    group = group_name(found.st_gid)
    mode = found.st_mode & 0o7777
    message = f"permission denied: {path}"
    if closed != path:
        message += f", because of {closed}"
    message += f" ({user_name(found.st_uid)}:{group}, mode {mode:04o})"
    # To connect takes the right to write to a socket, and the right to search a directory.
    if mode & (_GROUP_WRITES if closed == path else 0o010) and found.st_gid != 0:
        hint = _join(group, user_name(os.geteuid()))
    elif closed == path:
        hint = "the daemon's socket_mode and socket_group decide who may ask"
    else:
        hint = f"--socket or ${VARIABLE} names another daemon's socket"
    return DaemonUnreachable(message, hint)


def _join(group: str, user: str) -> str:
    """Give how to get into a group; who is in it already, but logged in before, needs less."""
    from grp import getgrnam  # noqa: PLC0415 -- needed only where something went wrong

    try:
        members = getgrnam(group).gr_mem
    except KeyError:
        members = []
    if user in members:
        return (
            f"you were put into group {group} after you logged in: log in anew, or `newgrp {group}`"
        )
    return f"join its group: `sudo usermod -aG {group} {user}`, then log in anew"


def _look_at(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 -- pathlib costs 9 ms
    except OSError:
        return None


def user_name(uid: int) -> str:
    """Give a user's name, or the number where there is none."""
    from pwd import getpwuid  # noqa: PLC0415 -- needed only where something went wrong

    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Give a group's name, or the number where there is none."""
    from grp import getgrgid  # noqa: PLC0415 -- needed only where something went wrong

    try:
        return getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
