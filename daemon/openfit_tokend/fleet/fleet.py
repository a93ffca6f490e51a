"""This daemon's membership of its fleet: one connection to the store, one task, a replica of each account's row."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Final, final

import anyio
from anyio.abc import TaskGroup

from openfit_token.errors import SecretUnavailable, Unavailable
from openfit_tokend.core.fleet.clocks import Offset
from openfit_tokend.core.fleet.messages import Doubted
from openfit_tokend.core.problems import Problem, internal_error, store_not_reached
from openfit_tokend.core.settings.values import Account
from openfit_tokend.fleet.replication import Replication
from openfit_tokend.fleet.row_form import Keys, Unreadable
from openfit_tokend.fleet.store import RowTrouble, Said, Store, Tagged, Unreached
from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.keeping.claims import Claims
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.storage.accounts import Accounts

POLL: Final = 30.0
"""Seconds after which the rows' tags are asked for, whether or not the store told of changes."""
AGAIN: Final = 2.0
"""Seconds at most until the store is tried again; half of that at least."""
DRAIN_TIME: Final = 5.0
"""Seconds that the daemon's end waits until others are told of what came to pass here."""

ReadKeys = Callable[[], Awaitable[Keys]]
"""Reads the fleet's keys anew. Raises SecretUnavailable."""


@final
class Fleet:
    """One daemon's membership."""

    def __init__(
        self, member: str, store: Store, read_keys: ReadKeys, accounts: Accounts, alarm: Alarm
    ) -> None:
        self.member = member
        self.store = store
        self.accounts = accounts
        self.alarm = alarm
        self.offset = Offset()
        self.problem: Problem | None = None
        """Why the store can't be reached."""
        self._read_keys = read_keys
        self._keys: Keys | None = None
        self._has_news_of_keys = True
        self._replications: dict[Account, Replication] = {}
        self._turns: dict[Replication, None] = {}
        self._troubled: dict[Replication, str] = {}  # why, as it was last logged
        self._waiting: anyio.CancelScope | None = None
        self._polled_at = 0.0
        self._reached = False
        self._still = anyio.Event()
        self._tasks: TaskGroup | None = None

    # What keepers and the daemon call

    def join(self, keeper: Keeper) -> Claims:
        """Return the claims of a keeper."""
        account = keeper.profile.account
        replication = self._replications.get(account)
        if replication is None:
            replication = self._replications[account] = Replication(self, account)
        return replication.join(keeper)

    def reload(self) -> None:
        """Read the keys anew, and what couldn't be read without them."""
        self._has_news_of_keys = True
        self._wake()

    async def drain(self) -> None:
        """Wait until others are told of what came to pass here, for a limited time."""
        with anyio.move_on_after(DRAIN_TIME):
            while any(replication.owes for replication in self._replications.values()):
                self._still = anyio.Event()
                await self._still.wait()

    # What replications call

    @property
    def keys(self) -> Keys:
        """Return the keys."""
        assert self._keys is not None  # noqa: S101 -- nothing is read or written before
        return self._keys

    def give_turn(self, replication: Replication) -> None:
        """Sync a replica soon."""
        self._turns[replication] = None
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    def gone(self, replication: Replication) -> None:
        """Forget a row that no keeper takes part in."""
        self._replications.pop(replication.account, None)
        self._troubled.pop(replication, None)
        self._turns.pop(replication, None)

    def learn(self, said: Said) -> None:
        """Take note of the store's clock."""
        self.offset, jumped = self.offset.learned(said.before, said.clock, said.after)
        if jumped:
            log.warning("fleet_clock_jumped", hint="this host's clock, or the store's, was set")
            for replication in self._replications.values():
                replication.tell(Doubted(resync=True))

    def mirrored(self) -> None:
        """Write the ledgers soon."""
        if self._tasks is not None:
            self._tasks.start_soon(self.accounts.write)

    # Its task

    async def run(self) -> None:
        """Keep the replicas in step with the store. Never returns."""
        async with anyio.create_task_group() as self._tasks:
            while True:
                try:
                    await self._begin()
                    while True:
                        await self._pass()
                except Unreached as failure:
                    self._lose(failure)
                except Exception:  # noqa: BLE001 -- an internal error: live tokens are served on
                    log.exception("internal_fault")
                    self._lose(Unreached("internal error in the daemon"))
                finally:
                    with anyio.CancelScope(shield=True):
                        await self.store.close()
                chance = clock.moment().chance
                await anyio.sleep(AGAIN * (1 + chance) / 2)

    async def _begin(self) -> None:
        await self._need_keys()
        await self.store.connect(self._tasks)
        self._polled_at = clock.boot()
        for replication in self._replications.values():
            replication.tell(Doubted())  # nobody told what came to pass meanwhile

    async def _need_keys(self) -> None:
        if not self._has_news_of_keys:
            return
        try:
            self._keys = await self._read_keys()
        except SecretUnavailable as error:
            if self._keys is None:
                raise Unreached(error.message, error.hint) from None
            log.error("fleet_keys_kept", reason=error.message, hint=error.hint)
        self._has_news_of_keys = False
        for replication in self._replications.values():
            replication.keys_changed()

    def _lose(self, failure: Unreached) -> None:
        now = clock.boot()
        problem = store_not_reached(failure.message, failure.hint, now)
        if self.problem is None:
            log.warning("fleet_not_reached", reason=failure.message, hint=failure.hint)
        since = problem if self.problem is None else self.problem
        self.problem, self._reached = replace(problem, at=since.at), False
        for replication in self._replications.values():
            replication.unreached(problem)

    def _reach(self) -> None:
        if not self._reached:
            log.info("fleet_reached", member=self.member)
        self._reached, self.problem = True, None

    async def _pass(self) -> None:
        """Do what is to be done, then wait for news once."""
        await self._need_keys()
        for replication in tuple(self._turns):
            self._turns.pop(replication, None)
            await self._sync(replication)
        self._reach()
        self._still.set()
        left = self._polled_at + POLL - clock.boot()
        if left > 0:
            self._notice(await self._news(0.0 if self._turns else left))
            return
        self._polled_at = clock.boot()
        self._try_again()
        self._notice(
            await self.store.tags([replication.key for replication in self._replications.values()])
        )

    async def _news(self, seconds: float) -> list[Tagged]:
        """Wait for news, or until a row is to have its turn."""
        with anyio.CancelScope() as self._waiting:
            return await self.store.news(seconds)
        return []

    def _notice(self, news: Iterable[Tagged]) -> None:
        self._waiting = None
        replications = {replication.key: replication for replication in self._replications.values()}
        for key, tag in news:
            if key in replications:
                replications[key].noticed(tag)

    def _try_again(self) -> None:
        """Read what couldn't be read or written, which nobody's write may change."""
        for replication in self._troubled:
            replication.tell(Doubted())

    async def _sync(self, replication: Replication) -> None:
        try:
            await replication.sync()
        except RowTrouble as error:
            if self._troubled.get(replication) != error.message:
                self._troubled[replication] = error.message
                unreadable = isinstance(error, Unreadable)
                log.error(
                    "fleet_row_unreadable" if unreadable else "fleet_row_refused",
                    username=replication.account.username,
                    reason=error.message,
                    hint=error.hint,
                )
            replication.unreached(Problem(Unavailable, error.message, error.hint, clock.boot()))
        except Unreached:
            raise
        except Exception:  # noqa: BLE001 -- an internal error: other accounts go on
            log.exception("internal_fault", username=replication.account.username)
            self._troubled[replication] = ""
            replication.unreached(internal_error(clock.boot()))
        else:
            self._troubled.pop(replication, None)
