"""A disk that hangs: opening one of its files waits until it is repaired.

with hung_disk("secret") as disk:
    ... disk.asked, disk.mend() ...
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import PurePath
from threading import Event

import pytest


class HungDisk:
    """What hangs, and how often it was opened."""

    def __init__(self) -> None:
        self.asked = 0
        self._mended = Event()

    def mend(self) -> None:
        """Release everyone who waits, and make nobody wait any more."""
        self._mended.set()

    def open(self) -> None:
        """Wait as a system call does on a dead disk: nothing interrupts it."""
        self.asked += 1
        self._mended.wait()


@contextmanager
def hung_disk(*names: str) -> Generator[HungDisk]:
    """Let files with these names hang, wherever they are, until the end of the block."""
    disk, really_open = HungDisk(), os.open

    def opened(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if PurePath(path).name in names:
            disk.open()
        return really_open(path, flags, mode, dir_fd=dir_fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", opened)
        try:
            yield disk
        finally:
            disk.mend()
