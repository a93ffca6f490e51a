"""`openfit-tokend demo --fleet`: three daemons share one session, and one is killed in a refresh."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from openfit_emulator.demo.play import PATIENCE, Act, Play, short
from openfit_emulator.demo.promises import Promise, login, taken_over
from openfit_emulator.demo.screen import Screen
from openfit_emulator.demo.stage import Stage
from openfit_emulator.demo.store import Store, start_store
from openfit_token import TokenError
from openfit_token.testing import State
from openfit_tokend.core.fleet.row import TERM
from openfit_tokend.core.schedule import RECENT
from openfit_tokend.host import clock

LIFETIME: Final = 600
"""Seconds that an access token lives: a quarter of them outlasts the claim of a daemon that is gone."""
DAEMONS: Final = ("alpha", "beta", "gamma")
VICTIM: Final = "beta"
OTHERS: Final = ("alpha", "gamma")
BEAT: Final = 10.0
"""Seconds between two lines while nothing happens."""


class Fleet(Play):
    """The demo with three daemons."""

    title = "openfit-tokend demo --fleet: about two minutes"
    introduction = f"""\
Three daemons, as on three hosts, share one session: one login, one refresh
token. They agree by a row of a database, sealed with a key that only they have.

You will see one log in for all, one refresh for all, and one be killed in the
middle of its refresh. Nobody can tell then whether its request was acted upon,
so the others wait {TERM:.0f} s, and serve the live token meanwhile.
All of this really runs, on this machine only, and is removed at the end.
"""
    glance = 0.05

    def __init__(self, stage: Stage, screen: Screen, store: Store) -> None:
        super().__init__(stage, screen)
        self._store = store
        self._fleet = ""
        self._killed_at = self._next_beat = 0.0
        self._calls_before = 0

    @property
    def acts(self) -> tuple[Act, ...]:
        """What happens, in order."""
        return (self._start, self._refresh, self._kill, self._wait_for_others, self._come_back)

    def judge(self, server: State) -> None:
        """Add the promise that is known only at the end."""
        more = f"tokens requested in all: {server.token_requests}"
        self.promises.insert(1, login("three daemons", server, more))

    # The acts

    def _start(self) -> None:
        self.start_server(LIFETIME)
        self._fleet = start_store(self._store, self.stage)
        self.screen.event("store", f"{self._store.name} runs; it gets the row, and not the key")
        for name in DAEMONS:
            self.stage.start_daemon(name, self._fleet)
        self.screen.event("daemons", f"{', '.join(DAEMONS)} are running")
        self.until("one token at all daemons", lambda: self._common(DAEMONS) is not None)
        logins = self.server.state().login_requests
        self.screen.event(
            "daemons", f"all hold token {self._common(DAEMONS)}; logins: {logins}", "cyan"
        )
        self.stage.start_scripts(OTHERS)
        self.screen.event("scripts", f"call the API by {' and '.join(OTHERS)}")

    def _refresh(self) -> None:
        self.until("a token of some age", self._is_older)  # a newer one would answer the call
        before = self._common(DAEMONS)
        self.stage.clients["gamma"].refresh()
        began = clock.boot()
        self.until("the new token", lambda: self._common(DAEMONS) not in {None, before})
        after = f"after {(clock.boot() - began) * 1000:.0f} ms"
        self.screen.event(
            "gamma",
            f"was told to refresh: {before} -> {self._common(DAEMONS)}, at all {after}",
            "cyan",
        )
        self.promises.append(
            Promise("what one daemon obtained, all had at once", kept=True, figures=after)
        )

    def _kill(self) -> None:
        self.until("a token of some age", self._is_older)
        asked = self.server.state().token_requests
        self.server.fault("hang")
        with suppress(TokenError):  # there is no answer yet
            self.stage.clients[VICTIM].refresh(wait=0)
        self.until("a token request", lambda: self.server.state().token_requests > asked)
        self.stage.kill(VICTIM)
        self.screen.event(VICTIM, "KILLED while it waits for the token server's answer", "yellow")
        self._killed_at, self._next_beat = clock.boot(), BEAT
        self._calls_before = sum(self.counts)

    def _wait_for_others(self) -> None:
        before = self._common(OTHERS)

        def took_over() -> bool:
            self._tell_calls()
            return self._common(OTHERS) not in {None, before}

        self.until("another daemon to refresh", took_over, TERM + PATIENCE)
        seconds = clock.boot() - self._killed_at
        self.promises.append(taken_over(seconds, sum(self.counts) - self._calls_before))
        self.screen.event(
            "others",
            f"took over after {seconds:.0f} s: {before} -> {self._common(OTHERS)}",
            "cyan",
        )

    def _come_back(self) -> None:
        self.stage.start_daemon(VICTIM, self._fleet)
        self.until("the token at the daemon that was killed", lambda: bool(self._common(DAEMONS)))
        self.screen.event(VICTIM, f"is back, with token {self._common(DAEMONS)}", "cyan")
        self.promises.append(
            Promise("it came back without a login", kept=True, figures="it holds the others' token")
        )

    # What they look at

    def _tell_calls(self) -> None:
        gone = clock.boot() - self._killed_at
        if gone > self._next_beat:
            self._next_beat += BEAT
            bar = self.screen.gauge(gone / TERM, 15)
            calls = sum(self.counts) - self._calls_before
            failed = len(self.stage.failures)
            self.screen.event(
                "others", f"{bar} {gone:.0f} s; {calls} calls, {failed} failed", "green"
            )

    def _is_older(self) -> bool:
        left = self.stage.clients["gamma"].get_token().expires_in
        return left < LIFETIME - RECENT - 2

    def _common(self, names: Sequence[str]) -> str | None:
        """Return the token that all of these give; None: they differ."""
        given = {short(self.stage.clients[name].get_token()) for name in names}
        return given.pop() if len(given) == 1 else None
