"""systemd's side of the daemon: what it hands over at the start, and what it is told (sd_notify(3)).

Where there is no service manager nothing is handed over, and what is told goes nowhere.

What is told is never waited for: the manager's queue is short, and it may be gone. A message that
can't be sent is due until it can be; a newer one of the same matter takes its place in the queue.
"""

import os
import socket
import sys
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Final, final

import anyio

from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Alarm

FIRST_FD: Final = 3
"""The first descriptor that is handed over (sd_listen_fds(3))."""
MAX_FDS: Final = 65536
"""Descriptors that can be handed over: what a service may have at most."""
RETRY: Final = 0.05
"""Seconds until a message that couldn't be sent is tried again; doubles to MAX_RETRY."""
MAX_RETRY: Final = 60.0
"""Seconds: a manager that is gone for good must not keep an idle daemon awake."""
LAST_WORDS: Final = 2.0
"""Seconds that messages still due are given when the daemon ends."""
SOCKET_NAMES: Final = ("socket", "openfit-tokend.socket", "unknown", "")
"""FileDescriptorName= of the socket to be served; or its unit's name, which is systemd's default;
or what stands for no name at all."""
CREDENTIAL_NAMES: Final = ("credential", "openfit-tokend-credential.socket")
"""FileDescriptorName= of the socket on which tokens are served as credentials; or its unit's name."""
STORED_PREFIX: Final = "session-"
"""How the names begin of what the daemon itself put into the descriptor store."""

_VARIABLES: Final = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE"),
    *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"),
)
_FLAGS: Final = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


@dataclass(frozen=True, slots=True)
class Passed:
    """An open descriptor that was handed over, and its name."""

    name: str
    fd: int

    @property
    def number(self) -> int:
        """Return the number in the name of a stored session; -1: there is none."""
        digits = self.name.removeprefix(STORED_PREFIX)
        plain = digits.isascii() and digits.isdigit() and len(digits) <= 18  # noqa: PLR2004 -- fits 64 bits
        return int(digits) if plain else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the service manager handed over. Whoever takes a descriptor closes it."""

    notify_socket: str | None = None
    watchdog: float | None = None
    """Seconds within which the manager wants to hear that the daemon lives."""
    has_store: bool = False
    """It keeps descriptors over a restart."""
    sockets: tuple[Passed, ...] = ()
    """Sockets to be served, as a unit passed them."""
    credentials: tuple[Passed, ...] = ()
    """Sockets on which tokens are to be served as credentials."""
    stored: tuple[Passed, ...] = field(default=(), repr=False)
    """What an earlier daemon stored."""


NO_SERVICE: Final = Service()
"""A terminal, or a supervisor of another kind: nothing was handed over."""


def take_over(environment: MutableMapping[str, str] = os.environ) -> Service:
    """Return what the service manager handed over, and take it out of the environment.

    No child gets the descriptors, nor the variables. Those of an unknown name are closed.
    """
    given = {name: environment.pop(name, "") for name in _VARIABLES}
    passed = [] if given["LISTEN_PID"] != str(os.getpid()) else _passed(given)
    sockets = tuple(each for each in passed if each.name in SOCKET_NAMES)
    credentials = tuple(each for each in passed if each.name in CREDENTIAL_NAMES)
    stored = tuple(each for each in passed if each.name.startswith(STORED_PREFIX))
    for each in set(passed).difference(sockets, credentials, stored):
        log.warning("descriptor_closed", name=each.name, reason="it has an unknown name")
        os.close(each.fd)
    notify_socket = given["NOTIFY_SOCKET"]
    return Service(
        notify_socket=notify_socket if notify_socket.startswith(("/", "@")) else None,
        watchdog=_watchdog(given),
        has_store=bool(notify_socket) and given["FDSTORE"] != "0",  # 254 and newer say how many
        sockets=sockets,
        credentials=credentials,
        stored=stored,
    )


def _passed(given: Mapping[str, str]) -> list[Passed]:
    count = _whole(given["LISTEN_FDS"])
    names = given["LISTEN_FDNAMES"].split(":")
    passed: list[Passed] = []
    for index in range(min(count, MAX_FDS)):
        fd = FIRST_FD + index
        try:
            os.set_inheritable(fd, False)  # noqa: FBT003 -- its only way
        except OSError:
            log.warning("descriptors_missing", announced=count, there_are=index)
            break
        passed.append(Passed(names[index] if index < len(names) else "", fd))
    return passed


def _watchdog(given: Mapping[str, str]) -> float | None:
    """Return sd_watchdog_enabled(3)'s answer in seconds."""
    if given["WATCHDOG_PID"] not in {"", str(os.getpid())}:
        return None
    return _whole(given["WATCHDOG_USEC"]) / 1e6 or None


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0  # noqa: PLR2004 -- fits 64 bits


@dataclass(frozen=True, slots=True)
class _Message:
    text: str
    make: Callable[[], int] | None = None
    """Makes the descriptor that goes with it, when its turn has come."""


_Queue = dict[str, _Message]
"""What is due, by its matter. A newer message stands where the older one stood."""


@final
class ServiceManager:
    """Tells the service manager how things are. Never blocks, never raises."""

    def __init__(self, address: str | None, alarm: Alarm) -> None:
        """`address`: as in $NOTIFY_SOCKET. None: there is nobody to tell."""
        self._alarm = alarm
        self._address = address or ""
        if self._address.startswith("@"):
            self._address = f"\0{self._address[1:]}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        self._words: _Queue = {}
        self._descriptors: _Queue = {}  # apart: what can't be stored must not keep words back
        self._retries = 0  # in a row
        self._retrying = False

    @property
    def is_there(self) -> bool:
        """Return whether there is somebody to tell."""
        return self._socket is not None

    # Words

    def ready(self) -> None:
        """Say that the start, or a reload, is complete."""
        self._tell("phase", "READY=1")

    def reloading(self) -> None:
        """Say that a reload has begun; `ready` says that it ended."""
        self._tell("phase", "RELOADING=1", f"MONOTONIC_USEC={clock.monotonic_usec()}")

    def stopping(self) -> None:
        """Say that the daemon is about to end."""
        self._tell("phase", "STOPPING=1")

    def status(self, text: str) -> None:
        """Say in one line how things stand."""
        self._tell("status", f"STATUS={text}")

    def extend(self, seconds: float) -> None:
        """Ask for so much time, from now on, for the stop that is under way."""
        self._tell("extend", f"EXTEND_TIMEOUT_USEC={seconds * 1e6:.0f}")

    def feed_watchdog(self) -> None:
        """Say that the daemon lives."""
        self._tell("watchdog", "WATCHDOG=1")

    # Descriptors

    def store(self, matter: str, name: str, make: Callable[[], int]) -> bool:
        """Have a descriptor stored. True: an older one of this matter, never sent, gave way to it.

        `make` makes the descriptor, which is closed once it was sent; it may raise OSError, and is
        called again then.
        """
        gave_way = f"+{matter}" in self._descriptors
        self._add(self._descriptors, f"+{matter}", _Message(f"FDSTORE=1\nFDNAME={name}", make))
        return gave_way

    def take_back(self, matter: str) -> bool:
        """Don't have the descriptor stored that is due of a matter; False: none is."""
        return self._descriptors.pop(f"+{matter}", None) is not None

    def remove(self, name: str) -> None:
        """Have all descriptors of this name removed from the store, after those stored before."""
        self._add(self._descriptors, f"-{name}", _Message(f"FDSTOREREMOVE=1\nFDNAME={name}"))

    # How it is sent

    async def drain(self) -> None:
        """Send what is still due, as far as LAST_WORDS allows."""
        with anyio.move_on_after(LAST_WORDS):
            while not self._flush():  # noqa: ASYNC110 -- a socket without a reader has no events
                await anyio.sleep(RETRY)
        if due := len(self._words) + len(self._descriptors):
            log.warning("service_manager_not_told", messages=due)

    def close(self) -> None:
        """Tell nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, matter: str, *lines: str) -> None:
        self._add(self._words, matter, _Message("\n".join(lines)))

    def _add(self, queue: _Queue, matter: str, message: _Message) -> None:
        if self._socket is not None:
            queue[matter] = message
            self._flush()

    def _flush(self) -> bool:
        """Send what can be sent; False: something is still due, and will be tried again."""
        done = [self._send_all(queue) for queue in (self._words, self._descriptors)]
        if all(done):
            self._retries = 0
            return True
        if not self._retrying:
            pause = min(MAX_RETRY, RETRY * 2.0 ** min(self._retries, 20))
            self._retries += 1
            self._retrying = True
            self._alarm.at(clock.boot() + pause, self._try_again)
        return False

    def _try_again(self) -> None:
        self._retrying = False
        self._flush()

    def _send_all(self, queue: _Queue) -> bool:
        while queue and self._socket is not None:
            matter, message = next(iter(queue.items()))
            try:
                self._send(self._socket, message)
            except BlockingIOError:  # its queue is full: it will read on
                return False
            except OSError as error:
                log.limited("service_manager_not_reached", None, reason=error.strerror)
                return False
            del queue[matter]
        return True

    def _send(self, sock: socket.socket, message: _Message) -> None:
        text = message.text.encode(errors="replace")
        if message.make is None:
            sock.sendto(text, _FLAGS, self._address)
            return
        fd = message.make()
        try:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, fd.to_bytes(4, sys.byteorder))
            sock.sendmsg([text], [rights], _FLAGS, self._address)
        finally:
            os.close(fd)
