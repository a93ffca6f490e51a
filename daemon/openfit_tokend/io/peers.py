"""Who is asking: the kernel's word, never the caller's."""

import grp
import os
import struct
from _socket import socket
from collections.abc import Iterable
from pathlib import Path
from socket import SO_PEERCRED, SOL_SOCKET
from typing import Final, NamedTuple

_CRED: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid (unix(7))
_SO_PEERGROUPS: Final = 59
_GROUPS_BYTES: Final = 1024
"""Python's getsockopt gives no more: a caller's first 256 groups count."""


class Peer(NamedTuple):
    """The process that connected, as it was then."""

    pid: int
    uid: int
    gid: int


def peer_of(sock: socket) -> Peer:
    """Give who connected."""
    return Peer(*_CRED.unpack(sock.getsockopt(SOL_SOCKET, SO_PEERCRED, _CRED.size)))


def groups_of(sock: socket, peer: Peer) -> frozenset[int]:
    """Give the groups of who connected, supplementary ones included."""
    try:
        raw = sock.getsockopt(SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:  # older kernels, or more groups than fit: the main one is known
        return frozenset({peer.gid})
    return frozenset({peer.gid, *struct.unpack(f"{len(raw) // 4}I", raw)})


def group_exists(name: str) -> bool:
    """Tell whether there is a group of that name."""
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def group_ids(names: Iterable[str]) -> frozenset[int]:
    """Give the ids of groups.

    Raises:
        KeyError: there is no group of that name.
    """
    return frozenset(grp.getgrnam(name).gr_gid for name in names)


def may_operate(sock: socket, peer: Peer, admin_groups: frozenset[int]) -> bool:
    """Tell whether a caller is an operator: root, the daemon's own user, or in such a group."""
    if peer.uid in {0, os.geteuid()}:
        return True
    return bool(admin_groups) and not admin_groups.isdisjoint(groups_of(sock, peer))


def program_of(peer: Peer) -> str:
    """Give the name of the caller's program, for the log alone: it can choose it itself."""
    try:
        return Path(f"/proc/{peer.pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
