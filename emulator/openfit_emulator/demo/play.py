"""What happens in the demo: acts, each of which waits for an observation, with a time limit.

No act depends on how fast the machine is. For example, the outage begins when the daemon's token is
nearly due, and ends when a failed request was observed.
"""

import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from openfit_emulator.command import DEFAULT_USER
from openfit_emulator.demo.observed import (
    Counters,
    HeldToken,
    NoAnswer,
    ProfileStatus,
    TokenServer,
    profile_status,
)
from openfit_emulator.demo.promises import Facts, Outage, Promise, Replacement, judge, kept
from openfit_emulator.demo.screen import Screen
from openfit_emulator.demo.stage import SCRIPTS, Stage
from openfit_token import TokenClient, TokenError
from openfit_tokend.host import clock

TOKEND: Final = "openfit-tokend"
TOKEN: Final = "openfit-token"  # noqa: S105 -- a command
LIFETIME: Final = 12
"""Seconds that an access token lives. A quarter is left when it is due, and a server counts whole
seconds: so on a busy machine a new one may be two seconds late."""
DUE: Final = 2.7
"""The most seconds that a token has left when it is due: a quarter, plus a random amount, minus the
last second, in which the daemon doesn't serve it."""
AHEAD: Final = 3.0
"""Seconds before a token is due at which the outage begins."""
GLANCE: Final = 0.1
"""Seconds between two looks at the status."""
BEAT: Final = 2.0
"""Seconds between two lines about the scripts' calls."""
SLOW_BEAT: Final = 30.0
"""The same after the last act."""
ENOUGH: Final = 10
"""Failed API calls after which the demo gives up."""
PATIENCE: Final = 45.0
"""Seconds that an act may take: three times a token's life."""

_INTRODUCTION: Final = """\
Many scripts call an API with one login. If each logs in by itself, each needs
the password and has to watch when its token expires; refresh tokens work only
once, so the scripts break each other's; and five wrong passwords lock all out.

Here one daemon logs in, keeps the tokens, and replaces them before they expire.
The scripts ask it for the current token over a Unix socket, without a password.

You will see {scripts} scripts call an API once a second with tokens that live {lifetime} s
(real ones: an hour), somebody change the password, and the token server fail.
All of this really runs, on this machine only, and is removed at the end.
"""
_NEXT_STEPS: Final = """\
Next steps, with the real OpenFIT:
  write a config     {tokend} init
  start the daemon   {tokend} run
  use its tokens     {token} exec -- ./nightly.sh"""


def _typed(name: str) -> str:
    """Return what to type for a command: its name if $PATH finds it, else its path."""
    started = Path(sys.argv[0] if Path(sys.argv[0]).name == TOKEND else sys.executable)
    command = started.with_name(name)
    found = shutil.which(name)
    return name if found and Path(found).samefile(command) else shlex.quote(str(command))


class Aborted(Exception):
    """The demo can't go on. Says why."""


class Play:
    """One run of the demo, and what was recorded in it."""

    def __init__(self, stage: Stage, screen: Screen) -> None:
        self._stage = stage
        self._screen = screen
        self._daemon = TokenClient(socket=str(stage.socket))
        self._server = TokenServer("")
        self._counters = Counters()
        self._status = ProfileStatus("", None, None)
        self._replacements: list[Replacement] = []
        self._outage = Outage()
        self._password_changed = False
        self._late = False
        """Whether an outage delays the replacement of the current token."""
        self._beat = BEAT
        self._next_beat = 0.0
        self._told_failures = 0

    def run(self, *, forever: bool) -> Sequence[Promise]:
        """Run the acts, print the summary, and return the promises.

        Raises:
            NotStarted: a process doesn't start.
            OutputFailed: the output can't be written.
            KeyboardInterrupt: Ctrl-C before the end of the last act.
        """
        aborted = None
        with self._daemon:
            self._screen.text("openfit-tokend demo: about 20 seconds, nothing to set up\n", "bold")
            self._screen.text(_INTRODUCTION.format(scripts=SCRIPTS, lifetime=LIFETIME))
            try:
                self._acts()
                if forever:
                    self._go_on()
            except (Aborted, NoAnswer) as error:
                aborted = str(error)
        with suppress(NoAnswer):  # then the promises about it count as broken
            self._counters = self._server.counters()
        promises = judge(self._facts(aborted))
        self._sum_up(promises)
        return promises

    # The acts

    def _acts(self) -> None:
        self._start()
        self._change_password()
        self._see_replacement()
        self._have_outage()
        self._until("every script used the new token", self._each_called(2))

    def _start(self) -> None:
        url = self._stage.start_server(LIFETIME)
        self._server = TokenServer(url)
        self._screen.event("server", f"stands in for OpenFIT (tokens, API): {url}")
        self._stage.start_daemon(url)
        self._screen.event("daemon", "is running; only it knows the password")
        self._until("the login", lambda: self._status.token is not None)
        for _ in self._stage.start_scripts():
            self._stage.listen(0.25)  # so that they call in turn
        names = ", ".join(script.name for script in self._stage.scripts)
        self._screen.event("scripts", f"{names} are running, each in its own process")
        self._until("every script called the API", self._each_called(2))

    def _change_password(self) -> None:
        self._server.change_password(DEFAULT_USER, "changed by somebody")
        self._password_changed = True
        self._screen.event(
            "server", "PASSWORD CHANGED by somebody; the session goes on without it", "yellow"
        )

    def _see_replacement(self) -> None:
        self._until("a replacement on schedule", lambda: any(self._on_schedule()))

    def _have_outage(self) -> None:
        self._until("a token that is nearly due", self._due_soon)
        began, calls, failures = clock.boot(), self._calls(), len(self._stage.failures)
        self._server.fail()
        self._screen.event(
            "server", "OUTAGE: from now on it answers token requests with 503", "yellow"
        )
        self._until("a failed token request", lambda: self._status.degraded is not None)
        self._screen.event("status", f"{self._status.state}: {self._status.degraded}", "yellow")
        self._screen.event("daemon", "serves the old token while it is valid, and retries")
        self._late = True
        failed = self._server.counters().faulted
        self._server.recover()
        seconds = clock.boot() - began
        self._outage = Outage(seconds, failed, self._calls() - calls, told=True)
        noticed = len(self._stage.failures) - failures
        self._screen.event(
            "server",
            f"outage over after {seconds:.1f} s; failed API calls: {noticed or 'none'}",
            "yellow",
        )
        self._until("a token after the outage", lambda: not all(self._on_schedule()))

    def _go_on(self) -> None:
        self._beat = SLOW_BEAT
        self._screen.text(
            f"\nThis goes on until Ctrl-C. Try it yourself, in another terminal:\n"
            f"  export OPENFIT_TOKEN_SOCKET={self._stage.socket}\n"
        )
        self._screen.commands(f"  {_typed(TOKEN)} status\n  {_typed(TOKEN)} get\n")
        try:
            while True:
                self._turn()
        except KeyboardInterrupt:
            self._screen.text()

    # What the acts wait for

    def _until(self, what: str, seen: Callable[[], bool]) -> None:
        """Go on until something is observed. Raises: Aborted: it isn't within PATIENCE."""
        deadline = clock.boot() + PATIENCE
        while not seen():
            if clock.boot() > deadline:
                raise Aborted(f"waited in vain for {what}")
            self._turn()

    def _each_called(self, times: int) -> Callable[[], bool]:
        goals = [(script, script.calls + times) for script in self._stage.scripts]
        return lambda: all(script.calls >= goal for script, goal in goals)

    def _on_schedule(self) -> list[bool]:
        return [each.by_schedule for each in self._replacements]

    def _due_soon(self) -> bool:
        token = self._status.token
        return token is not None and DUE < token.left < DUE + AHEAD

    # What happens all the time

    def _turn(self) -> None:
        """Read the scripts' output and the status, and print what is new. Raises: Aborted."""
        self._stage.listen(GLANCE)
        ended = self._stage.ended()
        if ended is not None:
            raise Aborted(ended)
        before = self._status.token
        try:
            self._status = profile_status(self._daemon)
        except TokenError as error:
            raise Aborted(f"the daemon's status: {error}") from error
        token = self._status.token
        if token is not None and (before is None or before.id != token.id):
            self._tell_token(before, token)
        self._tell_failures()
        if self._stage.scripts and clock.boot() >= self._next_beat:
            self._next_beat = clock.boot() + self._beat
            self._tell_calls()

    def _tell_token(self, before: HeldToken | None, token: HeldToken) -> None:
        if before is None:
            self._screen.event("daemon", f"logged in: token {token.id}", "cyan")
            return
        early = before.expires_at - token.obtained_at
        self._replacements.append(Replacement(early, not self._late, self._password_changed))
        self._late = False
        self._screen.event(
            "daemon",
            f"token replaced: {before.id} -> {token.id}, {early:.1f} s before it expires",
            "cyan",
        )

    def _tell_failures(self) -> None:
        failures = self._stage.failures
        for failure in failures[self._told_failures :]:
            self._screen.event("scripts", failure, "red")
        self._told_failures = len(failures)
        if len(failures) >= ENOUGH:
            raise Aborted("too many API calls failed")

    def _tell_calls(self) -> None:
        text = f"{self._calls():3} calls, {len(self._stage.failures)} failed"
        token = self._status.token
        if token is not None:
            bar = self._screen.gauge(token.left / LIFETIME, LIFETIME)
            text += f"    token {token.id} {bar} {token.left:2.0f} s left"
        self._screen.event("scripts", text, "green")

    def _calls(self) -> int:
        return sum(script.calls for script in self._stage.scripts)

    # The end

    def _facts(self, aborted: str | None) -> Facts:
        return Facts(
            calls=tuple(script.calls for script in self._stage.scripts),
            failures=tuple(self._stage.failures),
            replacements=tuple(self._replacements),
            outage=self._outage,
            server=self._counters,
            aborted=aborted,
        )

    def _sum_up(self, promises: Sequence[Promise]) -> None:
        self._screen.text("\nWhat was promised:", "bold")
        for promise in promises:
            self._screen.promise(promise)
        self._screen.text()
        if kept(promises):
            self._screen.commands(_NEXT_STEPS.format(tokend=_typed(TOKEND), token=_typed(TOKEN)))
        else:
            broken = "; ".join(promise.text for promise in promises if not promise.kept)
            self._screen.text(f"Broken: {broken}", "red")
