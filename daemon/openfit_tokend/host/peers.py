"""Who is at the other end of a Unix socket: the kernel's word, never the peer's."""

import os
import struct
from _socket import socket
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from socket import SO_PEERCRED, SOL_SOCKET
from typing import Final, NamedTuple

from openfit_token._shared.identity import ambiguous_ids
from openfit_tokend.core.callers.rights import Ambiguous, Who, identify

_CRED: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid (unix(7))
_SO_PEERGROUPS: Final = 59
_GROUPS_BYTES: Final = 1024
"""Python's getsockopt takes no more, which are 256 groups. The kernel then gives none of them, so
only the main group counts. /proc/PID/status would list all, but the pid may be another process's by
now, so nothing is decided by it."""
MAX_CGROUP: Final = 4096
"""Bytes read of a cgroup's path: as long as paths can be."""
_UNITS: Final = (".service", ".scope")
MAX_IDENTITIES: Final = 1024
"""Identities that are shared by all connections of the same one."""


class Peer(NamedTuple):
    """The process that connected, as it was then."""

    pid: int
    uid: int
    gid: int


def peer_of(sock: socket) -> Peer:
    """Return the process that connected."""
    return Peer(*_CRED.unpack(sock.getsockopt(SOL_SOCKET, SO_PEERCRED, _CRED.size)))


def who(sock: socket, peer: Peer) -> Who:
    """Return the identity that rights are checked against, with the groups it had when it connected."""
    return _identified(peer.uid, groups_of(sock, peer), os.geteuid())


@lru_cache(MAX_IDENTITIES)
def _identified(uid: int, groups: frozenset[int], own: int) -> Who:
    """Return one shared value for all connections of the same identity."""
    return identify(uid, groups, own, ambiguous())


@cache
def ambiguous() -> Ambiguous:
    """Return the ids that may be any user's here. The daemon never leaves its user namespace."""
    return Ambiguous(ambiguous_ids("uid"), ambiguous_ids("gid"))


def groups_of(sock: socket, peer: Peer) -> frozenset[int]:
    """Return the peer's groups, supplementary ones included: see _GROUPS_BYTES."""
    try:
        raw = sock.getsockopt(SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:  # more groups than fit, or an older kernel: the main one is known
        return frozenset({peer.gid})
    return frozenset({peer.gid, *struct.unpack(f"{len(raw) // 4}I", raw)})


def named(peer: Peer) -> dict[str, object]:
    """Return the fields that name a peer in a line of the log."""
    return {"uid": peer.uid, "pid": peer.pid, "program": program_of(peer)}


def program_of(peer: Peer) -> str:
    """Return the name of the caller's program, for the log alone: it can choose it itself."""
    try:
        return Path(f"/proc/{peer.pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "?"


def unit_of(peer: Peer) -> str | None:
    """Return the systemd unit the caller runs in, for the log alone; None: it can't be told."""
    try:
        with Path(f"/proc/{peer.pid}/cgroup").open("rb") as file:
            lines = file.read(MAX_CGROUP).decode(errors="replace").splitlines()
    except OSError:
        return None
    return unit_in(lines)


def unit_in(lines: Iterable[str]) -> str | None:
    """Return the innermost unit in the lines of /proc/PID/cgroup (cgroups(7)), of version 2 or 1."""
    for line in lines:
        _number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers in {"", "name=systemd"}:
            units = [part for part in path.split("/") if part.endswith(_UNITS)]
            return units[-1] if units else None
    return None
