"""Writes lines in a thread of its own, so that nothing else waits for whoever reads them.

A pipe that nobody reads, a stopped terminal or a disk that hangs holds up this thread alone.
O_NONBLOCK wouldn't do: it would hold for every process that shares the descriptor, and not for files.
"""

import os
import select
from queue import SimpleQueue
from threading import Event, Thread
from typing import Final, final

MAX_BACKLOG: Final = 256 * 1024
"""Bytes of lines that may wait to be written: some thousand lines."""


@final
class LineWriter:
    """Writes to a descriptor, which stays the caller's. One thread at a time may call `put`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._queue: SimpleQueue[bytes | Event | None] = SimpleQueue()
        self._taken = 0  # bytes; written by who calls `put` alone
        self._written = 0  # bytes; written by the thread alone, as is `failed`
        self.failed = 0
        """Lines that couldn't be written."""
        Thread(target=self._work, name="log", daemon=True).start()

    def put(self, line: bytes) -> bool:
        """Have a line written after those before it, and return whether there was room for it."""
        if self._taken - self._written >= MAX_BACKLOG:
            return False
        self._taken += len(line)
        self._queue.put(line)
        return True

    def flush(self, limit: float) -> None:
        """Wait until all that was put is written, at most so many seconds."""
        reached = Event()
        self._queue.put(reached)
        reached.wait(limit)

    def close(self) -> None:
        """End the thread once it has written what was put."""
        self._queue.put(None)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, Event):
                item.set()
                continue
            try:
                self._write(item)
            except OSError:  # nobody reads any more, or the disk is full
                self.failed += 1
            self._written += len(item)

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # another process set O_NONBLOCK
                writable = select.poll()
                writable.register(self._descriptor, select.POLLOUT)
                writable.poll()
