"""The ledgers of all accounts: who may log in now, written down before it is done.

One owner for all keepers, since profiles of one account share its lockout. The state file holds no
secret. If it can't be written the daemon goes on in memory, and says so.
"""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Final, final

import anyio
import anyio.to_thread

from openfit_tokend.core import budget
from openfit_tokend.core.budget import Attempt, Fingerprint, Go, Ledger, Wait
from openfit_tokend.core.events import Kind, OverBudget
from openfit_tokend.core.secret import Secret
from openfit_tokend.core.settings import Account, Identity
from openfit_tokend.io import clock, log
from openfit_tokend.io.session_form import Fingerprints
from openfit_tokend.io.state import State, StateFile

WRITE_TIME: Final = 10.0
"""Seconds that a login waits for the disk: one that hangs must not end a session."""
MAX_PAUSE: Final = 0.05
"""Seconds between two writes at most."""
_LOOK: Final = 0.01
"""Seconds between two looks whether a save has ended that nobody waits for any more."""
_PAUSE: Final = 3
"""Between two writes, times the time of the first: a thousand logins at once share a few."""
_SCRYPT_COST: Final = 2**9
"""scrypt's n: half a MiB and a millisecond. What protects is that 16 bits name no password."""


@final
class Accounts:
    """The ledger of each account, and the marks of logged-out profiles."""

    def __init__(self, file: StateFile) -> None:
        """Read the state file; what is damaged counts as two of three rejections."""
        self._file = file
        self._state = file.load()
        self._settled: dict[Account, anyio.Event] = {}
        self._changes = 0
        self._written = 0
        self._writing = anyio.Lock()
        # One at a time: forty threads that hash at once would leave forty arenas of memory behind.
        self._hashing = anyio.CapacityLimiter(1)
        self._next_write = -inf  # CLOCK_BOOTTIME
        self._failing = False
        self._disk = (
            threading.Lock()
        )  # held by the thread that saves, perhaps one that was given up

    def ledger(self, account: Account) -> Ledger:
        """Give what is known of an account."""
        return self._state.ledgers.get(account, self._state.unknown)

    async def admit(
        self, account: Account, password: Secret, *, insisted: bool
    ) -> Attempt | OverBudget | None:
        """Wait until a login may be sent and write it down; or say that it may not.

        None: while it waited an operator said that the secret may be another one: read it anew.
        Call `settle` with the attempt in any case, when the login has ended.
        """
        announced = self.ledger(account).announced
        fingerprint = await anyio.to_thread.run_sync(
            self._fingerprint, account, password, limiter=self._hashing
        )
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
                    try:
                        await self.write()
                    except BaseException:  # cancelled: it will not be sent
                        self.settle(account, attempt, Kind.TRANSIENT)
                        raise
                    return attempt

    def settle(self, account: Account, attempt: Attempt, kind: Kind | None) -> None:
        """Write down how a login ended (None: accepted), and let a waiting one ask again."""
        self._put(account, budget.settle(self.ledger(account), attempt, kind, clock.boot()))
        self._settled.pop(account, anyio.Event()).set()

    def announce(self, account: Account) -> None:
        """Write down that an operator said the account's secret may be another one."""
        self._put(account, budget.announce(self.ledger(account), clock.boot()))

    def is_logged_out(self, profile: str, identity: Identity) -> bool:
        """Tell whether an operator logged this profile out, with this identity."""
        return self._state.logged_out.get(profile) == identity

    def mark(self, profile: str, logged_out: Identity | None) -> bool:
        """Note whether a profile is logged out; True: that is news, and `write` is to follow."""
        marks = {name: who for name, who in self._state.logged_out.items() if name != profile}
        if logged_out is not None:
            marks[profile] = logged_out
        if marks == self._state.logged_out:
            return False
        self._change(replace(self._state, logged_out=marks))
        return True

    def fingerprints(self, account: Account) -> Fingerprints:
        """Give what the state file doesn't hold of an account's ledger."""
        memory = budget.memory(self.ledger(account), written=not self._failing)
        return Fingerprints(self._state.salt, memory)

    def recall(self, account: Account, fingerprints: Fingerprints) -> None:
        """Take back what `fingerprints` gave before a restart, unless the salt is another.

        A file that is gone, or never could be written, made a new one: with nothing in it yet, the
        old one goes on.
        """
        if not self._state.ledgers:
            self._state = replace(self._state, salt=fingerprints.salt)
        ledger = self.ledger(account)
        recalled = budget.recall(ledger, fingerprints.memory)
        if fingerprints.salt == self._state.salt and recalled != ledger:
            self._put(account, recalled)

    async def write(self) -> None:
        """Return when all changes until now are on disk; many callers share one write.

        A disk that fails, or doesn't answer within WRITE_TIME, is said, and the daemon goes on in
        memory. Never raises.
        """
        mine = self._changes
        if self._written >= mine:
            return
        async with self._writing:
            if self._written >= mine or (self._disk.locked() and self._failing):
                return  # nothing to do, or a disk that hangs
            await anyio.sleep(max(0.0, self._next_write - clock.boot()))
            began, now = clock.boot(), self._changes
            reason = f"no answer within {WRITE_TIME:.0f} s"
            with anyio.move_on_after(WRITE_TIME):
                # One that was cancelled may be at it: what changed since isn't in it.
                while self._disk.locked():  # noqa: ASYNC110 -- a thread ends it, with no way to tell the loop
                    await anyio.sleep(_LOOK)
                reason = await self._try_save()
            if reason and not self._failing:
                log.warning(
                    "state_not_written",
                    path=self._file.path,
                    reason=reason,
                    hint="logins go on, counted in memory only until this is mended",
                )
            self._failing = bool(reason)
            self._written = now
            ended = clock.boot()
            self._next_write = ended + min(MAX_PAUSE, _PAUSE * (ended - began))

    async def write_anew(self) -> bool:
        """Write as `write` does, also what couldn't be written before; False: it still can't."""
        self._changes += 1
        await self.write()
        return not self._failing

    async def _try_save(self) -> str:
        """Save in a thread, which a disk that hangs may hold; give what is wrong, if anything."""
        try:
            await anyio.to_thread.run_sync(self._save, abandon_on_cancel=True)
        except OSError as error:
            return error.strerror or "it can't be written"
        except RuntimeError:  # no thread could be started
            return "the system allows no more threads"
        return ""

    def _save(self) -> None:
        """Save what there is by now: whichever thread comes last, the newest is on disk."""
        with self._disk:
            self._file.save(self._state)

    def _put(self, account: Account, ledger: Ledger) -> None:
        ledgers: Mapping[Account, Ledger] = {**self._state.ledgers, account: ledger}
        self._change(replace(self._state, ledgers=ledgers))

    def _change(self, state: State) -> None:
        self._state = state
        self._changes += 1

    def _fingerprint(self, account: Account, password: Secret) -> Fingerprint:
        salt = self._state.salt + account.id_server.encode() + account.username.encode()
        digest = hashlib.scrypt(
            password.reveal.encode(), salt=salt, n=_SCRYPT_COST, r=8, p=1, dklen=2
        )
        return Fingerprint(int.from_bytes(digest))
