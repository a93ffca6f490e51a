"""The store: rows by key, compare-and-set by tag, notices of changes, a clock.

Everything is linearizable: a write that is acknowledged is seen by every later read, at whatever
address. A tag is 16 random bytes that the writer chose. It, not a counter, says which row a write
replaces: a store that was restored from a backup, or whose standby took over, counts to the same
number again, but never comes to the same tag.

One task uses a store, one call at a time. Each call may be cancelled, and then begins anew what it
needs; whether a cancelled write was taken isn't known.
"""

from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, Protocol, Self

from anyio import fail_after
from anyio.abc import TaskGroup

from openfit_token._shared.frozen import frozen
from openfit_token._shared.secret import Secret
from openfit_token._shared.trouble import Trouble
from openfit_token.errors import SecretUnavailable
from openfit_tokend.core.settings.store import Host

EXCHANGE: Final = 5.0
"""Seconds that an exchange may take, whatever the network does; a write may have been taken."""
TAG_SIZE: Final = 16
"""Bytes of a tag."""
ENTRY_HINT: Final = "check store, and store_password_file or store_password_credential"

Password = Callable[[], Awaitable[Secret]]
"""Reads the store's password anew. Raises SecretUnavailable."""


class Unreached(Trouble):
    """The store gave no answer that counts: whether a write was taken isn't known."""

    def at(self, host: Host) -> Self:
        """Return this error with the host where it occurred."""
        return type(self)(f"{host}: {self.message}", self.hint)


class RowTrouble(Unreached):
    """The store answers, but not so that this row can be used. Others can be."""


@contextmanager
def within(seconds: float) -> Generator[None]:
    """Cancel this block after so many seconds.

    Raises:
        Unreached: it was cancelled so.
    """
    try:
        with fail_after(seconds):
            yield
    except TimeoutError:
        raise Unreached(f"no answer within {seconds:.1f} s") from None


async def first_of(hosts: Sequence[Host], connect: Callable[[Host], Awaitable[None]]) -> None:
    """Connect to the first host that can be reached. Each has its part of EXCHANGE.

    Raises:
        Unreached: none of them can.
    """
    failures: list[Unreached] = []
    for host in hosts:
        try:
            with within(EXCHANGE / len(hosts)):
                await connect(host)
        except Unreached as failure:
            failures.append(failure.at(host))
        else:
            return
    hints = [each.hint for each in failures if each.hint is not None]
    message = "; ".join(each.message for each in failures)
    raise Unreached(message, hints[0] if hints else None)


async def password_of(source: Password | None) -> Secret | None:
    """Return the password that a store is entered with, read anew.

    Raises:
        Unreached: it can't be read.
    """
    if source is None:
        return None
    try:
        return await source()
    except SecretUnavailable as error:
        raise Unreached(error.message, error.hint) from None


class Tagged(NamedTuple):
    """A row's key, and the tag that it has."""

    key: str
    tag: bytes


@frozen
class Said:
    """A row, and the time by the store. `tag` and `data` are None if there is no such row.

    `clock` is the store's, in seconds since 1970: it showed that at some moment between `before` and
    `after`, of this host's CLOCK_BOOTTIME.
    """

    tag: bytes | None
    data: bytes | None
    clock: float
    before: float
    after: float


class Store(Protocol):
    """A store. All of its methods but `close` raise Unreached, after EXCHANGE at the latest.

    After a RowTrouble it is as it was; after any other, connect anew.
    """

    async def connect(self, tasks: TaskGroup | None = None) -> None:
        """Connect, or connect anew, and listen. What was missed in between isn't told: read all rows.

        `tasks`: where to listen until `close`; None: who connects wants no news.
        """
        ...

    async def read(self, key: str) -> Said:
        """Return a row as it is now."""
        ...

    async def write(self, key: str, old_tag: bytes | None, tag: bytes, data: bytes) -> Said | None:
        """Replace exactly the row with `old_tag` (None: create it), and return what is there now.

        None: that row isn't there, and nothing was written.
        """
        ...

    async def tags(self, keys: Iterable[str]) -> list[Tagged]:
        """Return the tags that these rows have now, those of them that there are."""
        ...

    async def news(self, seconds: float) -> list[Tagged]:
        """Wait for rows to change, by whomever, and return their tags; after so many seconds, none.

        What changes while nobody waits is told by the next call. A change may be told late or never
        (hence a poll by `tags`), or twice.
        """
        ...

    async def close(self) -> None:
        """Disconnect. It doesn't wait for the network."""
        ...
