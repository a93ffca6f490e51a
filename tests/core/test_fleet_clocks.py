"""What a host knows of the store's clock, whoever sets it, and what it makes of a row's moments."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import access, fresh, problem, refresh, refreshing
from openfit_tokend.core.budget import LATE, WINDOW, Entry, Fingerprint, Ledger, possible_at
from openfit_tokend.core.fleet.clocks import DRIFT, KEPT, Offset, Stamps, moved, moved_access
from openfit_tokend.core.session import Bar, Idle
from walks import Taken, walks

NOW = 1000.0
AHEAD = 5000.0
"""Seconds by which the store's clock is ahead."""

# Offset


def learned(*exchanges: tuple[float, float, float]) -> tuple[Offset, bool]:
    """Return what is known after these exchanges, and whether a clock jumped at the last."""
    offset, jumped = Offset(), False
    for exchange in exchanges:
        offset, jumped = offset.learned(*exchange)
    return offset, jumped


def test_one_exchange_bounds_the_offset_by_the_time_it_took() -> None:
    offset, jumped = learned((10.0, 110.0, 12.0))

    assert not jumped
    assert (offset.low, offset.middle, offset.high) == (98.0, 99.0, 100.0)


def test_a_quick_exchange_narrows_the_bounds() -> None:
    offset, _ = learned((10.0, 110.0, 12.0), (12.0, 111.5, 12.2))

    assert [offset.low, offset.high] == pytest.approx([99.3, 99.5])


def test_a_slow_exchange_does_not_widen_the_bounds_by_more_than_the_drift() -> None:
    offset, _ = learned((10.0, 110.0, 10.1), (20.0, 121.0, 24.1))

    assert offset.low == pytest.approx(99.9 - 14.0 * DRIFT)
    assert offset.high == pytest.approx(100.0 + 14.0 * DRIFT)


@pytest.mark.parametrize("step", [-3600.0, -2.0, 2.0, 3600.0])
def test_a_clock_that_was_set_is_noticed_and_its_new_bounds_count(step: float) -> None:
    offset, jumped = learned((10.0, 110.0, 10.1), (20.0, 120.0 + step, 20.1))

    assert jumped
    assert [offset.low, offset.high] == pytest.approx([99.9 + step, 100.0 + step])
    assert not offset.learned(30.0, 130.0 + step, 30.1)[1]


def test_clocks_that_run_apart_more_than_they_should_are_followed_without_a_word() -> None:
    offset, jumped = learned((10.0, 110.0, 10.1), (20.0, 120.8, 20.1))

    assert not jumped
    assert [offset.low, offset.high] == pytest.approx([100.7, 100.8])


EXCHANGES = st.lists(
    st.tuples(
        st.floats(0.001, 1e5),  # the pause before it
        st.floats(0.0, 5.0),  # the way there
        st.floats(0.0, 5.0),  # the way back
        st.floats(-DRIFT / 2, DRIFT / 2),  # how the clocks run apart meanwhile
    ),
    min_size=1,
    max_size=12,
)


@given(EXCHANGES, st.floats(-1e6, 1e9))
def test_the_truth_lies_between_the_bounds_and_no_clock_is_said_to_have_jumped(
    exchanges: list[tuple[float, float, float, float]], truth: float
) -> None:
    offset, boot = Offset(), 0.0
    for pause, there, back, drift in exchanges:
        at = boot + pause + there
        truth += drift * (at - boot)
        boot = at + back

        offset, jumped = offset.learned(at - there, at + truth, boot)

        assert not jumped
        assert offset.low - 1e-3 <= truth <= offset.high + 1e-3  # rounding at 1e9


@given(EXCHANGES, EXCHANGES, st.floats(0.0, 60.0))
def test_a_token_never_lives_longer_at_another_host_than_where_it_was_sent(
    here: list[tuple[float, float, float, float]],
    there: list[tuple[float, float, float, float]],
    since: float,
) -> None:
    def known(exchanges: list[tuple[float, float, float, float]], truth: float) -> Offset:
        offset, boot = Offset(), 0.0
        for pause, way, back, _ in exchanges:
            at = boot + pause + way
            boot = at + back
            offset, _ = offset.learned(at - way, at + truth, boot)
        return offset

    ours, theirs = known(here, AHEAD), known(there, 77.0)
    token = access(sent=since)

    shared = moved_access(token, ours.low)
    taken = moved_access(shared, -theirs.high)

    assert taken.sent + 77.0 <= token.sent + AHEAD + 1e-6


# Sessions


@given(walks(), st.sampled_from([-1e6, -2.5, 0.0, 1e9]))
def test_a_session_keeps_its_distances_between_moments(
    walk: tuple[Taken, ...], seconds: float
) -> None:
    for taken in walk:
        session = taken.after
        other = moved(session, seconds)
        assert other.ended == session.ended + seconds
        assert type(other.doing) is type(session.doing)
        if isinstance(other.doing, Idle):
            assert isinstance(session.doing, Idle)
            assert other.doing.due == session.doing.due + seconds


def test_every_moment_of_a_session_is_moved_and_nothing_else() -> None:
    error = problem(at=90.0, until=700.0)
    session = replace(fresh(), error=error, bar=Bar(700.0, error, 2), ended=95.0)

    assert moved(session, 1000.0) == replace(
        session,
        doing=Idle(4300.0),
        access=access(sent=1000.0, due=4300.0),
        refresh=refresh(since=1000.0),
        error=problem(at=1090.0, until=1700.0),
        bar=Bar(1700.0, problem(at=1090.0, until=1700.0), 2),
        ended=1095.0,
    )
    assert moved(refreshing(), 1000.0).doing == refreshing().doing
    assert moved(replace(session, bar=Bar(inf, problem())), 9.0).bar == Bar(inf, problem(at=9.0))


# Stamps

ROW = Ledger(
    entries=(Entry(5900.0, clear=True), Entry(5950.0, lost=Fingerprint(7))),
    clear=1,
    announced=5800.0,
    refused_sent=-inf,
)
HERE = Ledger(
    entries=(Entry(900.0, clear=True), Entry(950.0, lost=Fingerprint(7))),
    clear=1,
    announced=800.0,
    refused_sent=-inf,
)


def read(ledger: Ledger, stamps: Stamps | None = None, offset: float = AHEAD) -> Stamps:
    """Return what is known of stamps after a row's ledger was read."""
    return (stamps or Stamps()).knowing(ledger, offset, NOW)


@pytest.mark.parametrize("off", [0.0, 2.0])
def test_a_ledger_is_read_in_moments_of_the_host_and_written_as_it_was(off: float) -> None:
    """Also if the offset is known better by now: else each writer would move all stamps a little."""
    stamps = read(ROW)

    assert stamps.to_host(ROW) == HERE
    assert stamps.to_store(HERE, AHEAD + off)[1] == ROW


@pytest.mark.parametrize("step", [-86400.0, -600.0, 600.0, 86400.0])
def test_no_rejection_is_forgotten_or_lasts_longer_because_the_stores_clock_was_set(
    step: float,
) -> None:
    assert read(ROW, read(ROW), AHEAD + step).to_host(ROW) == HERE


@pytest.mark.parametrize("step", [-86400.0, 86400.0])
def test_nor_is_one_that_this_host_wrote_and_has_not_read_yet(step: float) -> None:
    stamps, row = Stamps().to_store(HERE, AHEAD)

    assert read(row, stamps, AHEAD + step).to_host(row) == HERE


def test_stamps_that_are_off_are_written_anew_for_hosts_that_never_saw_them() -> None:
    stamps = read(ROW)
    assert not stamps.misfit(ROW, AHEAD + 9.9)
    assert stamps.misfit(ROW, AHEAD + 600.0)

    stamps, anew = stamps.to_store(HERE, AHEAD + 600.0)

    assert not stamps.misfit(anew, AHEAD + 600.0)
    assert read(anew, None, AHEAD + 600.0).to_host(anew) == HERE
    assert read(anew, stamps, AHEAD + 600.0).to_host(anew) == HERE


def test_a_host_that_never_saw_a_row_finds_that_it_fits() -> None:
    assert not Stamps().misfit(ROW, AHEAD)


def test_an_entry_of_the_future_counts_for_no_longer_than_a_lost_login() -> None:
    """The store's clock was set back before this host read the row."""
    ledger = read(ROW, None, AHEAD - 86400.0).to_host(ROW)

    assert [entry.at for entry in ledger.entries] == [NOW + LATE, NOW + LATE]
    assert possible_at(ledger, NOW) <= NOW + LATE + WINDOW


def test_entries_are_in_order_in_the_clock_in_which_they_are_told() -> None:
    """Another host counted one after the store's clock had been set back."""
    behind = AHEAD - 600.0
    later = replace(ROW, entries=(Entry(1100.0 + behind), *ROW.entries))
    stamps = read(ROW).knowing(later, behind, 1200.0)

    ledger = stamps.to_host(later)

    assert ledger.entries == (*HERE.entries, Entry(1100.0))
    _, row = stamps.to_store(ledger, AHEAD)
    assert row.entries == (*ROW.entries, Entry(1100.0 + AHEAD))


def test_old_stamps_are_forgotten() -> None:
    """Their entries have left the row: a window and three a time are all that it holds."""
    stamps = Stamps()
    for at in range(10 * KEPT):
        stamps = read(Ledger(entries=(Entry(float(at)),)), stamps, 0.0)

    assert len(stamps.moments) <= KEPT + 3
