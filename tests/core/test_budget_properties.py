"""Rules of the budget that hold for every history of an account."""

from dataclasses import dataclass, replace
from math import inf
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from openfit_tokend.core.budget import (
    LIMIT,
    WINDOW,
    Attempt,
    Fingerprint,
    Go,
    Ledger,
    announce,
    ask,
    settle,
)
from openfit_tokend.core.events import Kind

ONE: Final = Fingerprint(1)
TWO: Final = Fingerprint(2)


@dataclass(frozen=True, slots=True)
class Try:
    """A login that somebody wants: `gap` seconds after the last; its answer takes `takes`."""

    gap: float
    takes: float
    fingerprint: Fingerprint
    insisted: bool
    announced: bool
    kind: Kind | None


TRIES = st.lists(
    st.builds(
        Try,
        gap=st.floats(0.0, 500.0),
        takes=st.floats(0.0, 60.0),
        fingerprint=st.sampled_from([ONE, TWO, Fingerprint(3), Fingerprint(4)]),
        insisted=st.booleans(),
        announced=st.booleans(),
        kind=st.sampled_from([None, Kind.GRANT_REJECTED, Kind.UNCLEAR, Kind.UNCERTAIN]),
    ),
    min_size=4,
    max_size=30,
)


def history(tries: list[Try]) -> list[tuple[float, Try]]:
    """Return the answers, with their moments, of those logins that the ledger let go."""
    ledger, now = Ledger(), 0.0
    under_way: list[tuple[float, Attempt, Try]] = []
    answers: list[tuple[float, Try]] = []
    for wanted in tries:
        now += wanted.gap
        for end, attempt, sent in sorted(under_way, key=lambda each: each[0]):
            if end <= now:
                ledger = settle(ledger, attempt, sent.kind, end)
                answers.append((end, sent))
        under_way = [each for each in under_way if each[0] > now]
        if wanted.announced:
            ledger = announce(ledger, now)
        verdict = ask(ledger, wanted.fingerprint, now, insisted=wanted.insisted)
        if isinstance(verdict, Go):
            ledger = verdict.ledger
            under_way.append((now + wanted.takes, verdict.attempt, wanted))
    return answers


@given(TRIES)
def test_never_more_than_three_logins_in_15_minutes_are_or_may_have_been_rejected(
    tries: list[Try],
) -> None:
    answers = history(tries)
    accepted = {each.fingerprint: at for at, each in answers if each.kind is None}

    spent = [
        at
        for at, each in answers
        if each.kind in {Kind.GRANT_REJECTED, Kind.UNCLEAR}
        or (each.kind is Kind.UNCERTAIN and at > accepted.get(each.fingerprint, -inf))
    ]

    assert all(later >= at + WINDOW for at, later in zip(spent, spent[LIMIT:], strict=False))


@given(TRIES)
def test_a_rejected_password_is_sent_again_only_for_an_operator(tries: list[Try]) -> None:
    rejected: set[Fingerprint] = set()

    for _, each in history([replace(one, takes=0.0) for one in tries]):
        assert each.fingerprint not in rejected or each.insisted
        if each.kind is Kind.GRANT_REJECTED:
            rejected.add(each.fingerprint)
        elif each.kind is None:
            rejected.discard(each.fingerprint)


@given(TRIES)
def test_without_an_operator_three_clear_rejections_are_the_last(tries: list[Try]) -> None:
    alone = [replace(one, insisted=False, announced=False) for one in tries]
    proven: set[Fingerprint] = set()
    in_a_row = 0

    for _, each in history([replace(one, takes=0.0) for one in alone]):
        assert in_a_row < LIMIT or each.fingerprint in proven  # one more for each proven password
        if each.kind is Kind.GRANT_REJECTED:
            in_a_row += 1
            proven.discard(each.fingerprint)
        elif each.kind is None:
            in_a_row = 0
            proven.add(each.fingerprint)
