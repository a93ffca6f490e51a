"""The sessions in the service manager's descriptor store: they outlive the daemon, never the host.

Each profile has one, in a sealed memfd: memory that has no name, isn't swapped to a file of ours,
and can't be changed. Each change stores a new one and then removes the old one, so that there is
always one. systemd keeps them over a restart, a crash and a kill, and drops them at
`systemctl stop`.

Their names reveal nothing: `session-<n>`, where n only grows. systemd passes all names in one
variable.
"""

import fcntl
import os
from collections.abc import Iterable, Mapping
from errno import EINVAL
from typing import Final, final

from openfit_tokend.core.session import Session
from openfit_tokend.core.settings.values import Profile
from openfit_tokend.host import clock, log
from openfit_tokend.host.service_manager import STORED_PREFIX, Passed, Service, ServiceManager
from openfit_tokend.storage.ledger_file import boot_id
from openfit_tokend.storage.plain import Damaged
from openfit_tokend.storage.session_form import (
    Newer,
    StoredSession,
    decoded,
    digest,
    encoded,
)

MAX_STORED: Final = 1024 * 1024
"""Bytes of a stored session: many times two tokens and the words of an error."""
_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_NOEXEC_SEAL: Final = 0x0008
"""MFD_NOEXEC_SEAL (memfd_create(2)), of Linux 6.3: it never can be executed."""


@final
class StoredSessions:
    """The stored sessions of all profiles. Does nothing if there is no store."""

    def __init__(
        self,
        service: Service,
        manager: ServiceManager,
        profiles: Mapping[str, Profile],
        *,
        shared: bool = False,
    ) -> None:
        """Read what an earlier daemon stored, and remove what can't be used.

        `shared`: the sessions are a fleet's. What was stored out of a fleet can't be used in it, nor
        the other way round: the refresh token must not be used by two.
        """
        self._manager = manager
        self._shared = shared
        self._has_store = service.has_store
        self._boot_id = boot_id()
        self._number = max((each.number for each in service.stored), default=0)
        self._names: dict[str, str] = {}  # by profile, of what is stored or about to be
        self._found: dict[str, StoredSession] = {}
        for name, stored in _newest_last(service.stored, manager):
            self._sort(name, stored, profiles.get(stored.profile))
        if self._found:
            log.info("sessions_restored", profiles=len(self._found))

    def take(self, profile: str) -> StoredSession | None:
        """Return what was stored of a profile before the restart; the second time, None."""
        return self._found.pop(profile, None)

    def keep(
        self,
        profile: Profile,
        session: Session,
        last_success_at: float | None,
        *,
        unwritten: bool,
    ) -> None:
        """Store a session instead of the one that is stored for its profile.

        `unwritten`: the ledger's file lacks a rejection of its account.

        When this returns it has been sent, unless the service manager accepts nothing at the moment:
        then it will be sent later.
        """
        if not self._has_store:
            return
        self._number += 1
        stored = StoredSession(
            sequence=self._number,
            boot_id=self._boot_id,
            profile=profile.name,
            identity=digest(profile.identity, shared=self._shared),
            policy=profile.policy,
            session=session,
            last_success_at=last_success_at,
            at=clock.boot(),
            unwritten=unwritten,
        )
        name = f"{STORED_PREFIX}{self._number}"
        older = self._names.get(profile.name)
        self._names[profile.name] = name
        gave_way = self._manager.store(profile.name, name, lambda: _sealed(encoded(stored)))
        if older is not None and not gave_way:
            self._manager.remove(older)

    def forget(self, profile: str) -> None:
        """Remove what is stored of a profile."""
        name = self._names.pop(profile, None)
        if name is not None and not self._manager.take_back(profile):
            self._manager.remove(name)

    def _sort(self, name: str, stored: StoredSession, profile: Profile | None) -> None:
        """Take what can be used; it comes after the older ones of its profile."""
        self.forget(stored.profile)
        self._found.pop(stored.profile, None)
        if (reason := self._useless(stored, profile)) is None:
            self._names[stored.profile] = name
            self._found[stored.profile] = stored
        else:
            log.info("stored_session_dropped", profile=stored.profile, reason=reason)
            self._manager.remove(name)

    def _useless(self, stored: StoredSession, profile: Profile | None) -> str | None:
        """Return why a stored session can't be used; None: it can."""
        if profile is None:
            return "there is no such profile any more"
        if not stored.boot_id or stored.boot_id != self._boot_id:
            return "it is from another boot"
        if stored.identity == digest(profile.identity, shared=not self._shared):
            return "it is from before a fleet" if self._shared else "it is a fleet's"
        if stored.identity != digest(profile.identity, shared=self._shared):
            return "token server, client, scope or user changed"
        return None


def _newest_last(
    stored: Iterable[Passed], manager: ServiceManager
) -> list[tuple[str, StoredSession]]:
    """Read and close what was passed. Damaged ones are removed, a newer daemon's are left."""
    read: list[tuple[str, StoredSession]] = []
    for passed in stored:
        try:
            read.append((passed.name, decoded(_content(passed.fd))))
        except Damaged:
            log.warning("stored_session_damaged", name=passed.name, hint="its profile starts over")
            manager.remove(passed.name)
        except Newer:
            log.warning(
                "stored_session_of_a_newer_version",
                name=passed.name,
                hint="it is left alone, and its profile starts over",
            )
        finally:
            os.close(passed.fd)
    return sorted(read, key=lambda each: each[1].sequence)


def _content(fd: int) -> bytes:
    """Return the bytes of a memfd that can no longer change.

    Raises:
        Damaged: it isn't such a memfd.
    """
    try:
        sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS == _SEALS
        size = os.fstat(fd).st_size
        data = os.pread(fd, size, 0) if sealed and size <= MAX_STORED else b""
    except OSError as error:
        raise Damaged from error
    return data


def _sealed(data: bytes) -> int:
    """Make a memfd with these bytes that nobody can change.

    Raises:
        OSError: no descriptor or memory is left, or it is forbidden.
    """
    fd = _memfd()
    try:
        with memoryview(data) as rest:
            written = 0
            while written < len(data):
                written += os.write(fd, rest[written:])
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _memfd() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("openfit-tokend", flags | _NOEXEC_SEAL)
    except OSError as error:
        if error.errno != EINVAL:  # an older kernel
            raise
        return os.memfd_create("openfit-tokend", flags)
