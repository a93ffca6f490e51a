"""What tests of failures share: many scenes at one daemon, clients that never stop, read logs.

Waits are long here, so scenes run side by side: each has a token server of its own, and is a
profile of the one daemon.

with scenes(lost=Scene("lost-answer@refresh:1")) as stage:
    ... stage["lost"].emulator, stage["lost"].reader, stage["lost"].token() ...
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Event, Thread
from typing import Any

import httpx

from daemons import PATIENCE, RunningDaemon, profile, running_daemon
from emulators import PASSWORD, RunningEmulator, client, running_emulator
from openfit_emulator.identity import Rules
from openfit_emulator.journal import TokenRequest
from openfit_token import Token, TokenClient, TokenError
from openfit_tokend.host import clock

LIFETIME = 20
"""Seconds that a scene's tokens live, unless it says otherwise."""
SLACK = 1.0
"""Seconds by which a busy machine may be late."""
_ASK_EACH = 0.02
_CALL_API_EACH = 10


class Reader:
    """A client that asks for tokens all the time, and uses them at the API. Begins when told to.

    It never waits: a moment without a token is a gap. A 401 counts only if the API gave it before
    the end that the daemon had promised.
    """

    def __init__(self, tokens: TokenClient, web: httpx.Client) -> None:
        self.gaps: list[str] = []
        self.refused: list[str] = []
        self.ids: list[str] = []
        """Of the tokens, in the order in which they came."""
        self._tokens = tokens
        self._web = web
        self._enough = Event()
        self._thread = Thread(target=self._read, daemon=True)

    def start(self) -> None:
        """Wait for the first token, and go on from there."""
        self._tokens.get_token(wait=PATIENCE)
        self._thread.start()

    def stop(self) -> None:
        """Stop asking."""
        self._enough.set()
        if self._thread.ident is not None:
            self._thread.join(PATIENCE)
        self._tokens.close()

    def _read(self) -> None:
        turn = 0
        while not self._enough.wait(_ASK_EACH):
            asked = clock.boot()
            try:
                token = self._tokens.get_token(wait=0)
            except TokenError as error:
                self.gaps.append(f"{error.code} at {asked:.3f}: {error}")
                continue
            new = not self.ids or self.ids[-1] != token.id
            if new:
                self.ids.append(token.id)
            if new or turn % _CALL_API_EACH == 0:
                self._use(token, asked)
            turn += 1

    def _use(self, token: Token, asked: float) -> None:
        status = api(self._web, token)
        if status != 200 and clock.boot() < asked + token.expires_in:
            self.refused.append(f"{status} for {token.id}, {token.expires_in:.3f} s before its end")


def api(web: httpx.Client, token: Token) -> int:
    """Return the status of an API call with this token."""
    return web.get("/api/me", headers={"Authorization": token.authorization}).status_code


@dataclass(frozen=True)
class Scene:
    """What goes wrong for one profile."""

    faults: tuple[str, ...] = ()
    rules: Rules = field(default_factory=lambda: Rules(token_lifetime=LIFETIME))
    reads: bool = False
    """A Reader runs from the first token on."""
    away: bool = False
    """The token server isn't there at the start."""


@dataclass(frozen=True)
class Staged:
    """A running scene."""

    name: str
    emulator: RunningEmulator
    daemon: RunningDaemon
    reader: Reader
    web: httpx.Client

    def call(self, method: str, **params: object) -> dict[str, Any]:
        return self.daemon.call(method, profile=self.name, **params)

    def token(self, wait: float = PATIENCE) -> dict[str, Any]:
        return self.call("get_token", wait=wait)

    def status(self) -> dict[str, Any]:
        return self.daemon.profile_status(self.name)

    def requests(self, grant: str = "") -> list[TokenRequest]:
        """Return the token requests until now, or those of one kind."""
        return [each for each in self.emulator.state().log if grant in ("", each.grant)]


@contextmanager
def scenes(**by_name: Scene) -> Generator[Mapping[str, Staged]]:
    """Run scenes at the same time. They start at once, and the readers at their first token."""
    with ExitStack() as stack:
        emulators = {
            name: stack.enter_context(running_emulator(*scene.faults, rules=scene.rules))
            for name, scene in by_name.items()
        }
        for name, scene in by_name.items():
            if scene.away:
                emulators[name].stop()
        tables = [profile(emulator.url, name) for name, emulator in emulators.items()]
        daemon = stack.enter_context(running_daemon(*tables))
        staged: dict[str, Staged] = {}
        for name, emulator in emulators.items():
            web = stack.enter_context(client(emulator))
            reader = Reader(daemon.client(name), web)
            stack.callback(reader.stop)
            staged[name] = Staged(name, emulator, daemon, reader, web)
        for name, scene in by_name.items():
            if scene.reads:
                staged[name].reader.start()
        yield staged


def told(requests: list[TokenRequest]) -> list[tuple[str, str]]:
    """Return the requests and their outcomes."""
    return [(each.grant, each.outcome) for each in requests]


def pauses(requests: list[TokenRequest]) -> list[float]:
    """Return the seconds between the end of each request and the beginning of the next."""
    return [
        after.at - (before.at if before.ended is None else before.ended)
        for before, after in pairwise(requests)
    ]


def outcome(call: Callable[[], object]) -> TokenError:
    """Return the error that a call ends with."""
    try:
        call()
    except TokenError as error:
        return error
    raise AssertionError("it succeeded")


def secrets_in(text: str) -> list[str]:
    """Return a pattern for the secrets of these tests: the password, and the emulator's tokens."""
    hexadecimal = "0123456789ABCDEF"
    words = "".join(c if c in hexadecimal else " " for c in text).split()
    found = [word for word in words if len(word) == 64]
    return found + [secret for secret in (PASSWORD, "eyJ") if secret in text]
