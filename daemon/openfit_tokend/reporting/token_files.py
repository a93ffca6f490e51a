"""Keeps each profile's `token_file` at what the profile holds.

Each file is written in its own thread, which follows later changes: the newest token wins, even
after a disk that hung has recovered, and such a disk delays no other file. A file that can't be
kept up to date is removed, or emptied if it can't be removed: a token that isn't replaced in time
is worse than none. It is retried at the next change, and every RETRY seconds.

The files go with the daemon (docs/decisions/0020-a-token-file-goes-with-the-daemon.md).
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, final

import anyio

from openfit_tokend.core.problems import Problem, file_not_written
from openfit_tokend.core.session import AccessToken, Session, live
from openfit_tokend.core.settings.values import Profile, TokenFile
from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.host.blocking_calls import BlockingCalls
from openfit_tokend.host.regular_file import Unusable
from openfit_tokend.reporting.token_writing import Inode, empty, remove, write

WRITE_TIME: Final = 10.0
"""Seconds to wait for a write; then it is reported, and tried again like one that failed."""
RETRY: Final = 60.0
"""Seconds until a file that couldn't be kept is tried again: its token may live for another hour."""
_LATER: Final = "it is tried again each minute"
STOP_TIME: Final = 5.0
"""Seconds that a stop waits for the files to be removed."""


_Wanted = tuple[TokenFile, AccessToken | None]
"""What a file should hold."""


@final
class _ManagedFile:
    """One path: what it should hold, what it holds, and what was wrong with it."""

    __slots__ = ("again", "busy", "done", "inode", "owner", "path", "trouble", "wanted")

    def __init__(self, file: TokenFile, owner: str) -> None:
        self.path = file.path
        self.owner = owner
        self.wanted: _Wanted = (file, None)  # set as a whole: the thread reads it at any time
        self.done: _Wanted | None = None  # at first unknown
        self.inode: Inode | None = None  # of what was written last; the thread's own
        self.busy = False
        self.trouble: str | None = None
        self.again = False  # it will be tried again

    def clear(self) -> None:
        """Want no token in it."""
        self.wanted = (self.wanted[0], None)


@final
class TokenFiles:
    """The files of all profiles that have one."""

    def __init__(
        self,
        alarm: Alarm,
        tell: Callable[[str, Problem | None], None] = lambda _name, _problem: None,
    ) -> None:
        """Begin without files; `tell` is called with a profile when its file's problem changes."""
        self._alarm = alarm
        self._tell = tell
        self._calls = BlockingCalls("token_file")
        # By path, not by profile: profiles may exchange theirs at a reload.
        self._files: dict[str, _ManagedFile] = {}
        self._paths: dict[str, str] = {}  # by profile
        self._due: list[_ManagedFile] = []
        self._stopped = False  # no token is wanted in any file
        self._word = anyio.Event()
        self._still = anyio.Event()  # no file is behind

    async def run(self) -> None:
        """Write until cancelled."""
        async with anyio.create_task_group() as writes:
            while True:
                await self._word.wait()
                self._word = anyio.Event()
                due, self._due = self._due, []
                for managed in due:
                    writes.start_soon(self._update, managed)

    def changed(self, profile: Profile, session: Session) -> None:
        """Update the file of a new or changed profile. Never waits, never raises."""
        file, name = profile.token_file, profile.name
        if self._paths.get(name) != (None if file is None else file.path):
            self.removed(name)
        if file is not None:
            self._paths[name] = file.path
            managed = self._files.setdefault(file.path, _ManagedFile(file, name))
            token = None if self._stopped else live(session, clock.boot())
            managed.owner, managed.wanted = name, (file, token)
            self._schedule(managed)

    def removed(self, name: str) -> None:
        """Remove a profile's file, unless it is another profile's by now."""
        path = self._paths.pop(name, None)
        if path is not None and (managed := self._files[path]).owner == name:
            managed.clear()
            self._schedule(managed)
        self._tell(name, None)

    async def stop(self) -> None:
        """Remove all files for good, since their tokens would no longer be replaced.

        Waits for that, for a limited time.
        """
        self._stopped = True
        for managed in self._files.values():
            managed.clear()
            self._schedule(managed)
        with anyio.move_on_after(STOP_TIME):
            while any(managed.busy for managed in self._files.values()):
                self._still = anyio.Event()
                await self._still.wait()
        for managed in self._files.values():
            if managed.busy:
                self._note(managed, _hung(STOP_TIME))

    def _schedule(self, managed: _ManagedFile) -> None:
        """Schedule a file's update, or another try of one that failed."""
        if not managed.busy and (managed.wanted != managed.done or managed.trouble is not None):
            managed.busy = True
            self._due.append(managed)
            self._word.set()

    def _try_again(self, managed: _ManagedFile) -> None:
        managed.again = False
        self._schedule(managed)

    async def _update(self, managed: _ManagedFile) -> None:
        try:
            managed.done = None
            while managed.done != managed.wanted:
                catch_up = partial(_catch_up, managed)
                managed.done, trouble = await self._calls.run(managed.path, catch_up, WRITE_TIME)
                self._note(managed, trouble)
        except TimeoutError:
            self._note(managed, _hung(WRITE_TIME))
        except OSError as error:
            self._note(managed, Unusable(f"can't be written: {error.strerror}", _LATER))
        except Exception:  # noqa: BLE001 -- an internal error: this file is behind, the sessions live
            log.exception("internal_fault", path=managed.path)
        finally:
            managed.busy = False
            self._still.set()

    def _note(self, managed: _ManagedFile, trouble: Unusable | None) -> None:
        """Log what is wrong with a file, once, and schedule another try."""
        reason = None if trouble is None else trouble.message
        if trouble is not None and reason != managed.trouble:
            log.error(
                "token_file_not_written",
                profile=managed.owner,
                path=managed.path,
                reason=reason,
                hint=trouble.hint,
            )
        changed, managed.trouble = reason != managed.trouble, reason
        if changed:
            self._tell(managed.owner, _problem(managed.path, trouble))
        if trouble is not None and not managed.again:
            managed.again = True
            self._alarm.at(clock.boot() + RETRY, lambda: self._try_again(managed))


def _problem(path: str, trouble: Unusable | None) -> Problem | None:
    if trouble is None:
        return None
    return file_not_written(path, trouble.message, trouble.hint, clock.boot())


def _hung(seconds: float) -> Unusable:
    return Unusable(f"no answer within {seconds:.0f} s", f"its file system hangs; {_LATER}")


def _catch_up(managed: _ManagedFile) -> tuple[_Wanted, Unusable | None]:
    """Write or remove a file as wanted; return what was wanted, and what failed if anything did.

    A slow disk may take so long that something else is wanted by then: so it repeats.
    """
    while True:
        wanted = managed.wanted
        trouble = _apply(managed, *wanted)
        if wanted == managed.wanted:
            return wanted, trouble


def _apply(managed: _ManagedFile, file: TokenFile, token: AccessToken | None) -> Unusable | None:
    try:
        if token is None:
            remove(file.path, managed.inode)
        else:
            managed.inode = write(file, token.value, managed.inode)
    except Unusable as unusable:
        _give_up(managed)
        return unusable
    return None


def _give_up(managed: _ManagedFile) -> None:
    """Remove a file that can't be replaced; empty it if it can't be removed."""
    with suppress(Unusable, OSError):  # the reason was given
        try:
            remove(managed.path, managed.inode)
        except Unusable:
            if managed.inode is not None:
                empty(managed.path, managed.inode)
