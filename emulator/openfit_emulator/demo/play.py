"""What both demos have in common: acts, each of which waits for an observation, with a time limit.

No act depends on how fast the machine is. An act that saw a promise kept or broken adds it; what is
only known at the end is judged there.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from http.client import HTTPException
from typing import Final

from openfit_emulator.demo.promises import Promise, calls
from openfit_emulator.demo.screen import Screen
from openfit_emulator.demo.stage import Stage
from openfit_token import Token, TokenError
from openfit_token._cli.output import OutputFailed
from openfit_token.testing import Emulator, State
from openfit_tokend.host import clock

PATIENCE: Final = 45.0
"""Seconds that an act may take: three times the life of the shortest token."""
ENOUGH: Final = 10
"""Failed API calls after which the demo gives up."""
_NOTHING: Final = State(0, 0, 0, 0, 0, 0, 0, (), 0, 0, {})
"""What a token server has counted that doesn't answer."""

Act = Callable[[], None]


def short(token: Token) -> str:
    """Return the beginning of a token's id, for people."""
    return f"{token.id[:4]}…"


class Aborted(Exception):
    """The demo can't go on. Says why."""


class Play(ABC):
    """One run of a demo, and its promises."""

    title: str
    introduction: str
    glance: float
    """Seconds between two looks at what happens."""

    def __init__(self, stage: Stage, screen: Screen) -> None:
        self.stage = stage
        self.screen = screen
        self.promises: list[Promise] = []
        self._told_failures = 0

    @property
    @abstractmethod
    def acts(self) -> tuple[Act, ...]:
        """What happens, in order."""

    @abstractmethod
    def judge(self, server: State) -> None:
        """Add the promises that are known only at the end. `server`: what it has counted."""

    def next_steps(self) -> str:
        """Return what to do after a demo that kept its promises: lines to copy."""
        return ""

    def run(self) -> bool:
        """Run the acts, print the summary, and return whether all promises were kept.

        Raises:
            NotStarted: a process doesn't start.
            OutputFailed: the output can't be written.
            KeyboardInterrupt: Ctrl-C before the end of the last act.
        """
        self.screen.text(f"{self.title}\n", "bold")
        self.screen.text(self.introduction)
        aborted = None
        try:
            for act in self.acts:
                act()
        except OutputFailed:
            raise
        except (Aborted, TokenError) as error:
            aborted = self.stage.ended() or str(error)
        except (OSError, HTTPException) as error:
            aborted = self.stage.ended() or f"the token server doesn't answer: {error}"
        self._sum_up(aborted)
        return all(promise.kept for promise in self.promises)

    @property
    def server(self) -> Emulator:
        """The token server. It raises OSError or HTTPException if it doesn't answer."""
        return self.stage.emulator

    def start_server(self, token_lifetime: int) -> None:
        """Start the token server, and tell so."""
        self.stage.start_server(token_lifetime)
        self.screen.event("server", f"stands in for OpenFIT (tokens, API): {self.server.url}")

    def until(self, what: str, seen: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Go on until something is observed. Raises: Aborted: it isn't within `patience` seconds."""
        deadline = clock.boot() + patience
        while not seen():
            if clock.boot() > deadline:
                raise Aborted(f"waited in vain for {what}")
            self.turn()

    def turn(self) -> None:
        """Read the scripts' output, and print what failed. Raises: Aborted."""
        self.stage.listen(self.glance)
        ended = self.stage.ended()
        if ended is not None:
            raise Aborted(ended)
        failures = self.stage.failures
        for failure in failures[self._told_failures :]:
            self.screen.event("scripts", failure, "red")
        self._told_failures = len(failures)
        if len(failures) >= ENOUGH:
            raise Aborted("too many API calls failed")

    @property
    def counts(self) -> list[int]:
        """The successful API calls of each script."""
        return [script.calls for script in self.stage.scripts]

    def _sum_up(self, aborted: str | None) -> None:
        try:
            server = self.server.state() if self.server.url else _NOTHING
        except (OSError, HTTPException):
            server = _NOTHING
        self.promises.insert(0, calls(self.counts, self.stage.failures, server))
        self.judge(server)
        if aborted is not None:
            self.promises.append(Promise("the demo ran to its end", kept=False, figures=aborted))
        self.screen.text("\nWhat was promised:", "bold")
        for promise in self.promises:
            self.screen.promise(promise)
        self.screen.text()
        if broken := [promise.text for promise in self.promises if not promise.kept]:
            self.screen.text(f"Broken: {'; '.join(broken)}", "red")
        elif steps := self.next_steps():
            self.screen.commands(steps)
