"""What the daemons of a fleet may write of an account, and what a lost claim costs."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import access, fresh, logging_in, problem, refresh, refreshing
from openfit_token.errors import LoginRejected, Unavailable
from openfit_tokend.core import budget
from openfit_tokend.core.budget import LIMIT, WINDOW, Attempt, Entry, Fingerprint, Go, Ledger, lost
from openfit_tokend.core.events import Kind, OverBudget
from openfit_tokend.core.fleet.row import (
    TERM,
    claiming,
    given_up,
    published,
    recalled,
    settled,
    shared_token,
    taken_back,
    without_unsent,
)
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.schedule import REQUEST_TIMEOUT
from openfit_tokend.core.session import Bar, Idle, Login, Requesting, Session, Stopped
from walks import Taken, walks

NOW = 100.0
ONE = Fingerprint(1)
OTHER = Fingerprint(2)
GIVEN_UP = Problem(
    Unavailable,
    "host-3 asked the token server, and no word of the answer came",
    "no action needed; it will be retried",
    NOW,
)


# Sessions


def test_a_claim_stands_until_its_request_has_certainly_ended() -> None:
    assert TERM > 10.0 + REQUEST_TIMEOUT


@given(walks())
def test_no_request_without_a_claim_and_no_clients_wish_is_published(
    walk: tuple[Taken, ...],
) -> None:
    for taken in walk:
        shown = published(taken.after, taken.moment.now)
        assert not isinstance(shown.doing, Requesting)
        assert not shown.wanted


@given(walks())
def test_a_claim_is_written_with_its_request_and_with_no_wish_or_order_of_this_host(
    walk: tuple[Taken, ...],
) -> None:
    for taken in walk:
        doing = taken.after.doing
        if isinstance(doing, Requesting):
            shown, request = claiming(taken.after), doing.request
            if isinstance(request, Login):  # nor with a refresh token that an operator gave
                request = replace(request, given=None)
            assert shown == replace(taken.after, doing=Requesting(request), wanted=False)


def test_a_request_that_has_no_claim_yet_is_published_as_due() -> None:
    assert published(refreshing(), NOW) == replace(refreshing(), doing=Idle(NOW))


def test_a_request_is_published_as_due_a_second_after_the_last_one() -> None:
    session = replace(refreshing(), ended=99.5)

    assert published(session, NOW).doing == Idle(100.5)


@pytest.mark.parametrize(
    "session", [fresh(), Session(Stopped(), bar=Bar(inf, problem(LoginRejected)))]
)
def test_what_rests_is_published_as_it_is(session: Session) -> None:
    assert published(session, NOW) == session


def test_a_claim_under_which_nothing_was_sent_leaves_no_trace() -> None:
    assert taken_back(refreshing(), NOW) == replace(refreshing(), doing=Idle(NOW))


def test_what_one_host_could_not_send_is_not_published() -> None:
    session = replace(refreshing(), failures=3, error=problem(), unsent_until=NOW)
    base = replace(refreshing(), failures=1, error=GIVEN_UP)

    assert without_unsent(session, None) == refreshing()
    assert without_unsent(session, base) == base


def test_what_was_sent_and_failed_is_published() -> None:
    session = replace(refreshing(), failures=3, error=problem())

    assert without_unsent(session, refreshing()) == session


def test_a_refresh_whose_claim_ended_has_lost_one_use_of_its_token() -> None:
    assert given_up(refreshing(), "host-3", NOW) == replace(
        refreshing(),
        doing=Idle(101.0),
        refresh=refresh(lost=1),
        number=3,
        failures=1,
        error=GIVEN_UP,
    )


def test_after_a_login_whose_claim_ended_the_refresh_token_is_as_good_as_before() -> None:
    session = replace(refreshing(), doing=Requesting(Login()))

    assert given_up(session, "host-3", NOW).refresh == refresh()


def test_after_a_login_whose_claim_ended_another_is_tried() -> None:
    assert given_up(logging_in(), "host-3", NOW).doing == Idle(101.0)


# The token that others get


HELD = access(number=7, sent=50.0)


def test_without_a_token_others_get_none() -> None:
    assert shared_token(None, HELD, 7, 40.0) is None


def test_a_token_that_came_from_the_row_stays_as_it_is_there() -> None:
    base = replace(HELD, sent=49.0)

    assert shared_token(HELD, base, 6, 40.0) == base
    assert shared_token(HELD, base, 7, 40.0) == base


def test_the_token_of_the_last_claim_is_shared_as_sent_no_later_than_that() -> None:
    base = replace(HELD, id="older")

    assert shared_token(HELD, None, 7, 60.0) == HELD
    assert shared_token(HELD, base, 7, 40.0) == replace(HELD, sent=40.0)


@pytest.mark.parametrize("claimed", [6, 8, -1])
def test_a_token_that_neither_the_row_nor_the_last_claim_brought_is_nobody_elses(
    claimed: int,
) -> None:
    assert shared_token(HELD, None, claimed, 60.0) is None


# What each host has of its own


# The ledger


@pytest.mark.parametrize("kind", [None, *Kind])
def test_what_is_settled_late_was_not_lost(kind: Kind | None) -> None:
    """Its claim gave way, so it isn't under way any more."""
    attempt = Attempt(50.0, ONE)
    intime = settled(Ledger(under_way=(attempt,)), attempt, kind, NOW)

    assert settled(lost(Ledger(), ONE, 90.0), attempt, kind, NOW) == intime


def test_what_is_settled_late_takes_back_only_one_lost_login_of_its_own_password() -> None:
    ledger = Ledger(entries=(Entry(80.0, lost=OTHER), Entry(85.0, lost=ONE), Entry(90.0, lost=ONE)))

    after = settled(ledger, Attempt(50.0, ONE), Kind.TRANSIENT, NOW)

    assert after.entries == (Entry(80.0, lost=OTHER), Entry(90.0, lost=ONE))


def test_what_is_settled_late_though_nothing_was_counted_takes_nothing_back() -> None:
    ledger = Ledger(entries=(Entry(80.0, lost=OTHER),))

    assert settled(ledger, Attempt(50.0, ONE), Kind.TRANSIENT, NOW) == ledger


def test_a_settled_login_is_no_longer_under_way_and_others_are() -> None:
    attempt, other = Attempt(50.0, ONE), Attempt(60.0, OTHER)

    after = settled(Ledger(under_way=(other, attempt)), attempt, Kind.TRANSIENT, NOW)

    assert after == Ledger(under_way=(other,))


KNOWN = Ledger(
    entries=(Entry(50.0, clear=True), Entry(60.0, lost=OTHER), Entry(70.0, clear=True)),
    clear=2,
    rejected=(ONE,),
    refused_sent=69.0,
)


@pytest.mark.parametrize(
    "row",
    [Ledger(), Ledger(entries=KNOWN.entries[:1], clear=1, proven=(ONE,))],
    ids=["empty", "older"],
)
def test_a_row_that_was_put_back_is_told_what_it_forgot(row: Ledger) -> None:
    assert recalled(row, KNOWN, NOW) == KNOWN


def test_a_row_may_forget_a_lost_login_once_it_is_settled() -> None:
    row = replace(KNOWN, entries=(KNOWN.entries[0], KNOWN.entries[2]), clear=0, rejected=())

    assert recalled(row, KNOWN, NOW) == row


def test_a_row_may_forget_what_no_longer_counts() -> None:
    assert recalled(Ledger(), KNOWN, 70.0 + WINDOW) == Ledger()


@pytest.mark.parametrize("later", [-9.0, 0.0, 400.0])
def test_what_was_written_anew_by_another_clock_is_no_other_login(later: float) -> None:
    row = replace(KNOWN, entries=tuple(replace(e, at=e.at + later) for e in KNOWN.entries))

    assert recalled(row, KNOWN, NOW) == row


@given(st.lists(st.sampled_from([ONE, OTHER]), min_size=LIMIT, max_size=6))
def test_claims_that_end_without_an_answer_use_up_the_budget(passwords: list[Fingerprint]) -> None:
    ledger = Ledger()
    for count, fingerprint in enumerate(passwords):
        asked = budget.ask(ledger, fingerprint, NOW + count, insisted=True)
        if count >= LIMIT:
            assert isinstance(asked, OverBudget)
        else:
            assert isinstance(asked, Go)
            ledger = lost(ledger, fingerprint, NOW + count)
