"""Callers of the healing proxy, while the API refuses token after token.

PYTHONPATH=tests/support python -m healing --seconds 30
"""

import argparse
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread
from typing import Final, NamedTuple

from api import Api, running_api, tls
from daemons import RunningDaemon, await_that, prepared_daemon, profile
from emulators import RunningEmulator, running_emulator
from openfit_tokend.host import clock
from proxies import API_HOST, PROXIES, Proxy

CALLERS: Final = 10
RATE: Final = 200
"""Requests a second, of all callers together."""
BODY: Final = bytes(range(256)) * 256
"""64 KiB."""
TOKEN_LIVES: Final = 1.0
"""Seconds. No proxy could help a caller whose request takes longer than that: it is repeated once."""
HURRIED: Final = """
from openfit_tokend.core import schedule
assert (schedule.PAUSE, schedule.RECENT) == (1, 10), "the pauses have moved"
schedule.PAUSE, schedule.RECENT = 0.01, 0
"""
"""What the daemon does first, so that a refused token is replaced at once, not ten seconds later."""


@dataclass
class Called:
    """What callers of a proxy got."""

    done: int = 0
    failed: list[str] = field(default_factory=list[str])
    slowest: float = 0.0
    """Seconds."""
    _lock: Lock = field(default_factory=Lock)

    def await_an_answer_each(self) -> None:
        """Wait until each caller was answered since now."""
        enough = self.done + 2 * CALLERS
        await_that(lambda: self.done >= enough, lambda: self)

    def note(self, seconds: float, failure: str) -> None:
        """Count a request; `failure`: empty if it had none."""
        with self._lock:
            self.done += 1
            self.slowest = max(self.slowest, seconds)
            if failure:
                self.failed.append(failure)


@contextmanager
def calling(proxy: Proxy, posted: bytes | None = BODY) -> Generator[Called]:
    """Let callers send GET and POST in turn, at RATE, until the end of the block.

    `posted` None: GET alone.
    """
    called, stop = Called(), Event()
    threads = [
        Thread(target=_call, args=(proxy, posted, called, stop, number))
        for number in range(CALLERS)
    ]
    for thread in threads:
        thread.start()
    try:
        called.await_an_answer_each()
        yield called
        called.await_an_answer_each()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _call(proxy: Proxy, posted: bytes | None, called: Called, stop: Event, number: int) -> None:
    due = clock.boot() + number / RATE
    with closing(proxy.connection()) as link:
        while not stop.wait(max(0.0, due - clock.boot())):
            due = max(due + CALLERS / RATE, clock.boot() - 1.0)
            number += 1
            began = clock.boot()
            try:
                body = posted if number % 2 else None
                link.request("POST" if body else "GET", "/v1/echo", body)
                answer = link.getresponse()
                got = answer.read()
                wrong = answer.status != 200 or got != (body or b"")
                failure = f"{answer.status} {got[:300]!r}" if wrong else ""
            except (OSError, HTTPException) as error:
                failure = repr(error)
                link.close()
            called.note(clock.boot() - began, failure)


def kill_tokens(daemon: RunningDaemon, api: Api, seconds: float) -> int:
    """Let the API refuse each token once it was the current one for a second; return how many."""
    until, killed, pause = clock.boot() + seconds, 0, Event()
    while clock.boot() < until:
        access = daemon.call("get_token", wait=0)
        api.refused.add(access["access_token"])
        killed += 1

        def is_replaced(old: str = access["id"]) -> bool:
            return bool(daemon.call("get_token")["id"] != old)

        await_that(is_replaced, daemon.log)
        pause.wait(TOKEN_LIVES)
    return killed


class World(NamedTuple):
    """All that takes part."""

    emulator: RunningEmulator
    api: Api
    daemon: RunningDaemon
    proxy: Proxy

    def token(self, name: str = "main") -> str:
        """Return the current token of a profile."""
        return str(self.daemon.call("get_token", profile=name)["access_token"])


@contextmanager
def running_world(
    *changes: tuple[str, str], profiles: tuple[str, ...] = ("main",), program: str = "nginx"
) -> Generator[World]:
    """Run a proxy between callers and an API, with a daemon that replaces tokens at once.

    `changes`: of the shipped file.
    """
    with (
        TemporaryDirectory(prefix="oft-") as name,
        running_emulator() as emulator,
        prepared_daemon() as daemon,
    ):
        directory = Path(name)
        secured, trusted = tls(directory, API_HOST)
        http = directory / "http"
        daemon.write_config(
            f'http_socket = "{http}"\ndefault_profile = "main"',
            *(profile(emulator.url, name) for name in profiles),
        )
        daemon.start(first=HURRIED)
        with (
            running_api(secured) as api,
            PROXIES[program](http, api.url, trusted, *changes) as proxy,
        ):
            yield World(emulator, api, daemon, proxy)


def main() -> None:
    """Print what callers saw."""
    parser = argparse.ArgumentParser(prog="healing", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="(30)")
    seconds: float = parser.parse_args().seconds
    with running_world() as world:
        world.daemon.await_state("fresh")
        before = world.emulator.state().refreshes
        began = clock.boot()
        with calling(world.proxy) as called:
            killed = kill_tokens(world.daemon, world.api, seconds)
        took = clock.boot() - began
        refreshes = world.emulator.state().refreshes - before
    print(  # noqa: T201 -- what was asked for
        f"{called.done} requests in {took:.0f} s ({called.done / took:.0f}/s), {len(called.failed)} failed;"
        f" {killed} tokens killed, {refreshes} refreshes; the slowest took {called.slowest * 1e3:.0f} ms"
    )
    with suppress(IndexError):
        print(called.failed[0])  # noqa: T201 -- what was asked for


if __name__ == "__main__":
    main()
