"""Where the daemon's socket is, and whether to trust who listens there.

A token from a stranger would send the caller's data to the stranger's account. So the first
socket found is the only one tried (a daemon that is down must not turn one login into another), only
users whom `trusted_path` trusts may decide where it leads, and the kernel says who listens.
"""

import errno
import os

# Not `socket`: that module loads selectors and enum, 7 ms, more than the rest of this client.
from _socket import AF_UNIX, SO_PEERCRED, SO_SNDTIMEO, SOCK_STREAM, SOL_SOCKET, socket
from struct import pack, unpack

from openfit_token._shared.trusted_path import Untrusted, group_name, hold_socket, user_name
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
_GROUP_WRITES: "Final" = 0o020
_NOBODY: "Final" = 2**32 - 1
"""The uid at the other end of a socket that isn't connected."""
_IN_LINE: "Final" = pack("ll", 1, 0)
"""Seconds, and microseconds: struct timeval. Who waits in line goes before who tries again and again."""


def named(given: str | None = None) -> str | None:
    """Return the absolute path that the argument names, else the variable; None: nothing is named.

    Raises:
        DaemonUnreachable: it can't be a path, or is relative to a working directory that is gone.
    """
    path = os.environ.get(VARIABLE) or None if given is None else given
    if path is None:
        return None
    if fault := _fault(path):
        raise DaemonUnreachable(
            f"the socket's path {fault}", "name the daemon's socket, or None for the usual one"
        )
    if path.startswith("/"):
        return path
    try:
        return f"{os.getcwd()}/{path}"  # noqa: PTH109 -- pathlib costs 9 ms
    except OSError as error:
        reason = f"can't find {path}: the working directory is gone ({error.strerror})"
        raise DaemonUnreachable(reason, "name the socket by its absolute path") from error


def _fault(path: str) -> str | None:
    """Return why a text can't be a path; None: it can."""
    if not path:
        return "is empty"
    try:
        return "has a NUL" if b"\0" in os.fsencode(path) else None
    except UnicodeEncodeError:
        return "has a character that this locale lacks"


def candidates(given: str | None = None) -> list[str]:
    """Return the absolute paths where the socket may be, best first. A named one is the only one."""
    path = named(given)
    return usual() if path is None else [path]


def usual() -> list[str]:
    """Return the paths where it may be if none is named: the user's own, then the machine's.

    A user's daemon listens at the first of its own whose runtime directory exists (`socket_path` in
    the daemon's `serving.places`).
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR") or ""
    # A relative one is ignored, as its specification wants.
    return _below(runtime) if runtime.startswith("/") else everybodys()


def everybodys() -> list[str]:
    """Return the paths where it may be for those who have no $XDG_RUNTIME_DIR, as after `su -` and in cron."""
    return _below(f"/run/user/{os.geteuid()}")


def _below(runtime: str) -> list[str]:
    found = [f"{runtime}/openfit-tokend/socket"]
    if (home := _at_home()) is not None:
        found.append(home)
    return [*found, SYSTEM_SOCKET]


def _at_home() -> str | None:
    """Return the path for a user without a runtime directory; None for root, whose is the machine's."""
    home = os.path.expanduser("~")  # noqa: PTH111 -- pathlib costs 9 ms
    return f"{home}/.openfit-tokend/socket" if os.geteuid() and home.startswith("/") else None


def find(given: str | None = None) -> str:
    """Return the first path that exists, absolute.

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
            if path == _at_home():  # $HOME is another user's, as after some `sudo -u`
                continue
            # Else connecting meets the same fault, and reports it.
        return path
    raise DaemonUnreachable(
        f"no daemon: there is no {' and no '.join(paths)}", _OR_NAME if len(paths) > 1 else _START
    )


def connect(given: str | None = None, *, waits: bool = True) -> socket:
    """Return a non-blocking connection to the daemon, whose owner can be trusted.

    Args:
        given: the path of the socket; left out: the usual one.
        waits: for a place in the daemon's queue of connections, _IN_LINE at most.

    Raises:
        DaemonUnreachable: there is no socket, nobody listens, or it may not be opened.
        DaemonUntrusted: others can decide who listens there, or the listener is neither root, nor the
            caller, nor the user of a service.
        BlockingIOError: the daemon's queue of connections is full, or a signal broke off the wait. Try
            again in a moment.
    """
    path = named(given)
    if path is None:
        path = find()
    held, trusted = _hold(path)
    try:
        return _connected(path, held, trusted, waits=waits)
    finally:
        if held is not None:
            os.close(held)


def _connected(path: str, held: int | None, trusted: set[int], *, waits: bool) -> socket:
    try:
        connection = socket(AF_UNIX, SOCK_STREAM)
    except OSError as error:
        raise DaemonUnreachable(f"can't make a socket: {error.strerror}") from error
    try:
        connection.settimeout(None if waits else 0)
        connection.setsockopt(SOL_SOCKET, SO_SNDTIMEO, _IN_LINE)
        connection.connect(path if held is None else f"/proc/self/fd/{held}")
        _refuse_stranger(connection, path, trusted)
        connection.settimeout(0)
    except BlockingIOError:
        connection.close()
        raise
    except OSError as error:
        connection.close()
        if held is not None and error.errno in {errno.ENOENT, errno.ENOTDIR}:
            raise DaemonUnreachable(
                f"can't connect to {path} without /proc: others could exchange it meanwhile",
                "mount /proc, or put the socket into a directory of root's",
            ) from error
        raise _unreachable(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _hold(path: str) -> tuple[int | None, set[int]]:
    """Return what to connect to, and who may listen there. If others could, they are refused before."""
    first, *others = usual()
    own = path in {first, *others[:-1]}
    try:
        return hold_socket(path, service=not own)
    except Untrusted as error:
        hint = error.hint
        if path == first and "XDG_RUNTIME_DIR" in os.environ:
            hint = (
                "if XDG_RUNTIME_DIR is another user's (`su` keeps it): unset it, or use `su -`;"
                f" else {hint}"
            )
        raise DaemonUntrusted(f"{path} can't be trusted: {error}", hint) from error
    except OSError as error:
        raise _unreachable(path, error) from error


def _refuse_stranger(connection: socket, path: str, trusted: set[int]) -> None:
    """Raise DaemonUntrusted unless the peer is one of those who may listen there."""
    _, peer, _ = unpack("iII", connection.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
    if peer == 0:
        return
    if peer == _NOBODY:  # a signal broke off the wait in line, which Python takes for success
        raise BlockingIOError
    _refuse_ambiguous(peer, path)
    if peer not in trusted:
        raise DaemonUntrusted(
            f"user {user_name(peer)} listens at {path}: not root, you, or the owner of the"
            " directory",
            "if that is the right user, put the socket into a directory of theirs that nobody else"
            " can write to",
        )


def _refuse_ambiguous(peer: int, path: str) -> None:
    """Raise DaemonUntrusted if the peer's uid doesn't identify a user."""
    from openfit_token._shared.identity import may_be_anybody  # noqa: PLC0415 -- root's daemon needs none of it

    if not may_be_anybody("uid", peer):
        return
    who = f"user {user_name(peer)} (uid {peer})"
    raise DaemonUntrusted(
        f"{who} listens at {path}, and in this user namespace that is any user who isn't mapped",
        "run daemon and client as another user"
        if peer == os.geteuid()
        else "run the daemon as a user who is mapped into this user namespace",
    )


def _unreachable(path: str, error: OSError) -> DaemonUnreachable:
    """Return the error that tells a person why connecting failed, and what to do."""
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
    """Return the error for a socket, or a directory above it, that the caller may not use."""
    closed = path
    while (found := _look_at(closed)) is None:
        # What can't be seen is hidden by the directory above; "/" can be seen by all.
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
        hint = "the daemon's socket_mode and socket_group decide who may connect"
    else:
        hint = f"--socket or ${VARIABLE} names another daemon's socket"
    return DaemonUnreachable(message, hint)


def _join(group: str, user: str) -> str:
    """Return how to join a group. Members who logged in before they joined only have to log in again."""
    from grp import getgrnam  # noqa: PLC0415 -- needed only where something went wrong

    try:
        members = getgrnam(group).gr_mem
    except KeyError:
        return f"join its group, which has no name here: start the container with `--group-add {group}`"
    if user in members:
        return f"you were put into group {group} after you logged in: log in again, or `newgrp {group}`"
    return f"join its group: `sudo usermod -aG {group} {user}`, then log in again"


def _look_at(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 -- pathlib costs 9 ms
    except OSError:
        return None
