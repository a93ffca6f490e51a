"""Feeds the service manager's watchdog as long as the daemon works.

Each time three things are checked: that the event loop runs, that no profile and no request is
overdue, and that the socket answers a client, which is the daemon itself. A problem that a restart
can't fix is only logged: too few descriptors, or a socket of the service manager's that is gone.
"""

import errno
import os
import socket
from typing import Final, final

import anyio

from openfit_token._shared.protocol import (
    Decoder,
    Incomplete,
    Malformed,
    encode_request,
    parse_response,
)
from openfit_token.errors import ProtocolViolation
from openfit_tokend.core.reports.liveness import late_keepers, late_requests
from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.host.listener import AdoptedListener, Listener
from openfit_tokend.host.service_manager import ServiceManager
from openfit_tokend.keeping.endpoint import Endpoint
from openfit_tokend.serving.profiles import Profiles
from openfit_tokend.serving.server import EXHAUSTED, Server

MAX_INTERVAL: Final = 60.0
"""The most seconds between two checks: an idle daemon wakes as often anyway."""
MAX_ANSWER: Final = 1024 * 1024
"""Bytes of the answer to `hello`: many times the names of 1,000 profiles."""
MAX_NAMES: Final = 64 * 1024
"""Items of a list in it, as many as the clients allow."""
READ: Final = 65536
"""Bytes read at once."""
PAUSE: Final = 0.1
"""Seconds until a full listen queue is retried: there is no event for that."""

_GONE: Final = frozenset({errno.ENOENT, errno.ECONNREFUSED})


@final
class Watchdog:
    """Checks the daemon and feeds the service manager's watchdog."""

    def __init__(
        self,
        profiles: Profiles,
        endpoint: Endpoint,
        server: Server,
        listener: Listener | AdoptedListener,
    ) -> None:
        self._profiles = profiles
        self._endpoint = endpoint
        self._server = server
        self._listener = listener

    async def run(self, manager: ServiceManager, alarm: Alarm, limit: float | None) -> None:
        """Feed the watchdog three times in `limit` seconds; None: there is no watchdog."""
        if limit is None:
            return
        interval = min(MAX_INTERVAL, limit / 3)
        while True:
            await _passed(clock.boot() + interval, alarm)
            now = clock.boot()
            await _passed(now, alarm)  # after a suspend much is due, and takes several passes
            faults = await self._faults(now, interval)
            if not faults:
                manager.feed_watchdog()
            for fault in faults:
                log.error("watchdog_not_fed", reason=fault)

    async def _faults(self, now: float, patience: float) -> list[str]:
        """Return what is wrong. `now`: the alarm has made all callbacks that were due by then."""
        if self._profiles.stopping:  # the loop runs, but callbacks and new clients no longer count
            return []
        sessions = [(name, keeper.session) for name, keeper in self._profiles.keepers.items()]
        faults = late_keepers(sessions, now)
        faults += late_requests(self._endpoint.overruns())
        try:
            with anyio.fail_after(patience):
                await self._greet()
        except TimeoutError:
            if not self._server.is_full and not self._profiles.stopping:
                faults.append(f"the socket didn't answer within {patience:.0f} s")
        except (OSError, EOFError, Malformed, ProtocolViolation) as error:
            faults += self._judge(error)
        return faults

    async def _greet(self) -> None:
        """Get an answer, of whatever kind, from the daemon's own socket."""
        with socket.socket(socket.AF_UNIX) as ours:
            ours.settimeout(0)
            await self._connect(ours)
            ours.send(encode_request(0, "hello", {}))
            decoder = Decoder(MAX_ANSWER, MAX_NAMES)
            message = decoder.feed(await _received(ours))
            while isinstance(message, Incomplete):
                message = decoder.feed(await _received(ours))
            parse_response(message)

    async def _connect(self, ours: socket.socket) -> None:
        while True:
            try:
                ours.connect(os.fspath(self._listener.path))
            except BlockingIOError:  # the listen queue is full
                await anyio.sleep(PAUSE)
            else:
                return

    def _judge(self, error: Exception) -> list[str]:
        code = error.errno if isinstance(error, OSError) else None
        gone = code in _GONE and isinstance(self._listener, AdoptedListener)
        if gone or code in {errno.EACCES, errno.EPERM}:
            log.limited(
                "socket_not_reached",
                None,
                socket=self._listener.path,
                reason=errno.errorcode.get(code or 0),
                hint="systemctl restart openfit-tokend.socket"
                if gone
                else "let the daemon's user open its own socket: is it in the socket's group?",
            )
            return []
        if code in EXHAUSTED or self._profiles.stopping:
            return []
        return [f"the socket didn't answer: {str(error) or type(error).__name__}"]


async def _passed(moment: float, alarm: Alarm) -> None:
    """Wait until the alarm has made all callbacks that are due by this moment."""
    passed = anyio.Event()
    alarm.at(moment, passed.set)
    await passed.wait()


async def _received(sock: socket.socket) -> bytes:
    """Return the next bytes received.

    Raises:
        EOFError: the connection was closed.
    """
    await anyio.wait_readable(sock)
    data = sock.recv(READ)
    if not data:
        raise EOFError("it was closed")
    return data
