"""Serves tokens as credentials, to units with LoadCredential=openfit.main:/…/credential.socket.

systemd connects as root whenever such a unit starts, from an address that names the unit and the
credential (systemd.exec(5)). It closes its sending side at once, and takes whatever it reads up to
the end. Two things follow:

An end without a byte is an empty credential, with which the unit starts. So a connection waits for
its profile's live token, as long as the unit's own time-out lets it. One that can't be answered is
refused: it is sent more than a credential may hold, and the unit fails (243/CREDENTIALS). Only a
daemon that is killed leaves an empty one behind.

The end of what systemd sends doesn't mean that it has left: only EPOLLHUP does.
"""

import re
from dataclasses import dataclass
from math import inf
from resource import RLIMIT_NOFILE, getrlimit
from typing import Final, final

from openfit_token.errors import NoSuchProfile, TokenError
from openfit_tokend.core.callers.answers import Live, LoginEnded
from openfit_tokend.core.callers.rights import not_this_units
from openfit_tokend.core.events import NewTokenWanted
from openfit_tokend.core.session import AccessToken, live, state
from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.host.peers import named
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.connection import Connection, Owed, Park
from openfit_tokend.serving.profiles import Profiles
from openfit_tokend.serving.server import Server
from openfit_tokend.serving.users import User
from openfit_tokend.serving.waiting import Waiting

NAME: Final = "openfit"
"""The credential of the default profile; NAME.PROFILE is another's."""
MAX_UNITS: Final = 512
"""Connections at once; further ones wait in the listen queue."""
SHARE: Final = 32
"""These connections take at most one in so many of the descriptors."""
REFUSAL: Final = 1024 * 1024 + 128 * 1024
"""Bytes that no credential may have: systemd takes 1 MiB, and reads on a little to know."""
PIECE: Final = 16 * 1024
"""Bytes of a refusal that are sent at once: all units together never leave too much unread."""
FAREWELL: Final = 5.0
"""Seconds for units that still wait when the daemon ends to read their refusal."""

_ADDRESS: Final = re.compile(rb"\0[0-9a-f]+/unit/([^/]+)/([^/]+)")


@dataclass(slots=True)
class _Unit:
    """A unit that starts, and the credential that it wants."""

    name: str
    credential: str
    refusal: int = 0
    """Bytes of its refusal that are still to be sent."""


@final
class Credentials:
    """The dialect of the credential socket."""

    def __init__(self, server: Server, profiles: Profiles, alarm: Alarm) -> None:
        descriptors, _hard = getrlimit(RLIMIT_NOFILE)
        room = min(MAX_UNITS, max(1, descriptors // SHARE))
        self.hears = False
        self.most_owed = 1
        self.read_size = PIECE  # though units aren't read
        self.farewell = FAREWELL
        self.guests: User | None = User(
            uid=0, most=room, kept=room
        )  # root's own connections are counted apart
        self._server = server
        self._profiles = profiles
        self._waiting = Waiting(server, self, alarm)
        self._units: dict[Connection, _Unit] = {}

    # Changes of keepers and of the daemon

    def changed(self, keeper: Keeper, ended: LoginEnded | None) -> None:
        """Answer the units that wait for this keeper, if they can be answered now."""
        self._waiting.changed(keeper, ended)

    def removed(self, keeper: Keeper, error: TokenError) -> None:
        """Refuse the units that wait for a keeper that is no more."""
        self._waiting.removed(keeper, error)

    def answer_waiting(self, _error: TokenError) -> None:
        """Let units wait: there may be a token before the daemon ends."""

    def dismiss(self, error: TokenError) -> None:
        """Refuse all units that still wait."""
        self._waiting.answer_all(error)

    # For the server

    def prepared(self, _data: bytes, _caller: Connection) -> None:
        """Return None: units send no requests."""

    def answer(self, connection: Connection, _data: bytes | None) -> bool:
        """Send a unit that has come its token, or let it wait for one. It asks for nothing more."""
        unit = self._meet(connection)
        if unit is None:
            return False
        try:
            keeper = self._keeper_for(unit.credential)
        except NoSuchProfile as unknown:
            self.refuse(connection, unknown)
            return False
        if refusal := self.refusal(connection, keeper):
            self.refuse(connection, refusal)
        else:
            self._begin(connection, unit, keeper)
        return False

    def more(self, connection: Connection) -> bytes:
        """Return the next piece of a refusal."""
        unit = self._units[connection]
        piece = bytes(min(PIECE, unit.refusal))
        unit.refusal -= len(piece)
        connection.has_more = unit.refusal > 0
        return piece

    def refuse(self, connection: Connection, error: TokenError) -> None:
        """Let the unit fail, as an empty credential wouldn't."""
        unit = self._units.get(connection) or self._meet(connection)
        if unit is None:
            return
        log.error(
            "credential_refused",
            unit=unit.name,
            credential=unit.credential,
            reason=error.message,
            hint=error.hint,
            effect="the unit fails: 243/CREDENTIALS",
        )
        connection.held = False
        unit.refusal = REFUSAL
        self._server.put(connection, self.more(connection))

    def forget(self, connection: Connection) -> None:
        """Drop a unit, and what it waits for."""
        unit = self._units.pop(connection, None)
        if unit and (connection.owed or connection.outgoing or connection.has_more):
            log.debug("credential_abandoned", unit=unit.name, credential=unit.credential)
        self._waiting.forget(connection)

    # What waiting units are told

    def refusal(self, connection: Connection, keeper: Keeper) -> TokenError | None:
        """Return why a unit may not have a profile's token; None: it may."""
        return not_this_units(self._units[connection].name, keeper.profile.allow_units)

    def token(
        self, _connection: Connection, _keeper: Keeper, access: AccessToken, _now: float
    ) -> AccessToken:
        """Return the token itself: a unit gets nothing else."""
        return access

    def respond(self, owed: Owed, result: object) -> None:
        """Answer a unit that has waited."""
        if isinstance(result, TokenError):
            self.refuse(owed.connection, result)
        elif isinstance(result, AccessToken) and owed.park is not None:
            self._serve(owed.connection, owed.park.keeper, result)

    # Units

    def _meet(self, connection: Connection) -> _Unit | None:
        """Return the unit for which systemd has connected. None: it isn't systemd, and is disconnected."""
        peer, unit = connection.peer, _unit_of(connection)
        if peer.uid == 0 and unit is not None:
            self._units[connection] = unit
            return unit
        log.limited(
            "credential_refused",
            peer.uid,
            **named(peer),
            reason="only systemd is answered here, for a unit with LoadCredential=",
            hint="openfit-token get asks at the other socket",
        )
        self._server.drop(connection)
        return None

    def _keeper_for(self, credential: str) -> Keeper:
        base, dot, profile = credential.partition(".")
        if base != NAME:
            raise NoSuchProfile(
                f"a credential of this socket is called {NAME} or {NAME}.PROFILE",
                f"LoadCredential={NAME}.PROFILE:SOCKET",
            )
        return self._profiles.find_for_root(profile if dot else None)

    def _begin(self, connection: Connection, unit: _Unit, keeper: Keeper) -> None:
        now = clock.boot()
        access = live(keeper.session, now)
        if access is None:
            keeper.feed(NewTokenWanted())
        elif now >= access.due:
            keeper.wake()
        access = live(keeper.session, clock.boot())
        if access is not None:
            self._serve(connection, keeper, access)
            return
        self._waiting.park(connection, 0, Park(keeper, Live(), inf))
        log.info(
            "credential_waits",
            unit=unit.name,
            profile=keeper.profile.name,
            state=state(keeper.session, now),
        )

    def _serve(self, connection: Connection, keeper: Keeper, access: AccessToken) -> None:
        unit = self._units[connection]
        if self._server.put(connection, access.value.reveal.encode()):
            keeper.counters.served += 1
            log.info("credential_served", unit=unit.name, profile=keeper.profile.name, id=access.id)


def _unit_of(connection: Connection) -> _Unit | None:
    """Return the unit and the credential that systemd's address names; None: it isn't systemd's."""
    try:
        address: object = connection.sock.getpeername()
    except OSError:
        return None
    found = _ADDRESS.fullmatch(address) if isinstance(address, bytes) else None
    if found is None:
        return None
    unit, credential = found.groups()
    return _Unit(unit.decode(errors="replace"), credential.decode(errors="replace"))
