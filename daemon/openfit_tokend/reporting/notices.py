"""Runs a profile's `notify_command` when the profile is locked, down, or well again.

The keeper only reports changes here. For each profile one command runs at a time, and at most one
starts in SPACING seconds. It gets only the newest state, and isn't run if that was the last one
reported. So even if a server flaps, the last notice is right. A command that fails is run again:
`core.notices` decides when.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, final

import anyio

from openfit_token._shared.one_line import one_line
from openfit_tokend.core.problems import hint_for
from openfit_tokend.core.reports.health import Condition, Health
from openfit_tokend.core.reports.notices import Notice, Told, after_run, due_at, notice
from openfit_tokend.core.settings.values import Profile
from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Alarm, Entry
from openfit_tokend.host.child_process import Commands, ending
from openfit_tokend.host.regular_file import Unusable

TIME_LIMIT: Final = 30.0
"""Seconds for one command: sending a message takes less, and nothing waits for it."""
MAX_COMMANDS: Final = 8
"""Commands at once: if one server's failure affects a thousand profiles, they are notified in turn."""
MAX_TEXT: Final = 1000
"""Characters of a message or hint, which may quote a server."""
MAX_COMPLAINT: Final = 300
"""Characters of the command's error output that are logged, from its end."""
_KEPT: Final = 4096
"""Bytes of the error output that are kept: its end, which has the reason."""


@final
class _Notifier:
    """One profile's newest notice, what was told last, and when its command runs next."""

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
    """The notices of all profiles that have a command."""

    def __init__(self, alarm: Alarm) -> None:
        self._alarm = alarm
        self._notifiers: dict[str, _Notifier] = {}
        self._due: list[_Notifier] = []
        self._wakeup = anyio.Event()
        self._room = anyio.CapacityLimiter(MAX_COMMANDS)
        self._commands = Commands()

    async def run(self) -> None:
        """Run commands until cancelled, which kills running ones."""
        async with anyio.create_task_group() as commands:
            while True:
                await self._wakeup.wait()
                self._wakeup = anyio.Event()
                due, self._due = self._due, []
                for notifier in due:
                    commands.start_soon(self._tell, notifier)

    def changed(self, profile: Profile, health: Health) -> None:
        """Schedule a notice if a profile's health calls for one. Never waits, never raises."""
        if profile.notify_command is None:
            self.removed(profile.name)
            return
        notifier = self._notifier(profile.name)
        if notifier.argv != profile.notify_command:
            notifier.argv = profile.notify_command
            notifier.told = replace(notifier.told, failures=None)  # those were another command's
        notifier.newest = notice(health) or notifier.newest
        self._schedule(notifier)

    def recall(self, profile: Profile, told: Condition) -> None:
        """Take over what was reported of a profile before a restart: only a change from that is reported."""
        if profile.notify_command is not None:
            self._notifier(profile.name).told = Told(told)

    def removed(self, name: str) -> None:
        """Send no more notices about a profile."""
        notifier = self._notifiers.pop(name, None)
        if notifier is not None:
            notifier.newest = None
            self._schedule(notifier)

    def _notifier(self, name: str) -> _Notifier:
        return self._notifiers.setdefault(name, _Notifier(name))

    def _schedule(self, notifier: _Notifier) -> None:
        """Schedule the command for when it is due; a running one does this at its end."""
        if notifier.busy:
            return
        if notifier.entry is not None:
            self._alarm.cancel(notifier.entry)
        due = due_at(notifier.told, notifier.newest)
        notifier.entry = self._alarm.at(due, lambda: self._begin(notifier))

    def _begin(self, notifier: _Notifier) -> None:
        notifier.busy = True
        self._due.append(notifier)
        self._wakeup.set()

    async def _tell(self, notifier: _Notifier) -> None:
        async with self._room:
            begun, newest, done = clock.boot(), notifier.newest, False
            if newest is not None and due_at(notifier.told, newest) <= begun:
                try:
                    done = await self._run(notifier.argv, notifier.name, newest)
                except Exception:  # noqa: BLE001 -- an internal error must not end the sessions
                    log.exception("internal_fault", profile=notifier.name)
                notifier.told = after_run(notifier.told, newest.condition, begun, failed=not done)
        notifier.busy = False
        self._schedule(notifier)

    async def _run(self, argv: tuple[str, ...], profile: str, notice: Notice) -> bool:
        """Run a command to its end, log how that went, and return whether it succeeded.

        On failure the end of its error output is logged: the command was given no secret.
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
        except Unusable as refused:
            _log_failure(argv, profile, notice, refused.message, refused.hint)
            return False
        if status == 0:
            log.info("notified", profile=profile, told=event(notice), command=argv[0])
            return True
        if status is None:
            reason = f"took longer than {TIME_LIMIT:g} s and {running.fate()}"
            hint = "let it do the rest in the background"
        else:
            reason, hint = ending(status), "run it by hand as the daemon's user"
        _log_failure(argv, profile, notice, f"{reason}{_end_of(complaint)}", hint)
        return False


def event(notice: Notice) -> str:
    """Return the name of an event."""
    return "recovered" if notice.condition is Condition.WELL else notice.condition


def environment(profile: str, notice: Notice) -> Mapping[str, str]:
    """Return the variables that tell a command what happened, without any secret.

    Each is one line: an environment can't contain a NUL, and a newline could forge mail headers.
    """
    problem = notice.problem
    return {
        "OPENFIT_PROFILE": profile,
        "OPENFIT_EVENT": event(notice),
        "OPENFIT_STATE": notice.state,
        "OPENFIT_CODE": "" if problem is None else problem.raises.code,
        "OPENFIT_MESSAGE": "" if problem is None else one_line(problem.message[:MAX_TEXT]),
        "OPENFIT_HINT": ""
        if problem is None
        else one_line((hint_for(profile, problem.hint) or "")[:MAX_TEXT]),
    }


def _end_of(complaint: bytearray) -> str:
    """Return the end of an error output as one line after a colon; "" if there is none."""
    text = one_line(" ".join(complaint.decode(errors="replace").split()))
    if len(text) > MAX_COMPLAINT:
        text = f"… {text[-MAX_COMPLAINT:]}"
    return f": {text}" if text else ""


def _log_failure(
    argv: tuple[str, ...], profile: str, notice: Notice, reason: str, hint: str | None
) -> None:
    log.error(
        "notify_command_failed",
        profile=profile,
        told=event(notice),
        command=argv[0],
        reason=reason,
        hint=hint,
    )
