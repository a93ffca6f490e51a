"""Rules of the fleet, left out on purpose: each must be noticed."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, Final
from unittest.mock import patch

from openfit_tokend.core.budget import Ledger
from openfit_tokend.core.fleet import adoption
from openfit_tokend.core.fleet.row import Claim
from openfit_tokend.core.session import Session
from openfit_tokend.fleet import draft
from openfit_tokend.fleet import part as part_module
from openfit_tokend.fleet.clocks import Stamps
from openfit_tokend.fleet.copy import Copy
from openfit_tokend.fleet.part import Part
from openfit_tokend.fleet.row_form import Keys
from openfit_tokend.fleet.store import TAG_SIZE
from openfit_tokend.keeping import endpoint
from openfit_tokend.keeping.stored_secret import StoredSecret
from whole.planted import Fault, Method, Patch, instead
from whole.rows import row_of
from whole.store import Link, Store


def _nothing(*_args: object) -> None:
    """Do nothing."""


def _redrawn(change: Callable[[Any, Any], None]) -> Patch:
    """Change every draft of a row, given what it is made from."""

    def make(drawn: Method) -> Method:
        def draw(known: Any, *rest: object) -> Any:  # noqa: ANN401 -- as all here: what is patched is private
            made = drawn(known, *rest)
            if made is not None:
                change(known, made)
            return made

        return draw

    return instead(draft, "draft", make)


def _tags_count() -> Patch:
    def count(known: Any, made: Any) -> None:  # noqa: ANN401 -- the same
        drawn = made.row.tag
        tag = (int.from_bytes(known.row.tag) + 1).to_bytes(TAG_SIZE)
        sessions = {
            key: replace(shared, stamp=tag) if shared.stamp == drawn else shared
            for key, shared in made.row.sessions.items()
        }
        made.row = replace(made.row, tag=tag, sessions=sessions)

    return _redrawn(count)


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

    return patch.object(draft, "published", published)


@contextmanager
def _entries_by_the_clock() -> Generator[None]:
    def make(read: Method) -> Method:
        def to_host(stamps: Any, *args: object) -> Any:  # noqa: ANN401 -- the same
            stamps.__init__()
            return read(stamps, *args)

        return to_host

    with instead(Stamps, "to_host", make), _all_forgotten():  # else they would be recalled
        yield


@contextmanager
def _ends_by_the_stores_clock() -> Generator[None]:
    written: dict[bytes, float] = {}

    def make_write(wrote: Method) -> Method:
        def write(store: Any, writer: object, key: str, old: object, value: Any) -> Any:  # noqa: ANN401 -- the same
            for shared in row_of(key, value).sessions.values():
                if shared.claim is not None:
                    shown = store.clock.at(store._world.time.now)
                    written.setdefault(shared.claim.id, shown)
            return wrote(store, writer, key, old, value)

        return write

    def has_ended(self: Any, now: float, claim: Claim) -> bool:  # noqa: ANN401 -- the same
        shown = now + self._fleet.offset.middle
        return claim.id not in self._mine and shown >= written.get(claim.id, inf) + claim.term

    with (
        instead(Store, "write", make_write),
        patch.object(Copy, "_has_ended", has_ended),
    ):
        yield


def _short_lease() -> Patch:
    return patch.object(draft, "Claim", partial(Claim, term=15.0))


def _lost_uncounted() -> Patch:
    def lost(ledger: Ledger, _fingerprint: object, _now: float) -> Ledger:
        return ledger

    return patch.object(draft, "lost", lost)


def _notices_forgotten() -> Patch:
    def make(told: Method) -> Method:
        async def news(link: Any, seconds: float) -> Any:  # noqa: ANN401 -- the same
            link._noticed.clear()
            return await told(link, seconds)

        return news

    return instead(Link, "news", make)


def _waits_for_ended_claim() -> Patch:
    def make(went: Method) -> Method:
        def go_on(self: Any, *args: object) -> None:  # noqa: ANN401 -- the same
            with patch.object(Copy, "_adopt", _nothing):
                went(self, *args)

        return go_on

    return instead(Copy, "_go_on", make)


def _sent_late() -> Patch:
    def make(exchanged: Method) -> Method:
        async def exchange(route: object, order: object, _not_after: float, reach: object) -> Any:  # noqa: ANN401 -- the same
            return await exchanged(route, order, inf, reach)

        return exchange

    return instead(endpoint, "_exchange", make)


@contextmanager
def _own_ledgers() -> Generator[None]:
    own: dict[object, Any] = {}

    def make_known(known: Method) -> Method:
        def know(self: Any) -> Any:  # noqa: ANN401 -- the same
            found = known(self)
            ledger = own.get(self, found.row.ledger)
            return replace(found, row=replace(found.row, ledger=ledger))

        return know

    def make_go_on(went: Method) -> Method:
        def go_on(self: Any, made: Any, said: object) -> None:  # noqa: ANN401 -- the same
            own[self] = made.row.ledger
            went(self, made, said)

        return go_on

    with instead(Copy, "_known", make_known), instead(Copy, "_go_on", make_go_on):
        yield


def _outcomes_lost() -> Patch:
    def make(written: Method) -> Method:
        async def write(self: Any, made: Any) -> None:  # noqa: ANN401 -- the same
            await written(self, made)
            self._ended = []

        return write

    return instead(Copy, "_write", make)


def _bar_for_all() -> Patch:
    return patch.object(StoredSecret, "look", _nothing)


def _settled_twice() -> Patch:
    def forget(_known: object, made: Any) -> None:  # noqa: ANN401 -- the same
        made.row = replace(made.row, done=())

    return _redrawn(forget)


def _unbounded() -> Patch:
    def bounded(session: Session, _now: float) -> Session:
        return session

    return patch.object(adoption, "_bounded", bounded)


def _void_refreshes_revoked() -> Patch:
    def make(ended: Method) -> Method:
        def end(part: Any, *args: object) -> bool:  # noqa: ANN401 -- the same
            ended(part, *args)
            return True

        return end

    return instead(Part, "ended", make)


def _leavers_forgotten() -> Patch:
    def leaves(part: Part) -> bool:
        return part.leaves

    return patch.object(Part, "is_over", property(leaves))


def _unsent_written() -> Patch:
    def make(ended: Method) -> Method:
        def end(part: Any, number: int, event: object) -> bool:  # noqa: ANN401 -- the same
            if not part.is_void(number):
                part.change()
            feeds: bool = ended(part, number, event)
            return feeds

        return end

    return instead(Part, "ended", make)


def _unsent_claims_written() -> Patch:
    def is_unsent(_event: object) -> bool:
        return False

    def without_unsent(session: Session, _base: object) -> Session:
        return replace(session, unsent_until=-inf)

    @contextmanager
    def both() -> Generator[None]:
        with (
            patch.object(part_module, "_is_unsent", is_unsent),
            patch.object(draft, "without_unsent", without_unsent),
        ):
            yield

    return both()


def _refusals_unnoticed() -> Patch:
    async def look(_copy: object, _old: object) -> None:
        pass

    return patch.object(Copy, "_look_who_wrote", look)


def _all_forgotten() -> Patch:
    def recalled(ledger: Ledger, _known: object, _now: float) -> Ledger:
        return ledger

    return patch.object(draft, "recalled", recalled)


def _to_come_is_now() -> Patch:
    return patch.object(adoption, "AHEAD", inf)


def _never_resealed() -> Patch:
    def is_old_seal(_keys: object, _data: object) -> bool:
        return False

    return patch.object(Keys, "is_old_seal", is_old_seal)


def _claims_never_end() -> Patch:
    def has_ended(_copy: object, _now: float, _claim: object) -> bool:
        return False

    return patch.object(Copy, "_has_ended", has_ended)


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
    "lost_uncounted": Fault(
        "a login whose claim ended isn't counted", _lost_uncounted, "passwords"
    ),
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
    "all_forgotten": Fault(
        "what a row forgot that was put back is forgotten", _all_forgotten, "restored"
    ),
    "to_come_is_now": Fault(
        "a token that is yet to be asked for counts as new", _to_come_is_now, "reboots"
    ),
    "never_resealed": Fault(
        "a row that nothing else writes stays under its old key", _never_resealed, "keys"
    ),
    "settled_twice": Fault(
        "the row doesn't say which logins were settled", _settled_twice, "passwords"
    ),
    "unbounded": Fault("foreign moments aren't brought into bounds", _unbounded, "set_back"),
    "leavers_forgotten": Fault(
        "a profile leaves the fleet with what it has under way", _leavers_forgotten, "leaving"
    ),
    "void_revoked": Fault(
        "refreshes that others gave up are revoked", _void_refreshes_revoked, "before"
    ),
}
