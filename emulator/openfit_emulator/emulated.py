"""The emulated server: its model, faults, journal and clock."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from openfit_emulator.faults import parse
from openfit_emulator.identity import IdentityServer, Rules
from openfit_emulator.journal import Account, Journal, State
from openfit_emulator.script import Script
from openfit_tokend.host import clock


class Emulator:
    """Owns everything about one emulated server. It can be served, stopped and served again.

    It belongs to the event loop that serves it. Its clock starts at the wall clock's time and
    then runs with CLOCK_BOOTTIME, so that it never jumps.
    """

    def __init__(
        self,
        users: Mapping[str, str],
        rules: Rules | None = None,
        faults: Iterable[str] = (),
    ) -> None:
        """`users`: their passwords by name. Raises: ValueError: a fault is invalid."""
        self.identity = IdentityServer(rules or Rules(), users)
        self.script = Script()
        self.journal = Journal()
        self.now = _steady_clock()
        self._started = self.now()
        for text in faults:
            self.fault(text)

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return self.now() - self._started

    def fault(self, text: str) -> None:
        """Add a fault. Raises: ValueError: it is invalid."""
        self.script.add(parse(text))

    def state(self) -> State:
        """Return the current counters and log."""
        now, journal = self.now(), self.journal
        sessions = self.identity.sessions(now)
        return State(
            uptime=self.elapsed(),
            token_requests=journal.requests.total(),
            login_requests=journal.requests["login"],
            refresh_requests=journal.requests["refresh"],
            logins=journal.granted["login"],
            refreshes=journal.granted["refresh"],
            logins_rejected=journal.rejected["login"],
            refreshes_rejected=journal.rejected["refresh"],
            faulted=journal.faulted,
            revocations=journal.revocations,
            api_ok=journal.api_ok,
            api_refused=journal.api_refused,
            max_concurrent=dict(journal.max_concurrent),
            users={
                user.name: Account(
                    user.failed,
                    max(0.0, user.locked_until - now),
                    sessions[user.name],
                )
                for user in self.identity.users()
            },
            faults=tuple(self.script.texts()),
            log=tuple(replace(entry) for entry in journal.log),
        )


def _steady_clock() -> Callable[[], float]:
    offset = clock.wall() - clock.boot()
    return lambda: offset + clock.boot()
