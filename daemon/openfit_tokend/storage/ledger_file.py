"""The ledger file: what must survive a restart, and is no secret.

It holds the times of rejected logins, 16 bits of a salted hash of each rejected password, and
which profiles an operator logged out. Times are CLOCK_BOOTTIME; the file says of which boot, and
what the wall clock showed. So after a reboot the remaining waits are known, up to a whole window.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from errno import EBUSY, EPERM, ESTALE
from math import inf
from pathlib import Path
from typing import Final, cast

from openfit_token._shared.frozen import frozen
from openfit_token._shared.trusted_path import Untrusted, judge_directory
from openfit_tokend.core import budget
from openfit_tokend.core.budget import LATE, WINDOW, Entry, Fingerprint, Ledger
from openfit_tokend.core.settings.values import Account
from openfit_tokend.host import clock, lock_file, log
from openfit_tokend.host.home import user_directory
from openfit_tokend.host.regular_file import Unusable, named_once, read, refuse_writable
from openfit_tokend.host.replaced_file import replace
from openfit_tokend.storage.plain import finite, text

VERSION: Final = 2
"""The version of the file's form."""
READABLE: Final = (1, 2)
"""Versions that can be read. The first had an identity with each profile's name."""
MAX_SIZE: Final = 16 * 1024 * 1024
"""Bytes of the file: ten times what 4,000 accounts need."""
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

Json = Mapping[str, object]
_Identity = tuple[int, int]
"""Which file this is: its number, and when it was written, in nanoseconds."""


@frozen
class Ledgers:
    """The file's content. `unknown`: the ledger of an account that it doesn't name."""

    salt: bytes
    by_account: Mapping[Account, Ledger] = field(default_factory=dict[Account, Ledger])
    logged_out: frozenset[str] = frozenset()
    """Profiles that an operator logged out, until an operator logs them in."""
    unknown: Ledger = field(default_factory=Ledger)
    saved_at: float = -inf
    """CLOCK_BOOTTIME until which it is complete; -inf: for nothing of this boot."""
    salts: Mapping[Account, bytes] = field(default_factory=dict[Account, bytes])
    """Of accounts whose ledger came from a fleet, which has its own for each."""

    def ledger(self, account: Account) -> Ledger:
        """Return what is known about an account."""
        return self.by_account.get(account, self.unknown)

    def salt_of(self, account: Account) -> bytes:
        """Return the salt of an account's fingerprints."""
        return self.salts.get(account, self.salt)


def ledger_path(config_path: Path) -> Path:
    """Return where the file is: in $STATE_DIRECTORY (systemd.exec(5)), else in the user's state directory.

    There each configuration has its own file, so that two daemons of one user don't share one. May
    block.

    Raises:
        ConfigRejected: the user has no home.
    """
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given).absolute() / "ledger.json"
    which = hashlib.sha256(os.fsencode(named_once(config_path))).hexdigest()[:12]
    return user_directory("state") / "openfit-tokend" / f"ledger-{which}.json"


class LedgerFile:
    """Reads and writes the file, always as a whole. Only who has locked it writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        self._loaded: _Identity | None = None

    def load(self) -> Ledgers:
        """Return the ledgers; a missing file counts as empty, a damaged one is logged."""
        salt = secrets.token_bytes(16)
        try:
            content = self._read()
            return Ledgers(salt) if content is None else parsed(json.loads(content))
        except Untrusted as untrusted:
            reason = str(untrusted)
        except Unusable as unusable:
            reason = unusable.message
        except OSError as error:
            reason = error.strerror or "can't be read"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            reason = "not a ledger of this version"
        log.warning(
            "state_unreadable",
            path=self.path,
            reason=reason,
            hint="counted as two of three rejected logins; the file will be rewritten if it can be",
        )
        return Ledgers(salt, unknown=budget.unreadable(clock.boot()))

    def save(self, ledgers: Ledgers) -> None:
        """Replace the file atomically. It is on disk when this returns.

        `ledgers.saved_at` must be a time of this boot.

        Raises:
            OSError: it can't be written, or another process uses it.
        """
        try:
            self._make_directory()
        except Untrusted as untrusted:
            raise PermissionError(EPERM, f"{untrusted}: {untrusted.hint}") from None
        self._lock_at_last()
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            content = json.dumps(formed(ledgers)).encode()  # `dump` would do it in Python
            beside = self.path.with_suffix(".new").name
            replace(directory, self.path.name, content, beside=beside, durable=True)
        finally:
            os.close(directory)

    def lock(self) -> bool:
        """Keep other daemons from using the file until `unlock`, or this process's end; False: one already does.

        Two daemons with one file would lose each other's rejections. Where no lock can be made now,
        `save` tries again.

        Raises:
            Untrusted: others could replace the file.
        """
        try:
            self._make_directory()
            self._lock = lock_file.acquire(self._lock_path)
        except OSError:
            return True  # then it can't be written either, which is reported when it is tried
        return self._lock is not None

    def unlock(self) -> None:
        """Let others use the file again."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def holder(self) -> int | None:
        """Return the process that has locked the file; None: unknown."""
        return lock_file.holder(self._lock_path)

    def is_locked(self) -> bool:
        """Return whether a daemon has locked the file."""
        return lock_file.is_held(self._lock_path)

    @property
    def _lock_path(self) -> Path:
        return self.path.with_suffix(".lock")

    def _read(self) -> bytes | None:
        """Return the file's content; None: there is no file."""
        with suppress(FileNotFoundError):
            judge_directory(str(self.path.parent))
        self._loaded = self._identity()
        if self._loaded is None:
            return None
        return read(str(self.path), MAX_SIZE, refuse_writable, through_link=False)

    def _lock_at_last(self) -> None:
        """Lock the file, if that wasn't possible at the start.

        Raises:
            OSError: it isn't yet, or another daemon was quicker.
        """
        if self._lock is not None:
            return
        try:
            lock = lock_file.acquire(self._lock_path)
        except OSError as error:
            raise OSError(error.errno, f"{self._lock_path.name}: {error.strerror}") from None
        if lock is None:
            raise BlockingIOError(EBUSY, "another daemon uses it: stop one of them")
        try:
            if self._identity() == self._loaded:
                self._lock = lock
        finally:
            if self._lock is None:
                os.close(lock)
        if self._lock is None:
            raise OSError(ESTALE, "it isn't what was read at the start: restart the daemon")

    def _identity(self) -> _Identity | None:
        """Return which file is there now; None: none."""
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _make_directory(self) -> None:
        """Make the directory, and those above it, so that nobody else can write there."""
        directory = self.path.parent
        with suppress(FileNotFoundError):
            judge_directory(str(directory))
            return
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        judge_directory(str(directory))


def boot_id() -> str:
    """Return the id of this boot of the host; "" if unknown."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""  # then each start counts as a reboot


def formed(ledgers: Ledgers) -> Json:
    """Return ledgers in the file's form."""
    return {
        "v": VERSION,
        "boot_id": boot_id(),
        "boot": ledgers.saved_at,
        "wall": clock.wall() - (clock.boot() - ledgers.saved_at),
        "salt": ledgers.salt.hex(),
        "accounts": [
            {
                "id_server": account.id_server,
                "username": account.username,
                "entries": [[entry.at, entry.clear] for entry in ledger.entries],
                "clear": ledger.clear,
                "under_way": len(ledger.under_way),
                "rejected": ledger.rejected,
                "announced": _or_null(ledger.announced),
                "refused_sent": _or_null(ledger.refused_sent),
                **({"salt": ledgers.salts[account].hex()} if account in ledgers.salts else {}),
            }
            for account, ledger in ledgers.by_account.items()
            if ledger.matters or ledgers.unknown.matters
        ],
        "logged_out": sorted(ledgers.logged_out),
        "unknown": [entry.at for entry in ledgers.unknown.entries],
    }


def parsed(value: object) -> Ledgers:
    """Return the ledgers of a file that `formed` made, with times of this boot.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, OverflowError: it is damaged.
    """
    # Anything that `formed` didn't make raises one of the errors that `load` expects.
    file = cast("Json", value)
    if file["v"] not in READABLE:
        raise ValueError("another version")
    restart = _Restart(
        same_boot=file["boot_id"] == boot_id() != "",
        ago=clock.wall() - finite(file["wall"]),
        saved=finite(file["boot"]),
        now=clock.boot(),
    )
    ledgers: dict[Account, Ledger] = {}
    salts: dict[Account, bytes] = {}
    for each in cast("Sequence[Json]", file["accounts"]):
        account, ledger = _account(each), _ledger(each, restart)
        other = ledgers.get(account)
        ledgers[account] = ledger if other is None else budget.merged(other, ledger)
        if "salt" in each:
            salts[account] = bytes.fromhex(cast("str", each["salt"]))
    unknown = cast("Sequence[object]", file["unknown"])
    return Ledgers(
        salt=bytes.fromhex(cast("str", file["salt"])),
        by_account=ledgers,
        logged_out=_names(file["logged_out"]),
        unknown=Ledger(entries=tuple(Entry(restart.entry(finite(at))) for at in unknown)),
        saved_at=restart.saved if restart.same_boot else -inf,
        salts=salts,
    )


@frozen
class _Restart:
    """How to read the file's times now."""

    same_boot: bool
    ago: float
    """Seconds since the file was written, by the wall clock."""
    saved: float
    now: float

    def moment(self, at: float) -> float:
        """Return a time of the file in this boot's clock."""
        return at if self.same_boot else self.now - self.ago - (self.saved - at)

    def entry(self, at: float) -> float:
        """Return an entry's time; after a reboot, between 0 and a whole window of it remains."""
        if self.same_boot:
            return min(at, self.now + LATE)
        return min(self.now, max(self.now - WINDOW, self.moment(at)))


def _account(each: Json) -> Account:
    return Account(str(each["id_server"]), str(each["username"]))


def _ledger(each: Json, restart: _Restart) -> Ledger:
    ledger = Ledger(
        entries=tuple(
            Entry(restart.entry(finite(at)), clear=bool(clear))
            for at, clear in cast("Sequence[tuple[object, object]]", each["entries"])
        ),
        clear=int(finite(each["clear"])),
        rejected=tuple(
            Fingerprint(int(finite(one))) for one in cast("Sequence[object]", each["rejected"])
        ),
        announced=restart.moment(_or_never(each["announced"])),
        refused_sent=restart.moment(_or_never(each["refused_sent"])),
    )
    ledger = budget.lost(ledger, None, restart.now, logins=int(finite(each["under_way"])))
    account = _account(each)
    if ledger.rejected and (account.id_server, account.username) != (
        each["id_server"],
        each["username"],
    ):
        # It was spelled differently when its passwords were hashed: none can be recognised any more.
        return budget.doubted(ledger, restart.now)
    return ledger


def _names(value: object) -> frozenset[str]:
    if not isinstance(value, list | dict):
        raise TypeError("not names")
    return frozenset(map(text, cast("Sequence[object]", value)))


def _or_null(moment: float) -> float | None:
    return None if moment == -inf else moment


def _or_never(moment: object) -> float:
    return -inf if moment is None else finite(moment)
