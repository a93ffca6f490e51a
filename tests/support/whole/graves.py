"""Where killed daemons lie: nothing of them may run on, not even what cleans up."""

import asyncio  # noqa: TID251 -- it knows which tasks are left
import contextlib
import gc
import os
import sys
import warnings
from collections.abc import Iterable
from typing import Any, final


@final
class Graves:
    """Keeps what was killed, since collecting it would run it."""

    def __init__(self) -> None:
        self._objects: list[object] = []
        self._tasks: list[asyncio.Task[Any]] = []

    def add(self, objects: Iterable[object], tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Keep the parts of a daemon that has ended, and the tasks that it left."""
        self._objects += objects
        self._tasks += tasks

    def close(self) -> None:
        """Let go of all of them without a word."""
        hook, sys.unraisablehook = sys.unraisablehook, _hush
        try:
            with warnings.catch_warnings(action="ignore"):
                for task in self._tasks:
                    _bury(task)
                if self._tasks:
                    self._tasks.clear()
                    self._objects.clear()
                    gc.collect()
        finally:
            sys.unraisablehook = hook


def close_all(descriptors: Iterable[int]) -> None:
    """Close what a killed process had open; its objects may close the same numbers again."""
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # it was the one of the listing itself
            os.fstat(descriptor)
            os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


def _bury(task: Any) -> None:  # noqa: ANN401 -- what hushes it is private
    """Let go of a killed task without a word."""
    task._log_destroy_pending = False
    with contextlib.suppress(BaseException):
        task.get_coro().close()


def _hush(_unraisable: object) -> None:
    """Say nothing of what ends without its loop."""
