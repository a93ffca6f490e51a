"""Whether a uid or gid identifies a user or group.

In a user namespace that doesn't map every id, the kernel shows all the others as one number, the
overflow id (user_namespaces(7)). That number may be anybody, even if the namespace maps it.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not loaded at run time: it would double the client's start
    from typing import Final, Literal

    Kind = Literal["uid", "gid"]

ALL: "Final" = 2**32 - 1
"""Ids that can be mapped: the last number, -1, is nobody's."""
_DEFAULT: "Final" = 65534
"""The overflow id where /proc can't be read (Linux's DEFAULT_OVERFLOWUID)."""
_MAX_MAP: "Final" = 64 * 1024
"""Bytes: a map has 340 lines at most (user_namespaces(7))."""

_overflow_ids: "dict[Kind, int]" = {}  # the whole system has the same ones


def may_be_anybody(kind: "Kind", number: int) -> bool:
    """Return whether a uid or gid that the kernel named stands for every id that isn't mapped."""
    return number == _overflow_id(kind) and not _are_all_mapped(kind)


def ambiguous_ids(kind: "Kind") -> "frozenset[int]":
    """Return the uids or gids that may be anybody's: one, or none."""
    return frozenset(() if _are_all_mapped(kind) else (_overflow_id(kind),))


def _overflow_id(kind: "Kind") -> int:
    if kind not in _overflow_ids:
        text = _read(f"/proc/sys/kernel/overflow{kind}")
        _overflow_ids[kind] = int(text) if text.strip().isdigit() else _DEFAULT
    return _overflow_ids[kind]


def _are_all_mapped(kind: "Kind") -> bool:
    """Return whether every id is mapped. Read again each time: a process can change its namespace."""
    lines = _read(f"/proc/self/{kind}_map").splitlines()
    return sum(int(line.split()[2]) for line in lines) >= ALL


def _read(path: str) -> bytes:
    try:
        # Not `open`, which takes four times as long.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, _MAX_MAP)
        finally:
            os.close(descriptor)
    except OSError:
        return b""  # no /proc: nothing says that all are mapped
