"""`openfit-tokend demo`: one daemon, four scripts, a changed password and an outage."""

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from openfit_emulator.demo.play import Act, Play, short
from openfit_emulator.demo.promises import (
    Replacement,
    login,
    one_at_a_time,
    outage,
    password,
    schedule,
)
from openfit_emulator.demo.screen import Screen
from openfit_emulator.demo.stage import SCRIPTS, Stage
from openfit_token import Token
from openfit_token.testing import State
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
BEAT: Final = 2.0
"""Seconds between two lines about the scripts' calls."""
SLOW_BEAT: Final = 30.0
"""The same after the last act."""
_NEXT_STEPS: Final = """\
Next steps, with the real OpenFIT:
  write a config     {tokend} init
  start the daemon   {tokend} run
  use its tokens     {token} exec -- ./nightly.sh"""


def typed(name: str) -> str:
    """Return what to type for a command: its name if $PATH finds it, else its path."""
    started = Path(sys.argv[0] if Path(sys.argv[0]).name == TOKEND else sys.executable)
    command, found = started.with_name(name), shutil.which(name)
    if not command.is_file():  # `pip install --user` puts none beside Python
        return name
    return name if found and command.samefile(found) else shlex.quote(str(command))


class Solo(Play):
    """The demo with one daemon. `forever`: it goes on after the last act, until Ctrl-C."""

    title = "openfit-tokend demo: about 20 seconds, nothing to set up"
    introduction = f"""\
Many scripts call an API with one login. If each logs in by itself, each needs
the password and has to watch when its token expires; refresh tokens work only
once, so the scripts break each other's; and five wrong passwords lock all out.

Here one daemon logs in, keeps the tokens, and replaces them before they expire.
The scripts ask it for the current token over a Unix socket, without a password.

You will see {SCRIPTS} scripts call an API once a second with tokens that live {LIFETIME} s
(real ones: an hour), somebody change the password, and the token server fail.
All of this really runs, on this machine only, and is removed at the end.
"""
    glance = 0.1
    _token: Token
    """What the scripts get at the moment. There is one from the login on."""

    def __init__(self, stage: Stage, screen: Screen, *, forever: bool) -> None:
        super().__init__(stage, screen)
        self._forever = forever
        self._replacements: list[Replacement] = []
        self._password_changed = False
        self._late = False
        """Whether an outage delays the replacement of the current token."""
        self._beat = BEAT
        self._next_beat = 0.0

    @property
    def acts(self) -> tuple[Act, ...]:
        """What happens, in order."""
        acts = (self._start, self._change_password, self._have_outage)
        return (*acts, self._go_on) if self._forever else acts

    def judge(self, server: State) -> None:
        """Add the promises that are known only at the end."""
        self.promises[1:1] = [
            login("all scripts", server, "no script knows it"),
            schedule(self._replacements),
            one_at_a_time(self.counts, server),
        ]
        self.promises.append(password(self._replacements))

    def next_steps(self) -> str:
        """Return what to do with the real OpenFIT."""
        return _NEXT_STEPS.format(tokend=typed(TOKEND), token=typed(TOKEN))

    # The acts

    def _start(self) -> None:
        self.start_server(LIFETIME)
        self.stage.start_daemon("daemon")
        self.screen.event("daemon", "is running; only it knows the password")
        self._token = self.stage.clients["daemon"].get_token()
        self.screen.event("daemon", f"logged in: token {short(self._token)}", "cyan")
        self.stage.start_scripts(("daemon",))
        names = ", ".join(script.name for script in self.stage.scripts)
        self.screen.event("scripts", f"{names} are running, each in its own process")
        self.until("every script called the API", self._each_called(2))

    def _change_password(self) -> None:
        self.server.set_password("changed by somebody")
        self._password_changed = True
        self.screen.event(
            "server", "PASSWORD CHANGED by somebody; the session goes on without it", "yellow"
        )
        self.until("a replacement on schedule", lambda: any(self._on_schedule()))

    def _have_outage(self) -> None:
        self.until("a token that is nearly due", self._due_soon)
        began, calls, failures = clock.boot(), sum(self.counts), len(self.stage.failures)
        self.server.fault("error-503@*")
        self.screen.event(
            "server", "OUTAGE: from now on it answers token requests with 503", "yellow"
        )
        self.until("a failed token request", lambda: bool(self._trouble))
        self.screen.event("daemon", f"retrying: {self._trouble}", "yellow")
        self.screen.event("daemon", "serves the old token while it is valid, and retries")
        self._late = True
        failed = self.server.state().faulted
        self.server.clear_faults()
        seconds, calls = clock.boot() - began, sum(self.counts) - calls
        noticed = len(self.stage.failures) - failures
        self.screen.event(
            "server",
            f"outage over after {seconds:.1f} s; failed API calls: {noticed or 'none'}",
            "yellow",
        )
        self.until("a token after the outage", lambda: not all(self._on_schedule()))
        self.promises.append(outage(seconds, failed, calls))
        self.until("every script used the new token", self._each_called(2))

    def _go_on(self) -> None:
        self._beat = SLOW_BEAT
        self.screen.text(
            f"\nThis goes on until Ctrl-C. Try it yourself, in another terminal:\n"
            f"  export OPENFIT_TOKEN_SOCKET={self.stage.daemons['daemon'].socket}\n"
        )
        self.screen.commands(f"  {typed(TOKEN)} status\n  {typed(TOKEN)} get\n")
        try:
            while True:
                self.turn()
        except KeyboardInterrupt:
            self.screen.text()

    # What the acts wait for

    def _each_called(self, times: int) -> Callable[[], bool]:
        goals = [(script, script.calls + times) for script in self.stage.scripts]
        return lambda: all(script.calls >= goal for script, goal in goals)

    def _on_schedule(self) -> list[bool]:
        return [each.by_schedule for each in self._replacements]

    @property
    def _trouble(self) -> str:
        """Why the daemon can't replace the token; "": it can."""
        return (self._token.degraded or {}).get("message", "")

    def _due_soon(self) -> bool:
        return DUE < self._token.expires_in < DUE + AHEAD

    # What happens all the time

    def turn(self) -> None:
        """Read the scripts' output, get the token, and print what is new.

        Raises:
            Aborted: something has ended.
            TokenError: there is no token.
        """
        super().turn()
        before, self._token = self._token, self.stage.clients["daemon"].get_token()
        if self._token.id != before.id:
            self._tell_replacement(before)
        if self.stage.scripts and clock.boot() >= self._next_beat:
            self._next_beat = clock.boot() + self._beat
            self._tell_calls()

    def _tell_replacement(self, before: Token) -> None:
        early = before.expires_at - self._token.obtained_at
        self._replacements.append(Replacement(early, not self._late, self._password_changed))
        self._late = False
        self.screen.event(
            "daemon",
            f"token replaced: {short(before)} -> {short(self._token)},"
            f" {early:.1f} s before it expires",
            "cyan",
        )

    def _tell_calls(self) -> None:
        calls = f"{sum(self.counts):3} calls, {len(self.stage.failures)} failed"
        left = self._token.expires_in
        bar = self.screen.gauge(left / LIFETIME, LIFETIME)
        token = f"token {short(self._token)} {bar} {left:2.0f} s left"
        self.screen.event("scripts", f"{calls}    {token}", "green")
