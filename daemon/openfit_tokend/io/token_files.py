"""Keeps each profile's `token_file` at what the profile holds.

A file is written in a thread, one write at a time; what changes meanwhile is written next, by its
newest state alone. So a slow disk delays nobody, and the newest token wins. A file that can't be
kept so is removed, if that can be done: a token that isn't replaced in time is worse than none. It
is tried again at the next change, and each RETRY.
"""

from typing import Final, final

import anyio
import anyio.to_thread

from openfit_tokend.core.session import AccessToken, Session, live
from openfit_tokend.core.settings import Profile, TokenFile
from openfit_tokend.io import clock, log
from openfit_tokend.io.alarm import Alarm
from openfit_tokend.io.regular_file import Unusable
from openfit_tokend.io.token_file import remove, write

MAX_WRITES: Final = 8
"""Threads at once. Those that a dead file system holds must not be all the threads there are."""
RETRY: Final = 60.0
"""Seconds until a file that couldn't be kept is tried again: its token may live for another hour."""
STOP_TIME: Final = 5.0
"""Seconds that a stop waits for the files to be removed."""


@final
class _Kept:
    """One path: what it should hold, what it does, and what was wrong with it."""

    __slots__ = ("again", "busy", "done", "file", "owner", "token", "trouble")

    def __init__(self, file: TokenFile, owner: str) -> None:
        self.file = file
        self.owner = owner
        self.token: AccessToken | None = None
        self.done: tuple[TokenFile, AccessToken | None] | None = None  # at first unknown
        self.busy = False
        self.trouble: str | None = None
        self.again = False  # it will be tried again

    @property
    def wanted(self) -> tuple[TokenFile, AccessToken | None]:
        return self.file, self.token


@final
class TokenFiles:
    """The files of all profiles that have one."""

    def __init__(self, alarm: Alarm, *, outlive: bool) -> None:
        """Let the files `outlive` the daemon only where its sessions do."""
        self._alarm = alarm
        self._outlive = outlive
        self._kept: dict[str, _Kept] = {}  # by path: profiles may exchange theirs at a reload
        self._paths: dict[str, str] = {}  # by profile
        self._due: list[_Kept] = []
        self._word = anyio.Event()
        self._still = anyio.Event()  # no file is behind
        self._room = anyio.CapacityLimiter(MAX_WRITES)

    async def run(self) -> None:
        """Write until cancelled."""
        async with anyio.create_task_group() as writes:
            while True:
                await self._word.wait()
                self._word = anyio.Event()
                due, self._due = self._due, []
                for kept in due:
                    writes.start_soon(self._keep, kept)

    def changed(self, profile: Profile, session: Session) -> None:
        """Look at a profile that may have changed, or has come. Never waits, never raises."""
        file, name = profile.token_file, profile.name
        if self._paths.get(name) != (None if file is None else file.path):
            self.removed(name)
        if file is not None:
            self._paths[name] = file.path
            kept = self._kept.setdefault(file.path, _Kept(file, name))
            kept.file, kept.owner = file, name
            kept.token = live(session, clock.boot())
            self._bring(kept)

    def removed(self, name: str) -> None:
        """Let a profile leave no file where it had one, unless that is another's by now."""
        path = self._paths.pop(name, None)
        if path is not None and (kept := self._kept[path]).owner == name:
            kept.token = None
            self._bring(kept)

    async def stop(self) -> None:
        """Wait for what is being written, and have all files removed unless they outlive us."""
        for kept in self._kept.values():
            if not self._outlive:
                kept.token = None
            self._bring(kept)
        with anyio.move_on_after(STOP_TIME):
            while any(kept.busy for kept in self._kept.values()):
                self._still = anyio.Event()
                await self._still.wait()

    def _bring(self, kept: _Kept) -> None:
        """Have a file brought to what is wanted; where that failed, tried again."""
        if not kept.busy and (kept.wanted != kept.done or kept.trouble is not None):
            kept.busy = True
            self._due.append(kept)
            self._word.set()

    def _try_again(self, kept: _Kept) -> None:
        kept.again = False
        self._bring(kept)

    async def _keep(self, kept: _Kept) -> None:
        try:
            wanted = None
            while wanted != kept.wanted:
                wanted = kept.wanted
                trouble = await anyio.to_thread.run_sync(
                    _do, *wanted, limiter=self._room, abandon_on_cancel=True
                )
                kept.done = wanted
                self._note(kept, trouble)
        except Exception:  # noqa: BLE001 -- a fault of ours: this file is behind, the sessions live
            log.exception("internal_fault", path=kept.file.path)
        finally:
            kept.busy = False
            self._still.set()

    def _note(self, kept: _Kept, trouble: Unusable | None) -> None:
        """Log what is wrong with a file, once, and let it be tried again."""
        reason = None if trouble is None else trouble.reason
        if trouble is not None and reason != kept.trouble:
            log.error(
                "token_file_not_written",
                profile=kept.owner,
                path=kept.file.path,
                reason=reason,
                hint=trouble.remedy,
            )
        kept.trouble = reason
        if trouble is not None and not kept.again:
            kept.again = True
            self._alarm.at(clock.boot() + RETRY, lambda: self._try_again(kept))


def _do(file: TokenFile, token: AccessToken | None) -> Unusable | None:
    """Bring a file to where it should be; give what is wrong, if anything."""
    try:
        if token is None:
            remove(file.path)
        else:
            write(file, token.value)
    except Unusable as unusable:
        _give_up(file.path)
        return unusable
    return None


def _give_up(path: str) -> None:
    """Remove what can't be replaced, if that is possible at least."""
    try:
        remove(path)
    except Unusable:
        return  # the reason was given
