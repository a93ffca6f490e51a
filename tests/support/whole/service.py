"""systemd's side: the notify socket that it reads, and its descriptor store."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import final

from openfit_tokend.host.service_manager import Passed


@final
class ServiceManager:
    """Keeps what it is sent, at once, in the order in which it comes."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(0)
        self._socket.bind(self.address)
        self._store: list[tuple[str, int]] = []

    def fileno(self) -> int:
        """Return the descriptor that can be read when something was sent."""
        return self._socket.fileno()

    def read(self) -> None:
        """Take what was sent."""
        with suppress(BlockingIOError):
            while True:
                data, fds, _flags, _address = socket.recv_fds(self._socket, 65536, 4)
                self._take(data.decode().split("\n"), fds)

    def passed(self) -> tuple[Passed, ...]:
        """Return what the next daemon is handed over; it is to close it."""
        return tuple(Passed(name, os.dup(fd)) for name, fd in self._store)

    @property
    def stored(self) -> set[int]:
        """Return the descriptors in the store."""
        return {fd for _, fd in self._store}

    def forget(self) -> None:
        """Forget what is stored, as over a reboot."""
        for _, fd in self._store:
            os.close(fd)
        self._store.clear()

    def close(self) -> None:
        """End."""
        self.forget()
        self._socket.close()

    def _take(self, lines: list[str], fds: list[int]) -> None:
        names = [line.removeprefix("FDNAME=") for line in lines if line.startswith("FDNAME=")]
        if "FDSTORE=1" in lines:
            self._store += [(names[0], fd) for fd in fds]
        elif "FDSTOREREMOVE=1" in lines:
            for each in list(self._named(names[0])):
                self._store.remove(each)
                os.close(each[1])

    def _named(self, name: str) -> Iterator[tuple[str, int]]:
        return (each for each in tuple(self._store) if each[0] == name)
