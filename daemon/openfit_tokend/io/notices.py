"""Runs a profile's `notify_command` when it is locked, down, or well again.

The keeper only leaves word here. For each profile one command runs at a time, and one begins in
SPACING seconds: what happens meanwhile is told by its newest state alone, and not at all where that
is what was told last. So however a server flaps, what was told last is how things are.
"""

from collections.abc import Mapping
from math import inf
from typing import Final, final

import anyio

from openfit_token.one_line import one_line
from openfit_tokend.core.notices import Condition, Notice, is_due, notice
from openfit_tokend.core.session import Session, hint_for
from openfit_tokend.core.settings import Profile
from openfit_tokend.io import clock, log
from openfit_tokend.io.child_process import Commands, Unstartable, ending

TIME_LIMIT: Final = 30.0
"""Seconds for one command: to send a message takes less, and nobody waits for it."""
SPACING: Final = 10.0
"""Seconds from one command's start to the next, of one profile."""
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
    """One profile's: what is the case, and what was told."""

    __slots__ = ("argv", "begun", "busy", "newest", "told")

    def __init__(self) -> None:
        self.argv: tuple[str, ...] = ()
        self.told = Condition.WELL
        self.newest: Notice | None = None
        self.begun = -inf
        self.busy = False


@final
class Notices:
    """All profiles that have a command."""

    def __init__(self) -> None:
        self._tellers: dict[str, _Teller] = {}
        self._due: list[tuple[str, _Teller]] = []
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
                for name, teller in due:
                    commands.start_soon(self._tell, name, teller)

    def changed(self, profile: Profile, session: Session) -> None:
        """Look at a session that may have changed. Never waits, never raises."""
        if profile.notify_command is None:
            self.removed(profile.name)
            return
        teller = self._tellers.setdefault(profile.name, _Teller())
        teller.argv = profile.notify_command
        teller.newest = notice(session, clock.boot()) or teller.newest
        if not teller.busy and is_due(teller.told, teller.newest):
            teller.busy = True
            self._due.append((profile.name, teller))
            self._word.set()

    def recall(self, profile: Profile, told: Condition) -> None:
        """Let what a profile was told before a restart be no news, but the end of it."""
        if profile.notify_command is not None:
            self._tellers.setdefault(profile.name, _Teller()).told = told

    def removed(self, name: str) -> None:
        """Forget a profile: nothing more is told of it."""
        teller = self._tellers.pop(name, None)
        if teller is not None:
            teller.newest = None

    async def _tell(self, name: str, teller: _Teller) -> None:
        try:
            while is_due(teller.told, teller.newest):
                await anyio.sleep(max(0.0, teller.begun + SPACING - clock.boot()))
                async with self._room:
                    newest = teller.newest
                    if newest is not None and is_due(teller.told, newest):
                        teller.told, teller.begun = newest.condition, clock.boot()
                        await self._run(teller.argv, name, newest)
        except Exception:  # noqa: BLE001 -- a fault of ours: a notice is missing, the sessions live
            log.exception("internal_fault", profile=name)
        finally:
            teller.busy = False

    async def _run(self, argv: tuple[str, ...], profile: str, notice: Notice) -> None:
        """Run a command to its end; what goes wrong is logged, and that is all.

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
            return
        if status == 0:
            log.info("notified", profile=profile, told=notice.condition, command=argv[0])
            return
        if status is None:
            reason = f"took longer than {TIME_LIMIT:g} s and {running.fate()}"
            hint = "let it leave the rest to the background"
        else:
            reason, hint = ending(status), "run it by hand as the daemon's user"
        _log_failure(argv, profile, notice, f"{reason}{_shown(complaint)}", hint)


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
