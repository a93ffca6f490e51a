"""A fleet of real daemons on one machine, each with a directory of its own."""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from threading import Thread
from typing import Final

from daemons import PATIENCE, RunningDaemon, await_that, prepared_daemon, profile, write_secret
from emulators import PASSWORD, RunningEmulator
from stores.server import OWNER, StoreServer
from stores.server import PASSWORD as STORE_PASSWORD

KEY: Final = "0123456789abcdef" * 4
OTHER_KEY: Final = "fedcba9876543210" * 4

_START: Final = 3.0
"""Seconds of all processors that the start of one may take where much else runs."""


class Hosts:
    """The daemons of a fleet, none of which is started."""

    def __init__(self, stack: ExitStack, url: str, emulator: RunningEmulator, table: str) -> None:
        self.all: list[RunningDaemon] = []
        self._stack = stack
        self._url = url
        self._emulator = emulator
        self._table = table

    def add(self, count: int = 1, *, password: str = PASSWORD, key: str = KEY) -> None:
        """Add daemons with this secret, and this key of the fleet."""
        for _ in range(count):
            table = fleet_table(self._url, f"host-{len(self.all)}", self._table)
            table += f"loopback_user = {OWNER}\n"
            daemon = self._stack.enter_context(
                prepared_daemon(table, profile(self._emulator.url), password=password)
            )
            daemon.is_paced = False
            write_secrets(daemon, key)
            self.all.append(daemon)

    def start(self, first: str = "") -> None:
        """Start all that there are at once; `first` is what each does first."""
        for each in self.all:
            each.begin(first=first)
        for each in self.all:
            each.await_answers(PATIENCE + len(self.all) * _START)

    def await_one_token(self, other_than: str = "") -> str:
        """Wait until all hosts have the same token, and return its id."""
        found: set[str] = set()

        def agreed() -> bool:
            found.clear()
            found.update(token_id(each) for each in self.all)
            return len(found) == 1 and other_than not in found

        await_that(agreed, lambda: "\n".join(each.log() for each in self.all))
        return found.pop()

    def replace_token(self, old: str, number: int) -> str:
        """Refuse a token at one host, wait until all have the next, and return its id."""
        self.all[number].call("refuse", id=old, wait=60)
        return self.await_one_token(other_than=old)


def token_id(daemon: RunningDaemon, wait: float = 60) -> str:
    """Return the id of the token that a daemon hands out."""
    return str(daemon.call("get_token", wait=wait)["id"])


def fleet_table(url: str, member: str = "host", table: str = "openfit_fleet") -> str:
    """Return the table [fleet] of a configuration."""
    values = {
        "store": url,
        "store_password_file": "store.password",
        "key_file": "fleet.key",
        "member": member,
        "table": table,
    }
    return "\n".join(["[fleet]", *(f'{key} = "{value}"' for key, value in values.items()), ""])


def write_secrets(daemon: RunningDaemon, key: str = KEY) -> None:
    """Write the files that `fleet_table` names."""
    write_secret(daemon.directory / "store.password", STORE_PASSWORD)
    write_secret(daemon.directory / "fleet.key", f"{key}\n")


@contextmanager
def hosts(
    server: StoreServer,
    emulator: RunningEmulator,
    table: str,
    count: int = 0,
    others: Sequence[StoreServer] = (),
) -> Generator[Hosts]:
    """Prepare a fleet whose daemons are killed at the end. `others`: more servers of the same store."""
    first = str(server.host)
    url = server.url.replace(first, ",".join([first, *(str(each.host) for each in others)]))
    with ExitStack() as stack:
        prepared = Hosts(stack, url, emulator, table)
        prepared.add(count)
        yield prepared


def at_once(daemons: Iterable[RunningDaemon], do: Callable[[RunningDaemon], object]) -> None:
    """Do something with each of them, and wait for all; what fails fails the test."""
    failures: list[BaseException] = []

    def work(daemon: RunningDaemon) -> None:
        try:
            do(daemon)
        except BaseException as failure:  # noqa: BLE001 -- raised below
            failures.append(failure)

    threads = [Thread(target=work, args=(daemon,)) for daemon in daemons]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
