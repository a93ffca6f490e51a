"""The ledgers of all accounts: whether a login may be sent, written down before it is.

All keepers share one owner, since profiles of one account share its lockout. The ledger file holds
no secret. What can't be written stays in memory, is logged, and is retried until it is on disk.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from typing import Final, final

import anyio
import anyio.to_thread

from openfit_token._shared.secret import Secret
from openfit_tokend.core import budget
from openfit_tokend.core.budget import Attempt, Fingerprint, Go, Ledger, Unwritten, Wait
from openfit_tokend.core.events import Kind, OverBudget
from openfit_tokend.core.problems import Problem, ledger_not_written
from openfit_tokend.core.settings.values import Account
from openfit_tokend.host import clock, log
from openfit_tokend.host.blocking_calls import BlockingCalls
from openfit_tokend.storage.ledger_file import LedgerFile, Ledgers

WRITE_TIME: Final = 10.0
"""Seconds that a login waits for the disk: a disk that hangs must not end a session."""
RETRY: Final = 5.0
"""Seconds until a failed write is retried."""
MAX_PAUSE: Final = 0.05
"""Seconds at most between two writes."""
_PAUSE: Final = 3
"""The pause between two writes, as a multiple of the first one's duration: a thousand logins at once
share a few writes."""
_SCRYPT_COST: Final = 2**9
"""scrypt's n: half a MiB and a millisecond. The protection is that 16 bits identify no password."""


@final
class Accounts:
    """The ledger of each account, and which profiles are logged out."""

    def __init__(self, file: LedgerFile, changed: Callable[[], None] = lambda: None) -> None:
        """Read the ledger file; a damaged one counts as two of three rejections.

        `changed` is called when `problem` does.
        """
        self.problem: Problem | None = None
        """Why what is known isn't on disk."""
        self._tell = changed
        self._file = file
        self._ledgers = self._on_disk = file.load()
        self._settled: dict[Account, anyio.Event] = {}
        self._calls = BlockingCalls("ledger")
        self._writing = anyio.Lock()
        self._changes = 0
        self._written = 0  # of these
        self._saves = 0  # that were begun
        self._next_save = -inf  # CLOCK_BOOTTIME
        self._trouble = anyio.Event()  # set: the last save failed
        self._reason = ""  # why it did
        # One at a time: forty threads that hash at once would leave forty arenas of memory behind.
        # Nothing else shares this limiter, so what hangs elsewhere doesn't delay a login.
        self._hashing = anyio.CapacityLimiter(1)

    @property
    def saved_at(self) -> float:
        """Return until when everything is on disk; -inf: nothing of this boot is."""
        return self._on_disk.saved_at

    def ledger(self, account: Account) -> Ledger:
        """Return what is known about an account."""
        return self._ledgers.ledger(account)

    async def admit(
        self, account: Account, password: Secret, *, insisted: bool
    ) -> Attempt | OverBudget | Unwritten | None:
        """Wait until a login may be sent and write it down, or return why it may not.

        None: while it waited, an operator said that the secret may be another one: read it again.
        Always call `settle` with the attempt when the login has ended.
        """
        announced = self.ledger(account).announced
        fingerprint = await self.fingerprint(account, password)
        while True:
            asked = budget.ask(self.ledger(account), fingerprint, clock.boot(), insisted=insisted)
            match asked:
                case OverBudget():
                    return asked
                case Wait():
                    await self._settled.setdefault(account, anyio.Event()).wait()
                    if self.ledger(account).announced > announced:
                        return None
                case Go(ledger, attempt):
                    self._put(account, ledger)
                    return await self._written_down(account, attempt, insisted=insisted)

    async def fingerprint(self, account: Account, password: Secret) -> Fingerprint:
        """Return what the ledger knows a password by."""
        return await anyio.to_thread.run_sync(
            self._fingerprint, account, password, limiter=self._hashing
        )

    async def was_rejected(self, account: Account, password: Secret) -> bool:
        """Return whether this password was rejected before, and not accepted since."""
        return await self.fingerprint(account, password) in self.ledger(account).rejected

    def settle(self, account: Account, attempt: Attempt, kind: Kind | None) -> None:
        """Record how a login ended (None: accepted), and let a waiting one ask again."""
        self._put(account, budget.settle(self.ledger(account), attempt, kind, clock.boot()))
        self._settled.pop(account, anyio.Event()).set()

    def announce(self, account: Account) -> None:
        """Record that an operator said the account's secret may be another one."""
        self._put(account, budget.announce(self.ledger(account), clock.boot()))

    def salt(self, account: Account) -> bytes:
        """Return the salt of an account's fingerprints."""
        return self._ledgers.salt_of(account)

    def mirror(self, account: Account, salt: bytes, ledger: Ledger) -> bool:
        """Record what a fleet knows of an account; True: that has changed, so call `write`.

        What an operator announced here stays: the fleet learns of it from the login that follows.
        """
        known = self.ledger(account)
        ledger = replace(ledger, announced=max(ledger.announced, known.announced))
        if ledger == known and salt == self.salt(account):
            return False
        salts = {**self._ledgers.salts, account: salt}
        self._ledgers = replace(self._ledgers, salts=salts)
        self._put(account, ledger)
        return True

    def is_logged_out(self, profile: str) -> bool:
        """Return whether an operator logged this profile out."""
        return profile in self._ledgers.logged_out

    def mark(self, profile: str, *, logged_out: bool) -> bool:
        """Record whether a profile is logged out; True: it has changed, so call `write`."""
        marks = self._ledgers.logged_out
        marks = marks | {profile} if logged_out else marks - {profile}
        if marks == self._ledgers.logged_out:
            return False
        self._change(replace(self._ledgers, logged_out=marks))
        return True

    def is_behind(self, account: Account) -> bool:
        """Return whether the file lacks a rejection of this account, or what may be one."""
        return budget.lacks(self._on_disk.ledger(account), self.ledger(account))

    def doubt(self, account: Account) -> None:
        """Record that a rejection of this account was forgotten, since it couldn't be written down."""
        self._put(account, budget.doubted(self.ledger(account), clock.boot()))
        log.warning(
            "rejections_forgotten",
            username=account.username,
            id_server=account.id_server,
            hint="no automatic login until an operator orders one or another password is stored",
        )

    async def write(self) -> bool:
        """Write all changes until now, and return whether they are on disk; callers share writes.

        If the disk fails, or doesn't answer within WRITE_TIME, that is logged and the daemon continues
        in memory. Never raises.
        """
        mine, saves = self._changes, self._saves
        async with self._writing:
            if self._written >= mine:
                return True
            hangs = self._trouble.is_set() and self._calls.threads
            if hangs or self._saves > saves:  # or one that started since then has failed
                return False
            await anyio.sleep(max(0.0, self._next_save - clock.boot()))
            began = clock.boot()
            self._saves += 1
            changes, ledgers = self._changes, replace(self._ledgers, saved_at=began)
            reason = await self._try_save(ledgers)
            if not reason:
                self._written, self._on_disk = changes, ledgers
            self._note(reason)
            ended = clock.boot()
            self._next_save = ended + min(MAX_PAUSE, _PAUSE * (ended - began))
            return not reason

    async def keep_trying(self) -> None:
        """Retry failed writes until they succeed. Never returns."""
        while True:
            await self._trouble.wait()
            await anyio.sleep(RETRY)
            await self.write()

    async def _written_down(
        self, account: Account, attempt: Attempt, *, insisted: bool
    ) -> Attempt | Unwritten:
        try:
            if await self.write():
                return attempt
        except BaseException:  # cancelled: it will not be sent
            self.settle(account, attempt, Kind.UNSENT)
            raise
        if budget.may_go_unwritten(self.ledger(account), attempt, insisted=insisted):
            return attempt
        self.settle(account, attempt, Kind.UNSENT)
        return Unwritten()

    async def _try_save(self, ledgers: Ledgers) -> str:
        """Save in a thread, since a disk may hang; return what is wrong, if anything."""
        try:
            await self._calls.run("ledger", lambda: self._file.save(ledgers), WRITE_TIME)
        except TimeoutError:
            return f"no answer within {WRITE_TIME:.0f} s"
        except OSError as error:
            return error.strerror or "it can't be written"
        return ""

    def _note(self, reason: str) -> None:
        if reason and reason != self._reason:
            log.warning(
                "state_not_written",
                path=self._file.path,
                reason=reason,
                hint="until this is fixed, only logins that an operator orders, or whose password"
                " was accepted before, are sent",
            )
            self._trouble.set()
        elif self._reason and not reason:
            log.info("state_written", path=self._file.path)
            self._trouble = anyio.Event()
        changed, self._reason = bool(reason) != bool(self._reason), reason
        if changed:
            self.problem = ledger_not_written(clock.boot()) if reason else None
            self._tell()

    def _put(self, account: Account, ledger: Ledger) -> None:
        by_account: Mapping[Account, Ledger] = {**self._ledgers.by_account, account: ledger}
        self._change(replace(self._ledgers, by_account=by_account))

    def _change(self, ledgers: Ledgers) -> None:
        self._ledgers = ledgers
        self._changes += 1

    def _fingerprint(self, account: Account, password: Secret) -> Fingerprint:
        salt = self.salt(account) + account.id_server.encode() + account.username.encode()
        digest = hashlib.scrypt(
            password.reveal.encode(), salt=salt, n=_SCRYPT_COST, r=8, p=1, dklen=2
        )
        return Fingerprint(int.from_bytes(digest))
