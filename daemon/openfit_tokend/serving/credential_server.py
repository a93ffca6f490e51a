"""Serves tokens as credentials, to units with LoadCredential=openfit.main:/…/credential.socket.

systemd connects as root whenever such a unit starts, from an address that names the unit and the
credential (systemd.exec(5)). It closes its sending side at once, and takes whatever it reads up to
the end. Two things follow:

An end without a byte is an empty credential, with which the unit starts. So a connection waits for
its profile's live token, as long as the unit's own time-out lets it. One that can't be answered is
refused: it is sent more than a credential may hold, and the unit fails (243/CREDENTIALS). Only a
daemon that is killed leaves an empty one behind.

That there is nothing more to read is no sign that somebody left: only EPOLLHUP is one.
"""

import errno
import re
import socket
from dataclasses import dataclass
from resource import RLIMIT_NOFILE, getrlimit
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll
from typing import Final, final

from anyio import move_on_after, sleep, wait_readable

from openfit_token.errors import NoSuchProfile, TokenError
from openfit_tokend.core.events import NewTokenWanted, Woken
from openfit_tokend.core.session import live, state
from openfit_tokend.host import clock, log
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.calls import stopping
from openfit_tokend.serving.peers import peer_of, program_of
from openfit_tokend.serving.profiles import Profiles

NAME: Final = "openfit"
"""The credential of the default profile; NAME.PROFILE is another's."""
MAX_UNITS: Final = 512
"""Connections at once; who comes later waits in the listen queue."""
SHARE: Final = 32
"""These connections take at most one in so many of the descriptors: the server has its own limit."""
MAX_EVENTS: Final = 16
"""Events taken from the kernel at once."""
MAX_ACCEPTS: Final = 16
"""Connections accepted in one pass: whatever strangers do, the keepers live beside them."""
REFUSAL: Final = 1024 * 1024 + 128 * 1024
"""Bytes that no credential may have: systemd takes 1 MiB, and reads on a little to know."""
FAREWELL: Final = 5.0
"""Seconds in which those who still wait when the daemon ends can take their refusal."""
ACCEPT_PAUSE: Final = 0.1
"""Seconds without accepting, when the system has no descriptor or memory left for it."""

_ADDRESS: Final = re.compile(rb"\0[0-9a-f]+/unit/([^/]+)/([^/]+)")
_AT_ONCE: Final = int(socket.MSG_DONTWAIT)
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


@dataclass(eq=False, slots=True)
class _Unit:
    """A unit that starts. `keeper`: whose token it waits for; None: it is being answered."""

    sock: socket.socket
    name: str
    credential: str
    keeper: Keeper | None = None
    outgoing: bytes | memoryview = b""


@final
class CredentialServer:
    """All connections of the credential socket. Does nothing where there is no such socket."""

    def __init__(self, profiles: Profiles, listener: socket.socket | None) -> None:
        """Take a listening socket over: it is closed when `run` ends."""
        descriptors, _hard = getrlimit(RLIMIT_NOFILE)
        self._room = min(MAX_UNITS, max(1, descriptors // SHARE))
        self._profiles = profiles
        self._listener = listener
        self._units: dict[int, _Unit] = {}
        self._epoll = epoll()

    async def run(self) -> None:
        """Serve until cancelled; then refuse those who still wait, which may take FAREWELL."""
        if self._listener is None:
            return
        self._listener.settimeout(0)
        self._epoll.register(self._listener, EPOLLIN)
        try:
            while True:
                await wait_readable(self._epoll)
                if not self._turn(self._listener):
                    await sleep(ACCEPT_PAUSE)
        finally:
            with move_on_after(FAREWELL, shield=True):
                await self._dismiss(self._listener)
            for unit in list(self._units.values()):
                self._drop(unit)
            self._epoll.close()
            self._listener.close()

    def changed(self, keeper: Keeper) -> None:
        """Answer the units that wait for this keeper, if they can be answered now."""
        for unit in self._waiting():
            if unit.keeper is keeper:
                try:
                    self._try(unit, keeper)
                except Exception:  # noqa: BLE001 -- a fault of ours: one unit's, not the keeper's
                    log.exception("internal_fault")
                    self._drop(unit)

    def removed(self, keeper: Keeper, error: TokenError) -> None:
        """Refuse the units that wait for a keeper that is no more."""
        for unit in self._waiting():
            if unit.keeper is keeper:
                self._refuse(unit, error)

    # Connections

    def _turn(self, listener: socket.socket) -> bool:
        """Handle what is ready; False: nobody can be accepted for a while."""
        able = True
        for fd, events in self._epoll.poll(0, MAX_EVENTS):
            if fd == listener.fileno():
                able = self._accept(listener)
            elif (unit := self._units.get(fd)) is None:
                continue  # dropped earlier in this turn
            elif events & (EPOLLHUP | EPOLLERR):
                log.debug("credential_abandoned", unit=unit.name, credential=unit.credential)
                self._drop(unit)
            else:
                self._send(unit)
        return able

    def _accept(self, listener: socket.socket) -> bool:
        if self._profiles.stopping:
            self._room = 0  # who comes now is the next daemon's
        self._mind_listener()
        try:
            for _ in range(MAX_ACCEPTS):
                if len(self._units) >= self._room:
                    break
                self._welcome(*listener.accept())
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in _EXHAUSTED:
                hint = "raise LimitNOFILE, or close clients"
                log.limited("accepting_paused", "credential", reason=error.strerror, hint=hint)
                return False
        return True

    def _mind_listener(self) -> None:
        """Look for connections as long as there is room for more."""
        if self._listener is not None:
            wanted = EPOLLIN if len(self._units) < self._room else 0
            self._epoll.modify(self._listener, wanted)

    def _welcome(self, sock: socket.socket, address: object) -> None:
        peer, asked = peer_of(sock), _asked(address)
        if peer.uid != 0 or asked is None:
            log.limited(
                "credential_refused",
                peer.uid,
                uid=peer.uid,
                pid=peer.pid,
                program=program_of(peer),
                reason="only systemd is answered here, for a unit with LoadCredential=",
                hint="openfit-token get asks at the other socket",
            )
            sock.close()
            return
        unit = _Unit(sock, *asked)
        self._units[sock.fileno()] = unit
        self._mind_listener()
        try:
            self._epoll.register(sock, 0)
            self._begin(unit)
        except NoSuchProfile as error:
            self._refuse(unit, error)
        except Exception:  # noqa: BLE001 -- a fault of ours: this unit's, not the others'
            log.exception("internal_fault")
            self._drop(unit)

    def _begin(self, unit: _Unit) -> None:
        keeper = self._keeper_for(unit.credential)
        now = clock.boot()
        access = live(keeper.session, now)
        if access is None:
            keeper.feed(NewTokenWanted())
        elif now >= access.due:
            keeper.feed(Woken())  # in time anyway, unless the host was suspended
        if not self._try(unit, keeper):
            unit.keeper = keeper
            keeper.waiting += 1
            log.info(
                "credential_waits",
                unit=unit.name,
                profile=keeper.profile.name,
                state=state(keeper.session, now),
            )

    def _keeper_for(self, credential: str) -> Keeper:
        base, dot, profile = credential.partition(".")
        if base != NAME:
            raise NoSuchProfile(
                f"a credential of this socket is called {NAME} or {NAME}.PROFILE",
                f"LoadCredential={NAME}.PROFILE:SOCKET",
            )
        return self._profiles.find_for_root(profile if dot else None)

    def _waiting(self) -> list[_Unit]:
        return [unit for unit in self._units.values() if unit.keeper is not None]

    # Answers

    def _try(self, unit: _Unit, keeper: Keeper) -> bool:
        """Return the token if there is a live one; False: there is none."""
        access = live(keeper.session, clock.boot())
        if access is None:
            return False
        if self._answer(unit, access.value.reveal.encode()):
            keeper.counters.served += 1
            log.info("credential_served", unit=unit.name, profile=keeper.profile.name, id=access.id)
        return True

    def _refuse(self, unit: _Unit, error: TokenError) -> None:
        """Let the unit fail, as an empty credential wouldn't."""
        log.error(
            "credential_refused",
            unit=unit.name,
            credential=unit.credential,
            reason=error.message,
            hint=error.hint,
            effect="the unit fails: 243/CREDENTIALS",
        )
        self._answer(unit, bytes(REFUSAL))

    def _answer(self, unit: _Unit, data: bytes) -> bool:
        """Send it, and then the end; False: nobody is there."""
        _wait_no_more(unit)
        unit.outgoing = memoryview(data)
        return self._send(unit)

    def _send(self, unit: _Unit) -> bool:
        try:
            sent = unit.sock.send(unit.outgoing, _AT_ONCE)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(unit)
            return False
        unit.outgoing = unit.outgoing[sent:]
        if unit.outgoing:
            self._epoll.modify(unit.sock, EPOLLOUT)
        else:
            self._drop(unit)
        return True

    def _drop(self, unit: _Unit) -> None:
        if self._units.pop(unit.sock.fileno(), None) is not None:
            _wait_no_more(unit)
            unit.sock.close()  # and so out of the epoll
            self._mind_listener()

    # The end

    async def _dismiss(self, listener: socket.socket) -> None:
        """Refuse those who wait, and let all take what they are sent."""
        self._room = 0
        self._mind_listener()
        for unit in self._waiting():
            self._refuse(unit, stopping())
        while self._units:
            await wait_readable(self._epoll)
            self._turn(listener)


def _wait_no_more(unit: _Unit) -> None:
    if unit.keeper is not None:
        unit.keeper.waiting -= 1
        unit.keeper = None


def _asked(address: object) -> tuple[str, str] | None:
    """Return the unit and the credential that systemd's address names; None: it isn't systemd's."""
    found = _ADDRESS.fullmatch(address) if isinstance(address, bytes) else None
    if found is None:
        return None
    unit, credential = found.groups()
    return unit.decode(errors="replace"), credential.decode(errors="replace")
