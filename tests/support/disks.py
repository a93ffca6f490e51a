"""Disks to which a ledger really can't be written, until they are repaired.

with broken("a full disk", daemon.state) as mend:
    ... daemon.await_log("state_not_written") ... mend() ...
"""

import ctypes
import os
import resource
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from daemons import NOBODY, await_that
from processes import done
from users import IS_ROOT, MAY_MOUNT, being

_FAN_CLASS_CONTENT: Final = 0x4
_FAN_CLOEXEC: Final = 0x1
_FAN_MARK_ADD: Final = 0x1
_FAN_OPEN_PERM: Final = 0x10000
_FAN_EVENT_ON_CHILD: Final = 0x8000000
_AT_FDCWD: Final = -100

FOR_EVERYBODY: Final = ("a file for the directory", "a directory for the file")
"""They affect a daemon of any user."""
MOUNTED: Final = ("a full disk", "a read-only disk")
"""So do these, which only root can create."""
FOR_ITSELF: Final = (
    "a read-only directory",
    "an unsearchable directory",
    "a limit for the size of files",
)
"""These affect only the process that breaks them: it gives up being root, or the right to write."""


@contextmanager
def broken(what: str, ledger: Path) -> Generator[Callable[[], None]]:
    """Make the ledger unwritable, and yield what repairs it; so does the end of the block."""
    if what in MOUNTED and not MAY_MOUNT:
        pytest.skip("needs root: to mount")
    directory, new = ledger.parent, ledger.with_suffix(".new")
    if what != "a file for the directory":
        directory.mkdir(exist_ok=True)
    breaking = {
        "a file for the directory": lambda: _a_file_for(directory),
        "a directory for the file": lambda: _a_directory_for(new),
        "a full disk": lambda: _full(directory),
        "a read-only disk": lambda: _read_only(directory),
        "a read-only directory": lambda: _closed(directory, 0o500),
        "an unsearchable directory": lambda: _closed(directory, 0o600),
        "a limit for the size of files": _limited,
    }[what]()
    next(breaking)

    def mend() -> None:
        next(breaking, None)

    try:
        yield mend
    finally:
        for _ in breaking:
            pass


# Each breaks the disk, repairs it when resumed, and cleans up at the end.


def _a_file_for(directory: Path) -> Iterator[None]:
    aside = directory.with_suffix(".aside")
    if directory.exists():
        directory.rename(aside)
    directory.touch()
    yield
    directory.unlink()
    if aside.exists():
        aside.rename(directory)


def _a_directory_for(new: Path) -> Iterator[None]:
    _between_saves(new.mkdir)
    yield
    new.rmdir()


def _full(directory: Path) -> Iterator[None]:
    done("mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", directory)
    filler = directory / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()
    yield
    done("umount", "--lazy", directory)


def _read_only(directory: Path) -> Iterator[None]:
    done("mount", "--bind", directory, directory)
    done("mount", "-o", "remount,ro,bind", directory)
    yield
    done("umount", "--lazy", directory)


def _closed(directory: Path, mode: int) -> Iterator[None]:
    if not IS_ROOT:
        directory.chmod(mode)
        yield
        directory.chmod(0o700)
        return
    for each in (directory, *directory.iterdir()):
        os.chown(each, NOBODY, NOBODY)
    for above in directory.parents:
        if above.stat().st_mode & 0o001 == 0:
            above.chmod(above.stat().st_mode | 0o011)
    directory.chmod(mode)
    with being(NOBODY):
        yield
        directory.chmod(0o700)
        yield


def _limited() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _between_saves(make: Callable[[], None]) -> None:
    """Make it where a daemon has a file while it saves."""

    def is_made() -> bool:
        try:
            make()
        except FileExistsError:
            return False
        return True

    await_that(is_made)


@contextmanager
def slow(ledger: Path) -> Generator[Callable[[], None]]:
    """Let any process that opens a file next to the ledger hang, and yield what lets it go on."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fanotify_mark.argtypes = (
        *(ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p),
    )
    fd = libc.fanotify_init(_FAN_CLASS_CONTENT | _FAN_CLOEXEC, os.O_RDONLY)
    if fd < 0:
        pytest.skip("needs root: to watch files with fanotify(7)")
    end = ExitStack()
    end.callback(os.close, fd)  # the kernel releases all that wait for this process's permission
    with end:
        what = _FAN_OPEN_PERM | _FAN_EVENT_ON_CHILD
        path = os.fsencode(ledger.parent)
        assert libc.fanotify_mark(fd, _FAN_MARK_ADD, what, _AT_FDCWD, path) == 0
        yield end.close
