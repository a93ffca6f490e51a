"""`openfit-tokend demo --fleet`: three daemons share one session, and one is killed in a refresh."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from openfit_emulator.demo.observed import Counters, NoAnswer, TokenServer, profile_status
from openfit_emulator.demo.promises import Promise, kept
from openfit_emulator.demo.screen import Screen
from openfit_emulator.demo.stage import Stage
from openfit_emulator.demo.store import Store, start_store
from openfit_token import TokenClient, TokenError
from openfit_tokend.core.fleet import TERM
from openfit_tokend.core.schedule import RECENT
from openfit_tokend.host import clock

LIFETIME: Final = 600
"""Seconds that an access token lives: a quarter of them outlasts the claim of a daemon that is gone."""
DAEMONS: Final = ("alpha", "beta", "gamma")
VICTIM: Final = "beta"
OTHERS: Final = ("alpha", "gamma")
GLANCE: Final = 0.05
"""Seconds between two looks at the daemons."""
BEAT: Final = 10.0
"""Seconds between two lines while nothing happens."""
PATIENCE: Final = 45.0
"""Seconds that an act may take, apart from the wait for a daemon that is gone."""

_INTRODUCTION: Final = """\
Three daemons, as on three hosts, share one session: one login, one refresh
token. They agree by a row of a database, sealed with a key that only they have.

You will see one log in for all, one refresh for all, and one be killed in the
middle of its refresh. Nobody can tell then whether its request was acted upon,
so the others wait {term:.0f} s, and serve the live token meanwhile.
All of this really runs, on this machine only, and is removed at the end.
"""


@dataclass
class Seen:
    """What was recorded."""

    calls: tuple[int, ...] = ()
    failures: tuple[str, ...] = ()
    server: Counters = field(default_factory=Counters)
    known_after: float | None = None
    """Seconds after which all held the token that one had requested."""
    replaced_after: float | None = None
    """Seconds from the daemon's end to the next token."""
    calls_meanwhile: int = 0
    back_with_it: bool = False
    """The killed daemon held the others' token once it was back."""
    aborted: str | None = None


def judge(seen: Seen) -> tuple[Promise, ...]:
    """Return every promise. One without any observation counts as broken."""
    known, replaced, server = seen.known_after, seen.replaced_after, seen.server
    calls, failed = sum(seen.calls), len(seen.failures)
    promises = (
        Promise(
            "no API call failed",
            kept=not failed and bool(calls),
            figures=f"{calls} calls succeeded, {failed} failed",
        ),
        Promise(
            "one login served three daemons",
            kept=server.login_requests == server.logins == 1,
            figures=f"password sent: {server.login_requests}; tokens requested in all:"
            f" {server.token_requests}",
        ),
        Promise(
            "what one daemon obtained, all had at once",
            kept=known is not None,
            figures="not seen" if known is None else f"after {known * 1000:.0f} ms",
        ),
        Promise(
            "a daemon was killed in a refresh, and another finished the job",
            kept=replaced is not None and seen.calls_meanwhile > 0,
            figures="not seen"
            if replaced is None
            else f"after {replaced:.0f} s; API calls meanwhile: {seen.calls_meanwhile}",
        ),
        Promise(
            "it came back without a login",
            kept=seen.back_with_it,
            figures="it holds the others' token" if seen.back_with_it else "not seen",
        ),
    )
    if seen.aborted is None:
        return promises
    return (*promises, Promise("the demo ran to its end", kept=False, figures=seen.aborted))


class _Aborted(Exception):
    """The demo can't go on. Says why."""


class FleetPlay:
    """One run, and what was recorded in it."""

    def __init__(self, stage: Stage, screen: Screen, store: Store) -> None:
        self._stage = stage
        self._store = store
        self._screen = screen
        self._clients = {name: TokenClient(socket=str(stage.socket_of(name))) for name in DAEMONS}
        self._server = TokenServer("")
        self._url = self._fleet = ""
        self._seen = Seen()

    def run(self) -> Sequence[Promise]:
        """Run the acts, print the summary, and return the promises.

        Raises:
            NotStarted: a process doesn't start.
            OutputFailed: the output can't be written.
            KeyboardInterrupt: Ctrl-C before the end of the last act.
        """
        self._screen.text("openfit-tokend demo --fleet: about two minutes\n", "bold")
        self._screen.text(_INTRODUCTION.format(term=TERM))
        try:
            self._acts()
        except (_Aborted, NoAnswer, TokenError) as error:
            self._seen.aborted = str(error)
        finally:
            for client in self._clients.values():
                client.close()
        with suppress(NoAnswer):  # then the promises about it count as broken
            self._seen.server = self._server.counters()
        self._seen.calls = tuple(script.calls for script in self._stage.scripts)
        self._seen.failures = tuple(self._stage.failures)
        promises = judge(self._seen)
        self._screen.text("\nWhat was promised:", "bold")
        for promise in promises:
            self._screen.promise(promise)
        if not kept(promises):
            self._screen.text("\nBroken: see above", "red")
        return promises

    # The acts

    def _acts(self) -> None:
        self._start()
        self._refresh()
        began = self._kill()
        self._wait_for_others(began)
        self._come_back()

    def _start(self) -> None:
        self._url = self._stage.start_server(LIFETIME)
        self._server = TokenServer(self._url)
        self._screen.event("server", f"stands in for OpenFIT (tokens, API): {self._url}")
        self._fleet = start_store(self._store, self._stage)
        self._screen.event("store", f"{self._store.name} runs; it gets the row, and not the key")
        for name in DAEMONS:
            self._stage.start_daemon(self._url, name, self._fleet)
        self._screen.event("daemons", f"{', '.join(DAEMONS)} are running")
        self._until("one token at all daemons", lambda: self._common(DAEMONS) is not None)
        logins = self._server.counters().login_requests
        self._screen.event(
            "daemons", f"all hold token {self._common(DAEMONS)}; logins: {logins}", "cyan"
        )
        for _ in self._stage.start_scripts(OTHERS):
            self._stage.listen(0.25)  # so that they call in turn
        self._screen.event("scripts", f"call the API by {' and '.join(OTHERS)}")

    def _refresh(self) -> None:
        self._until("a token of some age", self._is_older)  # a newer one would answer the call
        before = self._common(DAEMONS)
        self._clients["gamma"].refresh()
        began = clock.boot()
        self._until("the new token", lambda: self._common(DAEMONS) not in {None, before})
        self._seen.known_after = clock.boot() - began
        self._screen.event(
            "gamma",
            f"was told to refresh: {before} -> {self._common(DAEMONS)}, at all"
            f" after {self._seen.known_after * 1000:.0f} ms",
            "cyan",
        )

    def _kill(self) -> float:
        self._until("a token of some age", self._is_older)
        asked = self._server.counters().token_requests
        self._server.hang()
        with suppress(TokenError):  # there is no answer yet
            self._clients[VICTIM].refresh(wait=0)
        self._until("a token request", lambda: self._server.counters().token_requests > asked)
        self._stage.kill(VICTIM)
        self._screen.event(VICTIM, "KILLED while it waits for the token server's answer", "yellow")
        return clock.boot()

    def _wait_for_others(self, began: float) -> None:
        before, calls, told = self._common(OTHERS), self._calls(), began
        while self._common(OTHERS) in {None, before}:
            if clock.boot() > began + TERM + PATIENCE:
                raise _Aborted("waited in vain for another daemon to refresh")
            if clock.boot() > told + BEAT:
                told += BEAT
                gone = told - began
                bar = self._screen.gauge(gone / TERM, 15)
                self._screen.event(
                    "others",
                    f"{bar} {gone:.0f} s; {self._calls() - calls} calls, "
                    f"{len(self._stage.failures)} failed",
                    "green",
                )
            self._turn()
        self._seen.replaced_after = clock.boot() - began
        self._seen.calls_meanwhile = self._calls() - calls
        self._screen.event(
            "others",
            f"took over after {self._seen.replaced_after:.0f} s: {before} ->"
            f" {self._common(OTHERS)}",
            "cyan",
        )

    def _come_back(self) -> None:
        self._stage.start_daemon(self._url, VICTIM, self._fleet)
        self._until("the token at the daemon that was killed", self._all_agree)
        self._seen.back_with_it = True
        self._screen.event(VICTIM, f"is back, with token {self._common(DAEMONS)}", "cyan")

    # What they wait for

    def _until(self, what: str, seen: Callable[[], bool]) -> None:
        deadline = clock.boot() + PATIENCE
        while not seen():
            if clock.boot() > deadline:
                raise _Aborted(f"waited in vain for {what}")
            self._turn()

    def _turn(self) -> None:
        self._stage.listen(GLANCE)
        ended = self._stage.ended()
        if ended is not None:
            raise _Aborted(ended)

    def _is_older(self) -> bool:
        token = profile_status(self._clients["gamma"]).token
        return token is not None and token.left < LIFETIME - RECENT - 2

    def _all_agree(self) -> bool:
        return self._common(DAEMONS) is not None

    def _common(self, names: Sequence[str]) -> str | None:
        """Return the token that all of these hold; None: they differ, or one has none."""
        held = {self._held(name) for name in names}
        return held.pop() if len(held) == 1 else None

    def _held(self, name: str) -> str | None:
        token = profile_status(self._clients[name]).token
        return None if token is None else token.id

    def _calls(self) -> int:
        return sum(script.calls for script in self._stage.scripts)
