"""Where the sockets are to be, and whether they could be made there: for a start, a reload and `check`."""

import os
import shlex
from pathlib import Path

from openfit_token._client.paths import SYSTEM_SOCKET, VARIABLE, everybodys, usual
from openfit_token.errors import ConfigRejected
from openfit_tokend.core.settings.values import Settings
from openfit_tokend.host.listener import (
    AdoptedListener,
    Sockets,
    SocketUnusable,
    judge_place,
    lock_path,
)


def socket_path(option: str | None, settings: Settings) -> Path:
    """Return the path for the socket.

    Raises:
        SocketUnusable: nothing names one.
    """
    given = option or settings.socket
    if given is not None:
        return Path(given).absolute()
    if os.geteuid() == 0:
        return Path(SYSTEM_SOCKET)
    first, *others = map(Path, usual())
    if os.path.isdir(first.parent.parent):  # noqa: PTH112 -- False also where it may not be looked at
        return first
    if others[:-1]:
        return others[0]
    raise SocketUnusable(
        f"there is no place for the socket: there is no {first.parent.parent}, and you have no home",
        "name a path with --socket, or with `socket` in the configuration, in a directory of your own,"
        f" and set {VARIABLE} for the clients",
    )


def export_line(socket: Path) -> str | None:
    """Return what lets a shell's clients find the socket; None: they find it anyway, in each terminal."""
    known = os.environ.get(VARIABLE)
    if str(socket) in ([known] if known else everybodys()):
        return None
    return f"export {VARIABLE}={shlex.quote(str(socket))}"


def http_socket_path(given: str, other: Path | None) -> Path:
    """Return the path for the HTTP socket. `other`: the path of the other one, if there is a place for it.

    Raises:
        SocketUnusable: it is the other socket's, however that is spelled, or one is the other's lock.
    """
    path = Path(given)
    if other is not None and _files(path) & _files(other):
        raise SocketUnusable(
            f"http_socket is {path}, where the daemon's other socket is",
            "HTTP needs a socket of its own: name another file",
        )
    return path


def _files(path: Path) -> set[Path]:
    """Return what is made for a socket, links to its directory resolved."""
    real = Path(os.path.realpath(path.parent), path.name)
    return {real, lock_path(real)}


def judge_sockets(option: str | None, sockets: Sockets, settings: Settings) -> None:
    """Refuse a configuration whose sockets the next start couldn't make. May block on the disk.

    `option`, `sockets`: of this start. What a unit passed isn't made.

    Raises:
        ConfigRejected: says which socket, why, and what to do.
    """
    try:
        if isinstance(sockets.rpc, AdoptedListener):
            place = sockets.rpc.path
        else:
            place = socket_path(option, settings)
            judge_place(place, settings.socket_group)
        if settings.http_socket is not None and not isinstance(sockets.http, AdoptedListener):
            judge_place(http_socket_path(settings.http_socket, place), settings.socket_group)
    except SocketUnusable as error:
        raise ConfigRejected(error.message, error.hint) from None
    except OSError as error:
        raise ConfigRejected(f"its sockets can't be checked: {error.strerror}") from None
