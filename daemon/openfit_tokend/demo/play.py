"""What happens in the demo: acts, each of which waits for what is to be seen, with a limit.

No act counts on how fast the machine is: the outage, for one, begins when the daemon's token is
about to be due, and ends when a failed request was seen.
"""

import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from openfit_token import TokenClient, TokenError
from openfit_tokend.demo.observed import (
    Counters,
    HeldToken,
    NoAnswer,
    Standing,
    TokenServer,
    standing,
)
from openfit_tokend.demo.promises import Facts, Outage, Promise, Replacement, judge, kept
from openfit_tokend.demo.screen import Screen
from openfit_tokend.demo.stage import SCRIPTS, Stage
from openfit_tokend.emulator.command import DEFAULT_USER
from openfit_tokend.host import clock

TOKEND: Final = "openfit-tokend"
TOKEN: Final = "openfit-token"  # noqa: S105 -- a command
LIFETIME: Final = 12
"""Seconds of an access token. A quarter of it is left when it is due, and a server counts whole
seconds: so a new one may be late by two seconds, on a machine that has much to do."""
DUE: Final = 2.7
"""Seconds that are left of a token, at most, when it is due: a quarter, a little more by chance, and
less the last second, in which the daemon serves none."""
AHEAD: Final = 3.0
"""Seconds that an outage begins before a token is due."""
GLANCE: Final = 0.1
"""Seconds between two looks at the status."""
BEAT: Final = 2.0
"""Seconds between two lines that say how the scripts do."""
SLOW_BEAT: Final = 30.0
"""The same after the last act."""
ENOUGH: Final = 10
"""Failed calls of the API after which there is nothing more to show."""
PATIENCE: Final = 45.0
"""Seconds that an act may take: three times a token's life."""

_INTRODUCTION: Final = """\
Many scripts call an API with one login. If each logs in by itself, each holds
the password and minds when its token ends; refresh tokens work only once, so
the scripts spoil them for each other; and five wrong passwords lock all out.

Here one daemon logs in, keeps the tokens, and replaces them before they end.
The scripts ask it for the current one over a Unix socket, and know no password.

You will see {scripts} scripts call an API once a second with tokens that live {lifetime} s
(real ones: an hour), somebody change the password, and the token server fail.
All of it really runs, on this machine alone, and is gone in the end.
"""
_NEXT_STEPS: Final = """\
Next steps, with the real OpenFIT:
  write a config     {tokend} init
  start the daemon   {tokend} run
  use its tokens     {token} get --format curl | curl -K - https://..."""


def _typed(name: str) -> str:
    """Return what to type for a command: the path that this one was started with, unless $PATH has it."""
    started = Path(sys.argv[0] if Path(sys.argv[0]).name == TOKEND else sys.executable)
    command = started.with_name(name)
    found = shutil.which(name)
    return name if found and Path(found).samefile(command) else shlex.quote(str(command))


class BrokenOff(Exception):
    """The play can't go on; says why."""


class Play:
    """One performance: owns what was recorded."""

    def __init__(self, stage: Stage, screen: Screen) -> None:
        self._stage = stage
        self._screen = screen
        self._daemon = TokenClient(socket=str(stage.socket))
        self._server = TokenServer("")
        self._counters = Counters()
        self._standing = Standing("", None, None)
        self._replacements: list[Replacement] = []
        self._outage = Outage()
        self._password_changed = False
        self._late = False
        """The token in use is one that an outage has outlasted."""
        self._beat = BEAT
        self._next_beat = 0.0
        self._told_failures = 0

    def run(self, *, forever: bool) -> Sequence[Promise]:
        """Perform, print the summary, and give the promises.

        Raises:
            NotStarted: a process doesn't start.
            OutputFailed: nobody can see it.
            KeyboardInterrupt: Ctrl-C before the last act was over.
        """
        broken_off = None
        with self._daemon:
            self._screen.text("openfit-tokend demo: about 20 seconds, nothing to set up\n", "bold")
            self._screen.text(_INTRODUCTION.format(scripts=SCRIPTS, lifetime=LIFETIME))
            try:
                self._acts()
                if forever:
                    self._go_on()
            except (BrokenOff, NoAnswer) as error:
                broken_off = str(error)
        with suppress(NoAnswer):  # then its promises count as broken
            self._counters = self._server.counters()
        promises = judge(self._facts(broken_off))
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
        self._screen.event("server", f"is OpenFIT's stand-in (tokens, API): {url}")
        self._stage.start_daemon(url)
        self._screen.event("daemon", "runs; it alone was told the password")
        self._until("the login", lambda: self._standing.token is not None)
        for _ in self._stage.start_scripts():
            self._stage.listen(0.25)  # they call by turns
        names = ", ".join(script.name for script in self._stage.scripts)
        self._screen.event("scripts", f"{names} run, each a process of its own")
        self._until("every script called the API", self._each_called(2))

    def _change_password(self) -> None:
        self._server.change_password(DEFAULT_USER, "changed by somebody")
        self._password_changed = True
        self._screen.event(
            "server", "PASSWORD CHANGED by somebody: the session goes on without", "yellow"
        )

    def _see_replacement(self) -> None:
        self._until("a replacement on schedule", lambda: any(self._on_schedule()))

    def _have_outage(self) -> None:
        self._until("a token about to be due", self._due_soon)
        began, calls, failures = clock.boot(), self._calls(), len(self._stage.failures)
        self._server.fail()
        self._screen.event(
            "server", "OUTAGE: it answers token requests with 503 from now on", "yellow"
        )
        self._until("a failed token request", lambda: self._standing.degraded is not None)
        self._screen.event("status", f"{self._standing.state}: {self._standing.degraded}", "yellow")
        self._screen.event("daemon", "serves the old token, which lives, and tries again")
        self._late = True
        failed = self._server.counters().faulted
        self._server.recover()
        seconds = clock.boot() - began
        self._outage = Outage(seconds, failed, self._calls() - calls, told=True)
        noticed = len(self._stage.failures) - failures
        self._screen.event(
            "server",
            f"outage over after {seconds:.1f} s; API calls that failed: {noticed or 'none'}",
            "yellow",
        )
        self._until("a token after the outage", lambda: not all(self._on_schedule()))

    def _go_on(self) -> None:
        self._beat = SLOW_BEAT
        self._screen.text(
            f"\nIt goes on until Ctrl-C. Try it yourself, in another terminal:\n"
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
        """Go on until something is seen. Raises: BrokenOff: it isn't, for too long."""
        deadline = clock.boot() + PATIENCE
        while not seen():
            if clock.boot() > deadline:
                raise BrokenOff(f"waited for {what} in vain")
            self._turn()

    def _each_called(self, times: int) -> Callable[[], bool]:
        goals = [(script, script.calls + times) for script in self._stage.scripts]
        return lambda: all(script.calls >= goal for script, goal in goals)

    def _on_schedule(self) -> list[bool]:
        return [each.by_schedule for each in self._replacements]

    def _due_soon(self) -> bool:
        token = self._standing.token
        return token is not None and DUE < token.left < DUE + AHEAD

    # What happens all the time

    def _turn(self) -> None:
        """Hear the scripts, look at the status, and print what is new. Raises: BrokenOff."""
        self._stage.listen(GLANCE)
        ended = self._stage.ended()
        if ended is not None:
            raise BrokenOff(ended)
        before = self._standing.token
        try:
            self._standing = standing(self._daemon)
        except TokenError as error:
            raise BrokenOff(f"the daemon's status: {error}") from error
        token = self._standing.token
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
            f"token replaced: {before.id} -> {token.id}, {early:.1f} s before its end",
            "cyan",
        )

    def _tell_failures(self) -> None:
        failures = self._stage.failures
        for failure in failures[self._told_failures :]:
            self._screen.event("scripts", failure, "red")
        self._told_failures = len(failures)
        if len(failures) >= ENOUGH:
            raise BrokenOff("too many API calls failed")

    def _tell_calls(self) -> None:
        text = f"{self._calls():3} calls, {len(self._stage.failures)} failed"
        token = self._standing.token
        if token is not None:
            bar = self._screen.gauge(token.left / LIFETIME, LIFETIME)
            text += f"    token {token.id} {bar} {token.left:2.0f} s left"
        self._screen.event("scripts", text, "green")

    def _calls(self) -> int:
        return sum(script.calls for script in self._stage.scripts)

    # The end

    def _facts(self, broken_off: str | None) -> Facts:
        return Facts(
            calls=tuple(script.calls for script in self._stage.scripts),
            failures=tuple(self._stage.failures),
            replacements=tuple(self._replacements),
            outage=self._outage,
            server=self._counters,
            broken_off=broken_off,
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
