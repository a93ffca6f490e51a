"""What outlives a restart: the ledgers, by the daemon's own form of the file, but kept in memory."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, final

from openfit_tokend.core.budget import Ledger
from openfit_tokend.core.settings.values import Account
from openfit_tokend.storage import ledger_file
from openfit_tokend.storage.ledger_file import Ledgers

OTHER_BOOT: Final = 12_345.5
"""Seconds by which another boot's clock differed."""


@dataclass(frozen=True, slots=True)
class _Clocks:
    """What the state file's module takes for `clock`."""

    now: float
    epoch: float

    def boot(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.epoch


@final
class Disk:
    """The state of all accounts."""

    def __init__(self, salt: bytes) -> None:
        self._ledgers = Ledgers(salt)

    def ledger(self, account: Account) -> Ledger:
        """Return what is known of an account."""
        return self._ledgers.ledger(account)

    def put(self, account: Account, ledger: Ledger) -> None:
        """Write down what is known of an account."""
        by_account: Mapping[Account, Ledger] = {**self._ledgers.by_account, account: ledger}
        self._ledgers = replace(self._ledgers, by_account=by_account)

    def mark(self, name: int, *, logged_out: bool) -> None:
        """Write down whether a profile is logged out."""
        marks = self._ledgers.logged_out
        marks = marks | {str(name)} if logged_out else marks - {str(name)}
        self._ledgers = replace(self._ledgers, logged_out=marks)

    def is_logged_out(self, name: int) -> bool:
        """Return whether a profile was logged out."""
        return str(name) in self._ledgers.logged_out

    def save(self, now: float, *, rebooted: bool) -> str:
        """Return the file as it lies there; `rebooted`: with times of another boot's clock."""
        ledgers, shift = self._ledgers, OTHER_BOOT if rebooted else 0.0
        if rebooted:
            moved = {who: _moved(ledger, shift) for who, ledger in ledgers.by_account.items()}
            ledgers = replace(ledgers, by_account=moved)
        ledgers = replace(ledgers, saved_at=now + shift)
        return json.dumps(_by(ledgers, _Clocks(now + shift, -shift), "before"))

    def load(self, text: str, now: float, *, rebooted: bool) -> None:
        """Read the file, as the daemon does when it starts."""
        boot = "after" if rebooted else "before"
        self._ledgers = _read(text, _Clocks(now, 0.0), boot)


def _moved(ledger: Ledger, seconds: float) -> Ledger:
    return replace(
        ledger,
        entries=tuple(replace(entry, at=entry.at + seconds) for entry in ledger.entries),
        announced=ledger.announced + seconds,
        refused_sent=ledger.refused_sent + seconds,
    )


# The file's own code reads clocks and the boot's id; for these two calls it is lent others. That
# is white-box, but what a restart forgets is best seen with the very code that reads the file.


def _by(ledgers: Ledgers, clocks: _Clocks, boot: str) -> object:
    with _lent(clocks, boot):
        return ledger_file.formed(ledgers)


def _read(text: str, clocks: _Clocks, boot: str) -> Ledgers:
    with _lent(clocks, boot):
        return ledger_file.parsed(json.loads(text))


@contextmanager
def _lent(clocks: _Clocks, boot: str) -> Generator[None]:
    lent = {"clock": clocks, "boot_id": lambda: boot}
    own = {name: getattr(ledger_file, name) for name in lent}
    for name, value in lent.items():
        setattr(ledger_file, name, value)
    try:
        yield
    finally:
        for name, value in own.items():
            setattr(ledger_file, name, value)
