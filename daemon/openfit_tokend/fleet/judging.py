"""Whether a daemon could take part in its fleet: for `openfit-tokend check`."""

from collections.abc import Iterable
from secrets import token_bytes

from openfit_token._shared.frozen import frozen
from openfit_tokend.core.settings.values import Account
from openfit_tokend.fleet.row_form import Keys, opened, row_key
from openfit_tokend.fleet.store import TAG_SIZE, Said, Store
from openfit_tokend.host import clock


@frozen
class Judgement:
    """What was found at a store that a daemon could use.

    `rows`: how many of the accounts have a row. `skew`: seconds, at least, that the store's clock is
    ahead of this host's wall clock; 0 if they may agree.
    """

    rows: int
    skew: float


async def judge(store: Store, keys: Keys, accounts: Iterable[Account]) -> Judgement:
    """Do all that a daemon does with a store, but change nothing: no write of these can be taken.

    Raises:
        Unreadable: a key doesn't open a row.
        Unreached: a daemon would fail in this way, too.
    """
    await store.connect()
    try:
        rows, skew = 0, 0.0
        for key in {row_key(account) for account in accounts}:
            said = await store.read(key)
            skew = _skew(said)
            await store.write(key, token_bytes(TAG_SIZE), token_bytes(TAG_SIZE), b"")  # no such tag
            if said.tag is not None or said.data is not None:
                opened(keys, key, said.tag, said.data)
                await store.write(key, None, token_bytes(TAG_SIZE), b"")  # it is there already
                rows += 1
        return Judgement(rows, skew)
    finally:
        await store.close()


def _skew(said: Said) -> float:
    offset = clock.wall() - clock.boot()
    low, high = said.clock - said.after - offset, said.clock - said.before - offset
    return max(low, 0.0) + min(high, 0.0)
