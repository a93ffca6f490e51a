"""The interface to systemd: what it passes at the start, and what it is notified of (sd_notify(3)).

Without a service manager nothing is passed, and notifications go nowhere.

Nothing waits for a notification: the manager's queue is short, and the manager may be gone. A message
that can't be sent stays in the queue; a newer one of the same subject takes its place there.
"""

import os
import socket
import sys
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import KW_ONLY, field
from typing import Final, final

import anyio

from openfit_token._shared.frozen import frozen
from openfit_tokend.core.schedule import doubled
from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Alarm

FIRST_FD: Final = 3
"""The first descriptor that is passed (sd_listen_fds(3))."""
MAX_FDS: Final = 65536
"""Descriptors that can be passed: the most that a service may have."""
RETRY: Final = 0.05
"""Seconds until a message that couldn't be sent is retried; doubles up to MAX_RETRY."""
MAX_RETRY: Final = 60.0
"""Seconds: a manager that is gone for good mustn't keep an idle daemon awake."""
DRAIN_TIME: Final = 2.0
"""Seconds for sending messages still queued when the daemon ends."""
SOCKET_NAMES: Final = ("socket", "openfit-tokend.socket", "unknown", "")
"""FileDescriptorName= of the socket to be served; or its unit's name, which is systemd's default;
or what systemd passes if there is no name."""
CREDENTIAL_NAMES: Final = ("credential", "openfit-tokend-credential.socket")
"""FileDescriptorName= of the socket that serves tokens as credentials; or its unit's name."""
HTTP_NAMES: Final = ("http", "openfit-tokend-http.socket")
"""FileDescriptorName= of the socket that speaks HTTP; or its unit's name."""
STORED_PREFIX: Final = "session-"
"""Prefix of the names of descriptors that the daemon itself put in the descriptor store."""

_VARIABLES: Final = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE"),
    *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"),
)
_FLAGS: Final = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


@frozen
class Passed:
    """An open descriptor that was passed, and its name."""

    name: str
    fd: int

    @property
    def number(self) -> int:
        """Return the number in the name of a stored session; -1: there is none."""
        digits = self.name.removeprefix(STORED_PREFIX)
        plain = digits.isascii() and digits.isdigit() and len(digits) <= 18  # noqa: PLR2004 -- fits 64 bits
        return int(digits) if plain else -1


@frozen
class Service:
    """What the service manager passed. The code that takes a descriptor closes it."""

    _: KW_ONLY
    notify_socket: str | None = None
    watchdog: float | None = None
    """Seconds within which the manager expects each sign of life."""
    has_store: bool = False
    """Whether it keeps descriptors over a restart."""
    sockets: tuple[Passed, ...] = ()
    """Sockets to be served, as passed by a unit."""
    credentials: tuple[Passed, ...] = ()
    """Sockets that serve tokens as credentials."""
    http: tuple[Passed, ...] = ()
    """Sockets that speak HTTP."""
    stored: tuple[Passed, ...] = field(default=(), repr=False)
    """Descriptors that an earlier daemon stored."""


NO_SERVICE: Final = Service()
"""In a terminal, or under another kind of supervisor: nothing was passed."""


def take_over(environment: MutableMapping[str, str] = os.environ) -> Service:
    """Return what the service manager passed, and remove its variables from the environment.

    No child process inherits the descriptors or the variables. Descriptors with an unknown name are
    closed.
    """
    given = {name: environment.pop(name, "") for name in _VARIABLES}
    passed = [] if given["LISTEN_PID"] != str(os.getpid()) else _passed(given)
    sockets = tuple(each for each in passed if each.name in SOCKET_NAMES)
    credentials = tuple(each for each in passed if each.name in CREDENTIAL_NAMES)
    http = tuple(each for each in passed if each.name in HTTP_NAMES)
    stored = tuple(each for each in passed if each.name.startswith(STORED_PREFIX))
    for each in set(passed).difference(sockets, credentials, http, stored):
        log.warning("descriptor_closed", name=each.name, reason="it has an unknown name")
        os.close(each.fd)
    notify_socket = given["NOTIFY_SOCKET"]
    return Service(
        notify_socket=notify_socket if notify_socket.startswith(("/", "@")) else None,
        watchdog=_watchdog(given),
        has_store=bool(notify_socket) and given["FDSTORE"] != "0",  # 254 and newer say how many
        sockets=sockets,
        credentials=credentials,
        http=http,
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


@frozen
class _Message:
    text: str
    make: Callable[[], int] | None = None
    """Makes the descriptor to be sent with it, when its turn has come."""


_Queue = dict[str, _Message]
"""Messages to be sent, by subject. A newer message takes the older one's place."""


@final
class ServiceManager:
    """Notifies the service manager. Never blocks, never raises."""

    def __init__(self, address: str | None, alarm: Alarm) -> None:
        """`address`: as in $NOTIFY_SOCKET. None: there is nobody to notify."""
        self._alarm = alarm
        self._address = address or ""
        if self._address.startswith("@"):
            self._address = f"\0{self._address[1:]}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        self._plain: _Queue = {}
        self._descriptors: _Queue = {}  # apart: a descriptor that can't be stored mustn't hold up the rest
        self._retries = 0  # in a row
        self._retrying = False

    @property
    def is_there(self) -> bool:
        """Return whether there is a service manager to notify."""
        return self._socket is not None

    # Messages without a descriptor

    def ready(self) -> None:
        """Notify it that the start, or a reload, is complete."""
        self._tell("phase", "READY=1")

    def reloading(self) -> None:
        """Notify it that a reload has begun; `ready` tells it that it has ended."""
        self._tell("phase", "RELOADING=1", f"MONOTONIC_USEC={clock.monotonic_usec()}")

    def stopping(self) -> None:
        """Notify it that the daemon is stopping."""
        self._tell("phase", "STOPPING=1")

    def status(self, text: str) -> None:
        """Set the status line that `systemctl status` shows."""
        self._tell("status", f"STATUS={text}")

    def extend(self, seconds: float) -> None:
        """Ask for so many seconds more, from now on, for the stop in progress."""
        self._tell("extend", f"EXTEND_TIMEOUT_USEC={seconds * 1e6:.0f}")

    def feed_watchdog(self) -> None:
        """Send the watchdog a sign of life."""
        self._tell("watchdog", "WATCHDOG=1")

    # Descriptors

    def store(self, subject: str, name: str, make: Callable[[], int]) -> bool:
        """Have a descriptor stored, and return whether it replaces an unsent one of this subject.

        `make` makes the descriptor, which is closed after sending. If it raises OSError it is called
        again later.
        """
        replaced = f"+{subject}" in self._descriptors
        self._add(self._descriptors, f"+{subject}", _Message(f"FDSTORE=1\nFDNAME={name}", make))
        return replaced

    def take_back(self, subject: str) -> bool:
        """Drop the unsent descriptor of a subject, and return whether there was one."""
        return self._descriptors.pop(f"+{subject}", None) is not None

    def remove(self, name: str) -> None:
        """Have all descriptors of this name removed from the store, in order with `store`."""
        self._add(self._descriptors, f"-{name}", _Message(f"FDSTOREREMOVE=1\nFDNAME={name}"))

    # Sending

    async def drain(self) -> None:
        """Send what is still queued, for at most DRAIN_TIME."""
        with anyio.move_on_after(DRAIN_TIME):
            while not self._flush():  # noqa: ASYNC110 -- a socket without a reader has no events
                await anyio.sleep(RETRY)
        if due := len(self._plain) + len(self._descriptors):
            log.warning("service_manager_not_told", messages=due)

    def close(self) -> None:
        """Send nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, subject: str, *lines: str) -> None:
        self._add(self._plain, subject, _Message("\n".join(lines)))

    def _add(self, queue: _Queue, subject: str, message: _Message) -> None:
        if self._socket is not None:
            queue[subject] = message
            self._flush()

    def _flush(self) -> bool:
        """Send what can be sent, schedule a retry of the rest, and return whether all was sent."""
        done = [self._send_all(queue) for queue in (self._plain, self._descriptors)]
        if all(done):
            self._retries = 0
            return True
        if not self._retrying:
            pause = doubled(RETRY, self._retries, MAX_RETRY)
            self._retries += 1
            self._retrying = True
            self._alarm.at(clock.boot() + pause, self._try_again)
        return False

    def _try_again(self) -> None:
        self._retrying = False
        self._flush()

    def _send_all(self, queue: _Queue) -> bool:
        while queue and self._socket is not None:
            subject, message = next(iter(queue.items()))
            try:
                self._send(self._socket, message)
            except BlockingIOError:  # its queue is full: it will read more later
                return False
            except OSError as error:
                log.limited("service_manager_not_reached", None, reason=error.strerror)
                return False
            del queue[subject]
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
