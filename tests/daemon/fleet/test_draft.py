"""What is written into a row, as far as a login may be rejected that nobody counts any more."""

from dataclasses import replace

import pytest
from anyio import Event

from made import fresh, logging_in
from nobody import Nobody
from openfit_tokend.core.budget import LATE, Attempt, Entry, Fingerprint, Ledger
from openfit_tokend.core.events import Kind
from openfit_tokend.core.fleet.row import Claim, Row, Shared
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import Idle, Login, Requesting, Session, logged_out_session
from openfit_tokend.fleet.clocks import Offset, Stamps, moved
from openfit_tokend.fleet.draft import Draft, Known, draft, ledger, under_way
from openfit_tokend.fleet.part import Flight, Part

NOW = 1000.0
AHEAD = 5000.0
KEY = b"k" * 32
ONE = Fingerprint(1)
CLAIM = Claim(b"c" * 16, "host-1", attempt=Attempt(900.0 + AHEAD, ONE))
ATTEMPT = Attempt(900.0, ONE)
LOST = (Entry(NOW + LATE, lost=ONE),)


def claimed(claim: Claim = CLAIM, *done: bytes) -> Row:
    """Return a row with a login under way."""
    assert isinstance(logging_in().doing, Requesting)
    sessions = {KEY: Shared(logging_in(), claim, claim.by, b"t" * 16)}
    return Row(b"t" * 16, b"s" * 16, sessions=sessions, done=done)


def known(
    row: Row,
    *,
    mine: bool = False,
    sent: bool = False,
    over: bool = False,
    counted: Ledger | None = None,
) -> Known:
    """Return what this host knows of a row; `over`: the claim's term is."""
    offset = Offset(AHEAD, AHEAD, NOW)
    return Known(
        row=row,
        member="host-2",
        now=NOW,
        offset=offset,
        stamps=Stamps(),
        attempts={CLAIM.id: ATTEMPT} if sent else {},
        mine={CLAIM.id: None} if mine else {},
        announced=0.0,
        reseal=False,
        counted=Ledger() if counted is None else counted,
        has_ended=lambda _claim: over,
        changed=Event(),
    )


def part_of(session: Session) -> Part:
    """Return a part of which others are to be told."""
    keeper = Nobody(session)
    part = Part(keeper, keeper, KEY)
    part.change()
    return part


def logout(about: Known) -> Draft:
    """Return the draft by which a logout takes the place of what the row holds."""
    made = draft(about, [part_of(logged_out_session(NOW))], [])
    assert made is not None
    assert made.row.sessions[KEY].claim is None
    return made


def entries(made: Draft) -> tuple[Entry, ...]:
    """Return the entries of a draft's ledger in moments of this host."""
    return tuple(replace(each, at=each.at - AHEAD) for each in made.row.ledger.entries)


@pytest.mark.parametrize("mine", [True, False], ids=["ours", "another's"])
def test_a_login_whose_claim_gives_way_counts_as_lost(mine: bool) -> None:  # noqa: FBT001 -- a column of the table
    assert entries(logout(known(claimed(), mine=mine, sent=mine))) == LOST


def test_when_it_ends_after_all_what_was_counted_is_taken_back() -> None:
    about = known(claimed(), mine=True, sent=True)
    flight = Flight(1, logging_in().doing.request, CLAIM, ATTEMPT)  # type: ignore[union-attr]  # it has one
    gone = known(logout(about).row, mine=True, sent=True)

    made = draft(gone, [], [(flight, Kind.TRANSIENT)])

    assert made is not None
    assert entries(made) == ()


def test_a_login_that_was_claimed_but_not_sent_costs_nothing() -> None:
    """The answer to the claim's write was lost."""
    about = known(claimed(), mine=True)

    assert under_way(about) == {}
    assert entries(logout(about)) == ()


def test_a_claim_under_which_nothing_was_sent_is_taken_back() -> None:
    keeper = Nobody(fresh())

    made = draft(known(claimed(), mine=True), [Part(keeper, keeper, KEY)], [])

    assert made is not None
    assert made.row.sessions[KEY].claim is None
    assert made.row.sessions[KEY].session == replace(logging_in(), doing=Idle(NOW + AHEAD))
    assert entries(made) == ()


def test_a_claim_of_what_is_under_way_stays() -> None:
    keeper = Nobody(logging_in())
    part = Part(keeper, keeper, KEY)
    part.flights[1] = Flight(1, Login(), CLAIM, ATTEMPT)

    assert draft(known(claimed(), mine=True, sent=True), [part], []) is None


def test_what_a_row_forgot_that_was_put_back_is_written_again() -> None:
    counted = Ledger(entries=(Entry(NOW - 60.0, clear=True),), clear=1, rejected=(ONE,))
    row = Row(b"t" * 16, b"s" * 16)

    made = draft(known(row, counted=counted), [], [])

    assert made is not None
    assert entries(made) == counted.entries
    assert (made.row.ledger.clear, made.row.ledger.rejected) == (1, (ONE,))


MONTH = Policy().refresh_token_lifetime


@pytest.mark.parametrize(
    ("session", "used", "stays"),
    [
        (fresh(), NOW - MONTH - 3300.0, False),
        (fresh(), NOW - MONTH - 3200.0, True),
        (logged_out_session(0.0), NOW - 2 * MONTH, True),
        (logging_in(), NOW - 2 * MONTH, True),
    ],
    ids=["left", "idle", "logged out", "claimed"],
)
def test_a_session_that_nobody_uses_any_more_leaves_the_row(
    session: Session,
    used: float,
    stays: bool,  # noqa: FBT001 -- a column of the table
) -> None:
    claim = CLAIM if isinstance(session.doing, Requesting) else None
    there = Shared(moved(session, used + AHEAD), claim, "host-1", b"t" * 16)
    part = part_of(fresh())
    part.key = b"o" * 32

    made = draft(known(Row(b"t" * 16, b"s" * 16, sessions={KEY: there})), [part], [])

    assert made is not None
    assert (KEY in made.row.sessions) == stays
    assert not made.took_over


def test_a_settled_login_costs_nothing_more_though_its_claim_is_still_there() -> None:
    """Its profile was removed meanwhile."""
    about = known(claimed(CLAIM, CLAIM.id), over=True)

    assert under_way(about) == {}
    assert ledger(about).entries == ()


def test_a_login_whose_claim_is_over_counts_as_lost_once() -> None:
    about = known(claimed(), over=True)

    assert ledger(about).entries == LOST
    assert entries(logout(about)) == LOST


def test_a_login_under_way_is_not_lost_by_what_other_profiles_write() -> None:
    part = part_of(fresh())
    part.key = b"o" * 32

    made = draft(known(claimed()), [part], [])

    assert made is not None
    assert made.row.sessions[KEY] == claimed().sessions[KEY]
    assert entries(made) == ()
