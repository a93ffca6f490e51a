"""Runs a profile's `notify_command` when it is locked, down, or well again.

The keeper only leaves word here. For each profile one command runs at a time, and one begins in
SPACING seconds: what happens meanwhile is told by its newest state alone, and not at all where that
is what was told last. So however a server flaps, what was told last is how things are. One that
fails is run again: `core.notices` says when.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, final

import anyio

from openfit_token._shared.one_line import one_line
from openfit_tokend.core.problems import hint_for
from openfit_tokend.core.reports.notices import Condition, Notice, Told, after_run, due_at, notice
from openfit_tokend.core.session import Session
from openfit_tokend.core.settings import Profile
from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Alarm, Entry
from openfit_tokend.host.child_process import Commands, Unstartable, ending

TIME_LIMIT: Final = 30.0
"""Seconds for one command: to send a message takes less, and nobody waits for it."""
MAX_COMMANDS: Final = 8
"""Commands at once: when one server takes a thousand profiles down, they are told in turn."""
MAX_TEXT: Final = 1000
"""Characters of a message or hint: they may hold what a server said."""
MAX_COMPLAINT: Final = 300
"""Characters of the command's last error lines that stand in the log."""
_KEPT: Final = 4096
"""Bytes of the error output that are kept: its end, where the reason stands."""


@final
class _Teller:
    """One profile's: what is the case, what was told, and when its command is run next."""

    __slots__ = ("argv", "busy", "entry", "name", "newest", "told")

    def __init__(self, name: str) -> None:
        self.name = name
        self.argv: tuple[str, ...] = ()
        self.told = Told()
        self.newest: Notice | None = None
        self.entry: Entry | None = None
        self.busy = False


@final
class Notices:
    """All profiles that have a command."""

    def __init__(self, alarm: Alarm) -> None:
        self._alarm = alarm
        self._tellers: dict[str, _Teller] = {}
        self._due: list[_Teller] = []
        self._word = anyio.Event()
        self._room = anyio.CapacityLimiter(MAX_COMMANDS)
        self._commands = Commands()

    async def run(self) -> None:
        """Run commands until cancelled; one that still runs then is killed."""
        async with anyio.create_task_group() as commands:
            while True:
                await self._word.wait()
                self._word = anyio.Event()
                due, self._due = self._due, []
                for teller in due:
                    commands.start_soon(self._tell, teller)

    def changed(self, profile: Profile, session: Session) -> None:
        """Look at a session that may have changed. Never waits, never raises."""
        if profile.notify_command is None:
            self.removed(profile.name)
            return
        teller = self._teller(profile.name)
        if teller.argv != profile.notify_command:
            teller.argv = profile.notify_command
            teller.told = replace(teller.told, failures=None)  # they were another command's
        teller.newest = notice(session, clock.boot()) or teller.newest
        self._schedule(teller)

    def recall(self, profile: Profile, told: Condition) -> None:
        """Let what a profile was told before a restart be no news, but the end of it."""
        if profile.notify_command is not None:
            self._teller(profile.name).told = Told(told)

    def removed(self, name: str) -> None:
        """Forget a profile: nothing more is told of it."""
        teller = self._tellers.pop(name, None)
        if teller is not None:
            teller.newest = None
            self._schedule(teller)

    def _teller(self, name: str) -> _Teller:
        return self._tellers.setdefault(name, _Teller(name))

    def _schedule(self, teller: _Teller) -> None:
        """Have the command run when it is due; one that is running does this again at its end."""
        if teller.busy:
            return
        if teller.entry is not None:
            self._alarm.cancel(teller.entry)
        due = due_at(teller.told, teller.newest)
        teller.entry = self._alarm.at(due, lambda: self._begin(teller))

    def _begin(self, teller: _Teller) -> None:
        teller.busy = True
        self._due.append(teller)
        self._word.set()

    async def _tell(self, teller: _Teller) -> None:
        async with self._room:
            begun, newest, done = clock.boot(), teller.newest, False
            if newest is not None and due_at(teller.told, newest) <= begun:
                try:
                    done = await self._run(teller.argv, teller.name, newest)
                except Exception:  # noqa: BLE001 -- a fault of ours: the sessions live
                    log.exception("internal_fault", profile=teller.name)
                teller.told = after_run(teller.told, newest.condition, begun, failed=not done)
        teller.busy = False
        self._schedule(teller)

    async def _run(self, argv: tuple[str, ...], profile: str, notice: Notice) -> bool:
        """Run a command to its end and return whether it did well; what went wrong is logged.

        The end of its error output is logged too: it was given no secret, and it is a program that
        somebody wrote to be told by.
        """
        complaint, status = bytearray(), None

        def take(chunk: bytes) -> bool:
            complaint.extend(chunk)
            del complaint[:-_KEPT]
            return True

        said = environment(profile, notice)
        try:
            async with self._commands.started(argv, said, heard="stderr") as running:
                with anyio.move_on_after(TIME_LIMIT):
                    status = await running.finish(take)
        except Unstartable as refused:
            _log_failure(argv, profile, notice, refused.reason, refused.remedy)
            return False
        if status == 0:
            log.info("notified", profile=profile, told=notice.condition, command=argv[0])
            return True
        if status is None:
            reason = f"took longer than {TIME_LIMIT:g} s and {running.fate()}"
            hint = "let it leave the rest to the background"
        else:
            reason, hint = ending(status), "run it by hand as the daemon's user"
        _log_failure(argv, profile, notice, f"{reason}{_shown(complaint)}", hint)
        return False


def environment(profile: str, notice: Notice) -> Mapping[str, str]:
    """Return the variables that tell a command what happened. No token, no secret is among them.

    Each is one line: a NUL can't be in an environment, and a newline would forge mails.
    """
    problem = notice.problem
    return {
        "OPENFIT_PROFILE": profile,
        "OPENFIT_EVENT": notice.condition,
        "OPENFIT_STATE": notice.state,
        "OPENFIT_CODE": "" if problem is None else problem.kind.code,
        "OPENFIT_MESSAGE": "" if problem is None else one_line(problem.message[:MAX_TEXT]),
        "OPENFIT_HINT": ""
        if problem is None
        else one_line((hint_for(profile, problem.hint) or "")[:MAX_TEXT]),
    }


def _shown(complaint: bytearray) -> str:
    """Return the end of an error output as one line, behind a colon; "" if there is none."""
    text = one_line(" ".join(complaint.decode(errors="replace").split()))
    if len(text) > MAX_COMPLAINT:
        text = f"… {text[-MAX_COMPLAINT:]}"
    return f": {text}" if text else ""


def _log_failure(
    argv: tuple[str, ...], profile: str, notice: Notice, reason: str, hint: str
) -> None:
    log.error(
        "notify_command_failed",
        profile=profile,
        told=notice.condition,
        command=argv[0],
        reason=reason,
        hint=hint,
    )
