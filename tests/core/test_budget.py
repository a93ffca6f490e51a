"""How many rejected passwords an account may still cost."""

from dataclasses import replace
from math import inf
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfit_tokend.core.budget import (
    LATE,
    LIMIT,
    WINDOW,
    Attempt,
    Entry,
    Fingerprint,
    Go,
    Ledger,
    Wait,
    announce,
    ask,
    doubted,
    is_void,
    lacks,
    logins_left,
    lost,
    may_go_unwritten,
    merged,
    possible_at,
    settle,
    unreadable,
)
from openfit_tokend.core.events import Kind, OverBudget

ONE: Final = Fingerprint(1)
TWO: Final = Fingerprint(2)
NOW: Final = 10_000.0
OLD: Final = NOW - 900.0
"""When an entry was made that has just stopped being young."""


def clear(*moments: float) -> Ledger:
    """Return the ledger of an account with these clear rejections since its last accepted login."""
    entries = tuple(Entry(at, clear=True) for at in moments)
    return Ledger(entries, clear=len(entries), refused_sent=max(moments) - 1.0)


def going(ledger: Ledger, fingerprint: Fingerprint) -> Go:
    attempt = Attempt(NOW, fingerprint)
    return Go(replace(ledger, under_way=(*ledger.under_way, attempt)), attempt)


# ask: the first rule that fits decides


def test_the_first_login_of_an_account_goes() -> None:
    assert ask(Ledger(), ONE, NOW, insisted=False) == going(Ledger(), ONE)


def test_a_password_known_as_rejected_is_not_sent_again() -> None:
    ledger = replace(clear(OLD), rejected=(ONE,))

    assert ask(ledger, ONE, NOW, insisted=False) == OverBudget(inf, known=True)
    assert ask(ledger, TWO, NOW, insisted=False) == going(ledger, TWO)


def test_a_password_known_as_rejected_is_not_sent_again_whatever_else_the_budget_says() -> None:
    ledger = replace(clear(NOW, NOW, NOW), rejected=(ONE,), under_way=(Attempt(NOW, TWO),))

    assert ask(ledger, ONE, NOW, insisted=False) == OverBudget(inf, known=True)


def test_an_operator_may_insist_on_a_password_known_as_rejected() -> None:
    ledger = replace(clear(OLD), rejected=(ONE,))

    assert ask(ledger, ONE, NOW, insisted=True) == going(ledger, ONE)


@pytest.mark.parametrize("insisted", [True, False])
def test_after_three_clear_rejections_nothing_goes_for_900_s_whoever_insists(
    insisted: bool,  # noqa: FBT001 -- pytest names it
) -> None:
    ledger = replace(clear(NOW - 1500, NOW - 1000, NOW - 899.5), proven=(ONE,), announced=NOW)

    assert ask(ledger, ONE, NOW, insisted=insisted) == OverBudget(NOW + 0.5, known=False)


def test_after_three_clear_rejections_nothing_goes_by_itself_also_after_900_s() -> None:
    ledger = clear(NOW - 5000, NOW - 3000, OLD)

    assert ask(ledger, ONE, NOW, insisted=False) == OverBudget(NOW + 900.0, known=False)


def test_after_three_clear_rejections_and_900_s_an_operator_may_insist() -> None:
    ledger = clear(NOW - 5000, NOW - 3000, OLD)

    assert ask(ledger, ONE, NOW, insisted=True) == going(ledger, ONE)


@pytest.mark.parametrize("insisted", [True, False])
def test_after_three_clear_rejections_a_lost_answer_counts_as_another(*, insisted: bool) -> None:
    """It may be the server's fourth, and a fifth would lock the account."""
    ledger = replace(lost(clear(0.0, 1.0, 2.0), ONE, 1000.0), announced=990.0)

    asked = ask(ledger, TWO, 1001.0, insisted=insisted)

    assert asked == OverBudget(1000.0 + LATE + 900.0, known=False)


def test_after_three_clear_rejections_and_900_s_a_proven_password_goes() -> None:
    ledger = replace(clear(NOW - 5000, NOW - 3000, OLD), proven=(ONE,))

    assert ask(ledger, ONE, NOW, insisted=False) == going(ledger, ONE)
    assert ask(ledger, TWO, NOW, insisted=False) == OverBudget(NOW + 900.0, known=False)


def test_after_three_clear_rejections_and_900_s_a_secret_announced_since_goes() -> None:
    # an announcement counts while later than the sending of every clearly rejected login
    ledger = replace(clear(NOW - 5000, NOW - 3000, OLD), refused_sent=OLD - 10.0)

    later = replace(ledger, announced=OLD - 9.9)
    not_later = replace(ledger, announced=OLD - 10.0)

    assert ask(later, ONE, NOW, insisted=False) == going(later, ONE)
    assert ask(not_later, ONE, NOW, insisted=False) == OverBudget(NOW + 900.0, known=False)


def test_an_insisted_password_known_as_rejected_is_told_as_known() -> None:
    by_clear = replace(clear(NOW, NOW, NOW), rejected=(ONE,))
    by_window = replace(by_clear, clear=0)

    for ledger in (by_clear, by_window):
        assert ask(ledger, ONE, NOW, insisted=True) == OverBudget(NOW + 900.0, known=True)


@pytest.mark.parametrize(
    "mixed",
    [
        Entry(NOW - 100.0, clear=True),
        Entry(NOW - 100.0),
        Entry(NOW - 100.0, lost=TWO),
    ],
    ids=["clear", "unclear", "lost"],
)
def test_three_entries_of_any_kind_younger_than_900_s_stop_everything(mixed: Entry) -> None:
    entries = (Entry(NOW - 2000.0), Entry(NOW - 800.0), Entry(NOW - 500.0, lost=ONE), mixed)
    ledger = Ledger(entries, proven=(ONE,), announced=NOW)

    assert ask(ledger, ONE, NOW, insisted=True) == OverBudget(NOW + 100.0, known=False)


def test_the_third_newest_of_many_entries_says_when() -> None:
    ledger = Ledger(tuple(Entry(NOW - age) for age in (700.0, 600.0, 500.0, 400.0)))

    assert ask(ledger, ONE, NOW, insisted=False) == OverBudget(NOW + 300.0, known=False)


def test_an_entry_of_900_s_ago_is_no_longer_young() -> None:
    ledger = Ledger((Entry(OLD), Entry(NOW), Entry(NOW)))

    assert ask(ledger, ONE, NOW, insisted=False) == going(ledger, ONE)


@given(at=st.floats(0.0, 1e7), fraction=st.floats(0.0, 0.999999))
def test_what_is_over_budget_goes_at_the_very_moment_that_was_named(
    at: float, fraction: float
) -> None:
    ledger = Ledger((Entry(at), Entry(at), Entry(at)))
    refused = ask(ledger, ONE, at + fraction * WINDOW, insisted=False)

    assert isinstance(refused, OverBudget)
    assert isinstance(ask(ledger, ONE, refused.until, insisted=False), Go)


def test_an_unproven_password_waits_for_another_login_of_the_account() -> None:
    ledger = Ledger(under_way=(Attempt(NOW - 1.0, TWO),))

    assert ask(ledger, ONE, NOW, insisted=True) == Wait()


def test_a_proven_password_goes_beside_another_login_of_the_account() -> None:
    ledger = Ledger(under_way=(Attempt(NOW - 1.0, TWO),), proven=(ONE,))

    assert ask(ledger, ONE, NOW, insisted=False) == going(ledger, ONE)


@pytest.mark.parametrize(("insisted", "void"), [(False, True), (True, False)])
def test_a_login_that_goes_is_void_once_its_password_was_rejected_unless_an_operator_insists(
    *, insisted: bool, void: bool
) -> None:
    first, second = Attempt(NOW - 1.0, ONE), Attempt(NOW, ONE)
    ledger = Ledger(under_way=(first, second), proven=(ONE,))
    rejected = settle(ledger, first, Kind.GRANT_REJECTED, NOW)

    assert not is_void(ledger, second, insisted=insisted)
    assert is_void(rejected, second, insisted=insisted) is void
    assert not is_void(rejected, Attempt(NOW, TWO), insisted=insisted)


@pytest.mark.parametrize(("entries", "under_way"), [(0, 3), (1, 2), (2, 1)])
def test_a_proven_password_waits_where_those_under_way_could_spend_the_budget(
    entries: int, under_way: int
) -> None:
    ledger = Ledger(
        tuple(Entry(NOW) for _ in range(entries)),
        under_way=tuple(Attempt(NOW, ONE) for _ in range(under_way)),
        proven=(ONE,),
    )
    one_less = replace(ledger, under_way=ledger.under_way[1:])

    assert ask(ledger, ONE, NOW, insisted=True) == Wait()
    assert isinstance(ask(one_less, ONE, NOW, insisted=True), Go)


def test_an_account_with_two_entries_and_none_under_way_has_one_login_left() -> None:
    ledger = Ledger((Entry(NOW), Entry(NOW)))

    assert ask(ledger, ONE, NOW, insisted=False) == going(ledger, ONE)


# settle

ATTEMPT: Final = Attempt(NOW - 5.0, ONE)
OTHER: Final = Attempt(NOW - 5.0, TWO)
BUSY: Final = Ledger(
    (Entry(NOW - 100.0, clear=True), Entry(NOW - 50.0, lost=ONE), Entry(NOW - 40.0, lost=TWO)),
    clear=1,
    under_way=(OTHER, ATTEMPT),
    rejected=(TWO,),
    proven=(ONE,),
    announced=NOW - 500.0,
    refused_sent=NOW - 101.0,
)


def test_a_rejection_is_a_clear_entry_at_the_time_of_the_answer() -> None:
    assert settle(BUSY, ATTEMPT, Kind.GRANT_REJECTED, NOW) == replace(
        BUSY,
        entries=(*BUSY.entries, Entry(NOW, clear=True)),
        clear=2,
        under_way=(OTHER,),
        rejected=(TWO, ONE),
        proven=(),
        refused_sent=NOW - 5.0,
    )


def test_the_newest_sending_of_a_rejected_login_counts_whatever_their_order() -> None:
    ledger = replace(BUSY, refused_sent=NOW - 1.0)

    assert settle(ledger, ATTEMPT, Kind.GRANT_REJECTED, NOW).refused_sent == NOW - 1.0


def test_an_unclear_refusal_is_an_entry() -> None:
    assert settle(BUSY, ATTEMPT, Kind.UNCLEAR, NOW) == replace(
        BUSY, entries=(*BUSY.entries, Entry(NOW)), under_way=(OTHER,)
    )


def test_a_lost_answer_is_an_entry_with_its_password() -> None:
    assert settle(BUSY, ATTEMPT, Kind.UNCERTAIN, NOW) == replace(
        BUSY, entries=(*BUSY.entries, Entry(NOW, lost=ONE)), under_way=(OTHER,)
    )


def test_a_success_takes_back_the_count_and_the_lost_answers_of_this_password_only() -> None:
    ledger = replace(BUSY, rejected=(TWO, ONE), proven=(TWO,))

    assert settle(ledger, ATTEMPT, None, NOW) == replace(
        ledger,
        entries=(BUSY.entries[0], BUSY.entries[2]),
        clear=0,
        under_way=(OTHER,),
        rejected=(TWO,),
        proven=(TWO, ONE),
    )


def test_a_success_leaves_the_entries_of_clear_rejections_their_900_s() -> None:
    ledger = replace(clear(NOW - 3.0, NOW - 2.0, NOW - 1.0), under_way=(ATTEMPT,))

    settled = settle(ledger, ATTEMPT, None, NOW)

    assert ask(settled, ONE, NOW, insisted=False) == OverBudget(NOW + 897.0, known=False)


@pytest.mark.parametrize("kind", [Kind.TRANSIENT, Kind.CLIENT_REJECTED, Kind.SECRET_UNAVAILABLE])
def test_what_the_server_did_not_count_leaves_nothing(kind: Kind) -> None:
    assert settle(BUSY, ATTEMPT, kind, NOW) == replace(BUSY, under_way=(OTHER,))


def test_of_two_equal_attempts_one_is_settled() -> None:
    ledger = Ledger(under_way=(ATTEMPT, ATTEMPT))

    assert settle(ledger, ATTEMPT, Kind.TRANSIENT, NOW) == Ledger(under_way=(ATTEMPT,))


def test_old_entries_are_forgotten_but_the_newest_clear_one() -> None:
    ledger = Ledger(
        (
            Entry(OLD - 2.0, clear=True),
            Entry(OLD - 1.0, clear=True),
            Entry(OLD - 1.0),
            Entry(OLD, lost=ONE),
            Entry(OLD),
            Entry(OLD + 1.0),
        ),
        clear=3,
        under_way=(ATTEMPT,),
    )

    settled = settle(ledger, ATTEMPT, Kind.TRANSIENT, NOW)

    assert settled.entries == (Entry(OLD - 1.0, clear=True), Entry(OLD + 1.0))


def test_the_16_newest_passwords_are_remembered() -> None:
    ledger = Ledger()
    for number in range(17):
        attempt = Attempt(NOW, Fingerprint(number))
        ledger = settle(replace(ledger, under_way=(attempt,)), attempt, Kind.GRANT_REJECTED, NOW)

    assert ledger.rejected == tuple(range(1, 17))


def test_a_password_rejected_again_is_remembered_as_the_newest() -> None:
    ledger = Ledger(under_way=(ATTEMPT,), rejected=(ONE, TWO))

    assert settle(ledger, ATTEMPT, Kind.GRANT_REJECTED, NOW).rejected == (TWO, ONE)


# announce, and what people are told


def test_an_announcement_is_written_down() -> None:
    assert announce(BUSY, NOW) == replace(BUSY, announced=NOW)


@pytest.mark.parametrize(
    ("ledger", "left"),
    [
        (Ledger(), 3),
        (clear(OLD), 2),
        (Ledger((Entry(NOW), Entry(NOW - 899.0))), 1),
        (replace(clear(NOW), clear=2), 1),
        (clear(NOW, NOW, NOW), 0),
        (clear(OLD, OLD, OLD + 1.0), 0),
        (clear(OLD, OLD, OLD), 1),
        (Ledger((Entry(NOW),) * 4), 0),
        (clear(OLD, OLD, OLD, OLD), 1),
    ],
)
def test_what_is_left_of_the_budget(ledger: Ledger, left: int) -> None:
    assert logins_left(ledger, NOW) == left


@pytest.mark.parametrize(
    ("ledger", "moment"),
    [
        (Ledger(), NOW),
        (Ledger((Entry(NOW - 500.0), Entry(NOW))), NOW),
        (Ledger((Entry(NOW - 500.0), Entry(NOW), Entry(NOW))), NOW + 400.0),
        (clear(NOW - 1500.0, NOW - 1000.0, NOW - 300.0), NOW + 600.0),
        (replace(clear(NOW - 1500.0, NOW - 300.0), clear=2), NOW),
        (clear(OLD - 9.0, OLD - 9.0, OLD - 9.0), NOW),
        (clear(NOW - 800.0, NOW - 700.0, NOW - 600.0), NOW + 300.0),
    ],
)
def test_when_the_budget_allows_a_login_that_an_operator_insists_on(
    ledger: Ledger, moment: float
) -> None:
    assert possible_at(ledger, NOW) == moment
    assert isinstance(ask(ledger, ONE, moment, insisted=True), Go)


def test_proven_logins_side_by_side_do_not_add_to_old_clear_rejections() -> None:
    """Two typos long ago, and a password changed since: three at once would make five."""
    ledger = replace(
        clear(NOW - 2000.0, NOW - 1990.0), proven=(ONE,), under_way=(Attempt(NOW - 1.0, ONE),)
    )

    assert ask(ledger, ONE, NOW, insisted=False) == Wait()


# What couldn't be written down, and what was read


@pytest.mark.parametrize(
    ("insisted", "proven", "goes"),
    [(False, (), False), (False, (TWO,), False), (True, (), True), (False, (ONE,), True)],
)
def test_what_could_not_be_written_down_goes_for_an_operator_or_a_password_that_was_accepted(
    insisted: bool,  # noqa: FBT001 -- pytest names it
    proven: tuple[Fingerprint, ...],
    goes: bool,  # noqa: FBT001 -- pytest names it
) -> None:
    ledger = Ledger(under_way=(ATTEMPT,), proven=proven)

    assert may_go_unwritten(ledger, ATTEMPT, insisted=insisted) is goes


def test_what_is_written_lacks_an_entry_that_came_since() -> None:
    written = Ledger((Entry(1.0), Entry(2.0, clear=True)))

    assert lacks(written, replace(written, entries=(*written.entries, Entry(3.0))))
    assert lacks(Ledger(), written)
    assert not lacks(written, replace(written, entries=written.entries[1:], proven=(ONE,)))


def test_a_login_that_nobody_heard_of_counts_once_the_server_has_ended_it() -> None:
    before = Ledger(entries=(Entry(NOW - 10.0, clear=True),))

    assert lost(before, ONE, NOW).entries == (*before.entries, Entry(NOW + 60.0, lost=ONE))
    assert lost(before, None, NOW).entries == (*before.entries, Entry(NOW + LATE))


@pytest.mark.parametrize(("logins", "counted"), [(0, 0), (2, 2), (10**9, LIMIT)])
def test_any_number_of_lost_logins_counts_as_three_at_most(logins: int, counted: int) -> None:
    assert lost(Ledger(), None, NOW, logins).entries == (Entry(NOW + LATE),) * counted


def test_entries_stay_in_order_though_a_lost_login_is_counted_ahead_of_its_time() -> None:
    ahead = replace(lost(Ledger(), TWO, NOW), under_way=(ATTEMPT,))

    after = settle(ahead, ATTEMPT, Kind.GRANT_REJECTED, NOW)

    assert after.entries == (Entry(NOW, clear=True), Entry(NOW + LATE, lost=TWO))


def test_an_account_of_which_nothing_can_be_read_has_one_login_left_for_anybody() -> None:
    ledger = unreadable(NOW)

    assert logins_left(ledger, NOW) == 1
    assert ask(ledger, ONE, NOW, insisted=False) == going(ledger, ONE)


@pytest.mark.parametrize("entries", [0, 1, 2])
def test_a_doubted_account_has_one_login_left_for_an_operator(entries: int) -> None:
    young = tuple(Entry(NOW - 100.0) for _ in range(entries))
    ledger = doubted(Ledger(young, announced=NOW), NOW)

    assert logins_left(ledger, NOW) == 1
    assert ask(ledger, ONE, NOW, insisted=True) == going(ledger, ONE)
    assert ask(ledger, ONE, NOW, insisted=False) == OverBudget(NOW + WINDOW, known=False)
    later = NOW + 10.0 * WINDOW
    assert ask(ledger, ONE, later, insisted=False) == OverBudget(later + WINDOW, known=False)


def test_a_doubted_account_tries_a_secret_that_is_announced_later() -> None:
    ledger = announce(doubted(Ledger(), NOW), NOW + 1.0)

    assert isinstance(ask(ledger, ONE, NOW + 2.0, insisted=False), Go)


def test_doubt_takes_nothing_off_a_ledger() -> None:
    full = replace(clear(NOW, NOW, NOW, NOW), rejected=(ONE,))

    assert doubted(full, NOW) == replace(full, refused_sent=NOW)


def test_two_ledgers_of_one_account_become_one_that_has_all_of_both() -> None:
    one = Ledger((Entry(1.0), Entry(4.0)), clear=1, rejected=(ONE,), announced=5.0)
    other = Ledger((Entry(2.0, clear=True),), 2, rejected=(TWO,), refused_sent=2.0)

    assert merged(one, other) == Ledger(
        (Entry(1.0), Entry(2.0, clear=True), Entry(4.0)),
        clear=3,
        rejected=(ONE, TWO),
        announced=5.0,
        refused_sent=2.0,
    )
