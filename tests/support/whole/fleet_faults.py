"""Rules of the fleet, left out on purpose: each must be noticed."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, Final
from unittest.mock import patch

from openfit_tokend.core.budget import Ledger
from openfit_tokend.core.events import Failed, Kind
from openfit_tokend.core.fleet import adoption, exchange, writing
from openfit_tokend.core.fleet.clocks import Stamps
from openfit_tokend.core.fleet.messages import RowRead, WriteRow, Written
from openfit_tokend.core.fleet.replica import (
    Answered,
    InFlight,
    Outcome,
    claim_of,
    requests_of,
    with_participant,
    without_requests,
)
from openfit_tokend.core.fleet.row import Claim
from openfit_tokend.core.session import Session
from openfit_tokend.fleet.replication import Participation, Replication
from openfit_tokend.fleet.row_form import Keys
from openfit_tokend.fleet.store import TAG_SIZE, RowTrouble, Unreached
from openfit_tokend.keeping import endpoint
from openfit_tokend.keeping.stored_secret import StoredSecret
from whole.planted import Fault, Method, Patch, instead
from whole.rows import row_of
from whole.store import Link, Store


def _nothing(*_args: object) -> None:
    """Do nothing."""


def _rewritten(change: Callable[[Any, Any], Any]) -> Patch:
    """Change every row that is to be written, given the replica."""

    def make(write_row: Method) -> Method:
        def write(replica: Any, *rest: object) -> Any:  # noqa: ANN401 -- as all here: what is patched is private
            after, effects = write_row(replica, *rest)
            return after, tuple(
                replace(effect, row=change(replica, effect.row))
                if isinstance(effect, WriteRow)
                else effect
                for effect in effects
            )

        return write

    return instead(exchange, "write_row", make)


def _tags_count() -> Patch:
    def count(replica: Any, row: Any) -> Any:  # noqa: ANN401 -- the same
        before = b"" if replica.row is None else replica.row.tag
        tag = (int.from_bytes(before) + 1).to_bytes(TAG_SIZE)
        sessions = {
            key: replace(shared, stamp=tag) if shared.stamp == row.tag else shared
            for key, shared in row.sessions.items()
        }
        return replace(row, tag=tag, sessions=sessions)

    return _rewritten(count)


def _written_over() -> Patch:
    def make(written: Method) -> Method:
        def write(store: Any, host: object, key: str, _old: object, value: object) -> Any:  # noqa: ANN401 -- the same
            there = store.rows.get(key)
            return written(store, host, key, None if there is None else there[0], value)

        return write

    return instead(Store, "write", make)


def _unclaimed() -> Patch:
    def published(session: Session, _now: float) -> Session:
        return session

    return patch.object(writing, "published", published)


@contextmanager
def _entries_by_the_clock() -> Generator[None]:
    def make(read: Method) -> Method:
        def knowing(_stamps: object, *args: object) -> Any:  # noqa: ANN401 -- the same
            return read(Stamps(), *args)

        return knowing

    with instead(Stamps, "knowing", make), _all_forgotten():  # else they would be recalled
        yield


@contextmanager
def _ends_by_the_stores_clock() -> Generator[None]:
    written: dict[bytes, float] = {}
    stores: list[Any] = []

    def make_write(wrote: Method) -> Method:
        def write(store: Any, writer: object, key: str, old: object, value: Any) -> Any:  # noqa: ANN401 -- the same
            stores[:] = [store]
            for shared in row_of(key, value).sessions.values():
                if shared.claim is not None:
                    shown = store.clock.at(store._world.time.now)
                    written.setdefault(shared.claim.id, shown)
            return wrote(store, writer, key, old, value)

        return write

    def has_ended(replica: Any, claim: Claim, _now: float) -> bool:  # noqa: ANN401 -- the same
        if claim.id in replica.own or claim.id not in written:
            return False
        (store,) = stores
        shown: float = store.clock.at(store._world.time.now)
        return shown >= written[claim.id] + claim.term

    with instead(Store, "write", make_write), _ending(has_ended):
        yield


@contextmanager
def _ending(has_ended: Callable[..., bool]) -> Generator[None]:
    """Say otherwise whether a claim has ended."""
    with (
        patch.object(exchange, "has_ended", has_ended),
        patch.object(writing, "has_ended", has_ended),
    ):
        yield


def _short_lease() -> Patch:
    return patch.object(writing, "Claim", partial(Claim, term=15.0))


def _notices_forgotten() -> Patch:
    def make(told: Method) -> Method:
        async def news(link: Any, seconds: float) -> Any:  # noqa: ANN401 -- the same
            link._noticed.clear()
            return await told(link, seconds)

        return news

    return instead(Link, "news", make)


def _waits_for_ended_claim() -> Patch:
    def adopt(replica: object, *_args: object) -> Any:  # noqa: ANN401 -- the same
        return replica, ()

    def make(went: Method) -> Method:
        def written(*args: object) -> Any:  # noqa: ANN401 -- the same
            with patch.object(exchange, "_adopt", adopt):
                return went(*args)

        return written

    return instead(exchange, "_written", make)


def _sent_late() -> Patch:
    def make(exchanged: Method) -> Method:
        async def exchange(route: object, order: object, _not_after: float, reach: object) -> Any:  # noqa: ANN401 -- the same
            return await exchanged(route, order, inf, reach)

        return exchange

    return instead(endpoint, "_exchange", make)


def _own_ledgers() -> Patch:
    own: dict[object, Any] = {}

    def make(took: Method) -> Method:
        def take(self: Any, event: Any) -> Any:  # noqa: ANN401 -- the same
            match event:
                case RowRead(row) if row is not None:
                    event = replace(event, row=replace(row, ledger=own.get(self, row.ledger)))
                case Written(write):
                    own[self] = write.row.ledger
                case _:
                    pass
            return took(self, event)

        return take

    return instead(Replication, "_take", make)


def _outcomes_lost() -> Patch:
    def make(written: Method) -> Method:
        async def write(self: Any, made: object) -> None:  # noqa: ANN401 -- the same
            await written(self, made)
            answered = requests_of(self.replica, Answered)
            self.replica = without_requests(self.replica, answered)

        return write

    return instead(Replication, "_write", make)


def _bar_for_all() -> Patch:
    return patch.object(StoredSecret, "look", _nothing)


def _unbounded() -> Patch:
    def bounded(session: Session, _now: float) -> Session:
        return session

    return patch.object(adoption, "_bounded", bounded)


def _leavers_forgotten() -> Patch:
    def without_gone(replica: Any) -> Any:  # noqa: ANN401 -- the same
        stay = {who: each for who, each in replica.participants.items() if each.left is None}
        requests = {claim: each for claim, each in replica.requests.items() if each.who in stay}
        return replace(replica, participants=stay, requests=requests)

    return patch.object(writing, "_without_gone", without_gone)


def _untold(replication: Any, who: int, number: int) -> None:  # noqa: ANN401 -- the same
    """Let others be told of a request's end, whatever it was."""
    replica = replication.replica
    untold = replace(replica.participants[who], untold=Outcome(number, inf))
    replication.replica = with_participant(replica, who, untold)


def _unsent_written() -> Patch:
    def make(ended: Method) -> Method:
        def end(claims: Any, event: Any) -> bool:  # noqa: ANN401 -- the same
            if event.number == claims.keeper.session.number:
                _untold(claims._replication, claims._who, event.number)
            feeds: bool = ended(claims, event)
            return feeds

        return end

    return instead(Participation, "ended", make)


@contextmanager
def _unsent_claims_written() -> Generator[None]:
    def make(ended: Method) -> Method:
        def end(claims: Any, event: Any) -> bool:  # noqa: ANN401 -- the same
            replica, who = claims._replication.replica, claims._who
            claim = claim_of(replica, who, event.number)
            flew = claim is not None and isinstance(replica.requests[claim], InFlight)
            feeds: bool = ended(claims, event)
            if flew and isinstance(event, Failed) and event.kind is Kind.UNSENT:
                _untold(claims._replication, who, event.number)
            return feeds

        return end

    def without_unsent(session: Session, _base: object) -> Session:
        return replace(session, unsent_until=-inf)

    with (
        instead(Participation, "ended", make),
        patch.object(writing, "without_unsent", without_unsent),
    ):
        yield


def _refusals_unnoticed() -> Patch:
    async def look(_replication: object, _old: object) -> None:
        pass

    return patch.object(Replication, "_look_who_wrote", look)


def _rows_trouble_is_the_fleets() -> Patch:
    def make(synced: Method) -> Method:
        async def sync(self: Any) -> None:  # noqa: ANN401 -- the same
            try:
                await synced(self)
            except RowTrouble as trouble:
                raise Unreached(trouble.message, trouble.hint) from None

        return sync

    return instead(Replication, "sync", make)


def _all_forgotten() -> Patch:
    def recalled(ledger: Ledger, _known: object, _now: float) -> Ledger:
        return ledger

    return patch.object(writing, "recalled", recalled)


def _to_come_is_now() -> Patch:
    return patch.object(adoption, "AHEAD", inf)


def _never_resealed() -> Patch:
    def is_old_seal(_keys: object, _data: object) -> bool:
        return False

    return patch.object(Keys, "is_old_seal", is_old_seal)


def _claims_never_end() -> Patch:
    def has_ended(_replica: object, _claim: Claim, _now: float) -> bool:
        return False

    return _ending(has_ended)


FLEET_FAULTS: Final[Mapping[str, Fault]] = {
    "tags_count": Fault("tags count, rather than being random", _tags_count, "lossy"),
    "no_compare": Fault("rows are written over whatever is there", _written_over, "fleet"),
    "unclaimed": Fault("a request that has no claim is written", _unclaimed, "fleet"),
    "entries_by_clock": Fault(
        "the ledger's moments are read by the store's clock each time",
        _entries_by_the_clock,
        "stepped",
    ),
    "store_clock": Fault("claims end by the store's clock", _ends_by_the_stores_clock, "passwords"),
    "short_lease": Fault("a claim stands for 15 s", _short_lease, "fleet"),
    "claims_for_ever": Fault("a claim never ends by itself", _claims_never_end, "fleet"),
    "notices_forgotten": Fault(
        "notices are forgotten that come while nobody waits for them", _notices_forgotten, "brisk"
    ),
    "ended_claim_awaited": Fault(
        "who writes over an ended claim doesn't tell its own keeper",
        _waits_for_ended_claim,
        "asleep",
    ),
    "sent_late": Fault("nothing is looked at right before sending", _sent_late, "before"),
    "own_ledgers": Fault("each daemon counts rejections for itself", _own_ledgers, "passwords"),
    "outcomes_lost": Fault(
        "how a login ended is forgotten if its write isn't taken", _outcomes_lost, "crowd"
    ),
    "bar_for_all": Fault("one host's rejected password bars all", _bar_for_all, "stale"),
    "unsent_written": Fault("what wasn't sent is written", _unsent_written, "fleet"),
    "unsent_claims_written": Fault(
        "a request that one host couldn't send is written as failed",
        _unsent_claims_written,
        "cut_off",
    ),
    "refusals_unnoticed": Fault(
        "a write that isn't taken is tried again at once", _refusals_unnoticed, "refused"
    ),
    "rows_trouble": Fault(
        "the trouble of one row is taken for the store's", _rows_trouble_is_the_fleets, "locked"
    ),
    "all_forgotten": Fault(
        "what a row forgot that was put back is forgotten", _all_forgotten, "restored"
    ),
    "to_come_is_now": Fault(
        "a token that is yet to be asked for counts as new", _to_come_is_now, "reboots"
    ),
    "never_resealed": Fault(
        "a row that nothing else writes stays under its old key", _never_resealed, "keys"
    ),
    "unbounded": Fault("foreign moments aren't brought into bounds", _unbounded, "set_back"),
    "leavers_forgotten": Fault(
        "a profile leaves the fleet with what it has under way", _leavers_forgotten, "leaving"
    ),
}
