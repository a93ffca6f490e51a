"""A row as the store holds it: what was sealed comes back, and nothing else is taken for it."""

from dataclasses import fields, replace
from math import inf
from typing import Any, cast

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import access, fresh, refresh, refreshing
from openfit_tokend.core.budget import Attempt, Entry, Fingerprint, Ledger
from openfit_tokend.core.fleet.row import Claim, Row, Shared, claiming, published
from openfit_tokend.core.session import Login, Requesting
from openfit_tokend.core.settings.values import Account
from openfit_tokend.fleet.row_form import FORM, Keys, Unreadable, opened, row_key, sealed
from openfit_tokend.fleet.store import Unreached
from openfit_tokend.storage import session_form
from walks import Taken, walks

KEY = bytes(range(32))
OTHER_KEY = bytes(32)
KEYS = Keys([KEY])
TAG = b"t" * 16
PLACE = row_key(Account("https://ids.example.org", "service@example.org"))
DAMAGED = (
    "the fleet's row is damaged, or was meant for another place",
    "restore it from a backup; if there is none, delete it: it is then made anew",
)
NEWER = (
    "the fleet's row was written by a newer version of openfit-tokend",
    "upgrade openfit-tokend on this host",
)
UNKNOWN_KEY = (
    "the fleet's row is sealed with a key that this host doesn't have",
    "give all hosts the same keys, then openfit-tokend reload",
)

LEDGER = Ledger(
    entries=(Entry(90.0, clear=True), Entry(95.0), Entry(160.0, lost=Fingerprint(7))),
    clear=1,
    rejected=(Fingerprint(65535),),
    proven=(Fingerprint(0), Fingerprint(8)),
    announced=80.0,
    refused_sent=-inf,
)
LOGIN = Claim(b"c" * 16, "host-1", attempt=Attempt(99.0, Fingerprint(7)))
ROW = Row(
    TAG,
    b"s" * 16,
    LEDGER,
    {
        b"1" * 32: Shared(refreshing(), Claim(b"d" * 16, "host-2"), "host-2", b"u" * 16),
        b"2" * 32: Shared(replace(fresh(), doing=Requesting(Login())), LOGIN, "host-1", TAG),
        b"3" * 32: Shared(fresh(), None, "host-3", b"v" * 16),
    },
    (b"e" * 16, b"f" * 16),
)


def refusal(data: bytes, tag: bytes = TAG, place: str = PLACE, keys: Keys = KEYS) -> object:
    """Return what people are told of a row that isn't opened."""
    with pytest.raises(Unreadable) as refused:
        opened(keys, place, tag, data)
    return refused.value.message, refused.value.hint


# Round trips


def test_a_row_comes_back_as_it_was() -> None:
    assert opened(KEYS, PLACE, TAG, sealed(KEYS, PLACE, ROW)) == ROW


def test_a_row_of_which_nothing_is_known_comes_back() -> None:
    row = Row(TAG, b"s" * 16)

    assert opened(KEYS, PLACE, TAG, sealed(KEYS, PLACE, row)) == row


@given(walks())
def test_whatever_a_session_comes_to_all_hosts_read_the_same(walk: tuple[Taken, ...]) -> None:
    for taken in walk:
        session = replace(taken.after, unsent_until=-inf)  # which isn't written
        claim = LOGIN if isinstance(session.doing, Requesting) else None
        claimed = session if claim is None else claiming(session)
        sessions = {
            b"1" * 32: Shared(claimed, claim, "host-1", TAG),
            b"2" * 32: Shared(published(session, taken.moment.now), None, "host-1", TAG),
        }
        row = replace(ROW, sessions=sessions)

        assert opened(KEYS, PLACE, TAG, sealed(KEYS, PLACE, row)) == row


LEDGERS = st.builds(
    Ledger,
    entries=st.lists(
        st.builds(
            Entry,
            at=st.floats(-1e9, 1e10),
            clear=st.booleans(),
            lost=st.none() | st.integers(0, 65535).map(Fingerprint),
        ),
        max_size=4,
    ).map(tuple),
    clear=st.integers(0, 100),
    rejected=st.lists(st.integers(0, 65535).map(Fingerprint)).map(tuple),
    proven=st.lists(st.integers(0, 65535).map(Fingerprint)).map(tuple),
    announced=st.floats(0, 1e10) | st.just(-inf),
    refused_sent=st.floats(0, 1e10) | st.just(-inf),
)


@given(LEDGERS, st.lists(st.binary(min_size=16, max_size=16), max_size=16).map(tuple))
def test_a_ledger_and_what_was_settled_come_back(ledger: Ledger, done: tuple[bytes, ...]) -> None:
    row = Row(TAG, b"s" * 16, ledger, done=done)

    assert opened(KEYS, PLACE, TAG, sealed(KEYS, PLACE, row)) == row


def test_a_new_field_must_be_given_its_place_in_the_form() -> None:
    """FORM has to be raised when one of these numbers changes, or the form of a session."""
    counts = {kind.__name__: len(fields(kind)) for kind in (Row, Shared, Claim)}
    more = {kind.__name__: len(fields(kind)) for kind in (Ledger, Entry, Attempt)}

    assert (FORM, session_form.VERSION) == (1, 3)
    assert counts == {"Row": 5, "Shared": 4, "Claim": 4}
    assert more == {"Ledger": 7, "Entry": 3, "Attempt": 2}


# What mustn't be written


def test_a_request_without_a_claim_is_never_sealed() -> None:
    lone = {b"1" * 32: Shared(refreshing(), None, "host-1", TAG)}

    with pytest.raises(AssertionError):
        sealed(KEYS, PLACE, replace(ROW, sessions=lone))


def test_a_claim_without_a_request_is_never_sealed() -> None:
    lone = {b"1" * 32: Shared(fresh(), LOGIN, "host-1", TAG)}

    with pytest.raises(AssertionError):
        sealed(KEYS, PLACE, replace(ROW, sessions=lone))


def test_a_login_under_way_is_written_as_its_claim_alone() -> None:
    ledger = replace(LEDGER, under_way=(Attempt(99.0, Fingerprint(7)),))

    with pytest.raises(AssertionError):
        sealed(KEYS, PLACE, replace(ROW, ledger=ledger))


# Secrecy


def test_nothing_of_a_row_is_seen_in_what_the_store_holds() -> None:
    token, name = "a-token-that-is-long-enough", "host-with-a-long-name"
    session = replace(fresh(), access=access(token), refresh=refresh(token[::-1]))
    row = replace(ROW, sessions={b"1" * 32: Shared(session, None, name, TAG)})

    data = sealed(KEYS, PLACE, row)

    shown = [token.encode(), token[::-1].encode(), name.encode(), ROW.salt, KEY, b"1" * 32]
    assert [each for each in shown if each in data] == []


def test_the_same_row_is_never_the_same_bytes() -> None:
    assert sealed(KEYS, PLACE, ROW)[9:] != sealed(KEYS, PLACE, ROW)[9:]


def test_the_place_of_a_row_names_no_account() -> None:
    assert row_key(Account("https://IDS.example.org", "SERVICE@example.org")) == PLACE
    assert row_key(Account("https://ids.example.org", "other@example.org")) != PLACE
    assert len(PLACE) == 64
    assert int(PLACE, 16)


def test_keys_do_not_show_themselves() -> None:
    assert KEY.hex() not in repr(KEYS)
    assert repr(KEY) not in repr(vars(KEYS))


# Keys


def test_any_of_the_keys_opens_and_the_first_seals() -> None:
    """So a new key is first added behind the old one everywhere, and then put before it."""
    before, between, after = Keys([KEY]), Keys([OTHER_KEY, KEY]), Keys([OTHER_KEY])
    old, new = sealed(before, PLACE, ROW), sealed(between, PLACE, ROW)

    assert opened(between, PLACE, TAG, old) == opened(after, PLACE, TAG, new) == ROW
    assert refusal(new, keys=before) == refusal(old, keys=after) == UNKNOWN_KEY


# What isn't opened


def test_what_is_refused_counts_as_a_store_that_is_away() -> None:
    assert issubclass(Unreadable, Unreached)


def test_each_bit_counts() -> None:
    data = sealed(KEYS, PLACE, ROW)
    for index in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[index] ^= 1 << bit
            told = refusal(bytes(changed))
            assert told == (
                (NEWER if changed[0] else DAMAGED)
                if index == 0
                else UNKNOWN_KEY
                if index <= 8
                else DAMAGED
            )


def test_each_part_counts() -> None:
    data = sealed(KEYS, PLACE, ROW)

    assert {refusal(data[:length]) for length in range(len(data))} == {DAMAGED}
    assert refusal(data + b"\0") == DAMAGED


def test_a_row_of_another_account_is_refused() -> None:
    other = row_key(Account("https://ids.example.org", "other@example.org"))

    assert refusal(sealed(KEYS, other, ROW)) == DAMAGED


def test_an_old_row_under_a_new_tag_is_refused() -> None:
    """Whoever can write to the store, but has no key, can't bring an earlier session back as news."""
    assert refusal(sealed(KEYS, PLACE, ROW), tag=b"n" * 16) == DAMAGED


def test_a_row_of_a_newer_form_is_left_alone() -> None:
    data = sealed(KEYS, PLACE, ROW)

    assert refusal(bytes([FORM + 1]) + data[1:]) == NEWER


def forged(row: object) -> bytes:
    """Return plain values sealed as a row: what another program with the key may write."""
    return KEYS.seal(msgpack.packb(row), PLACE, TAG)


PLAIN: Any = msgpack.unpackb(KEYS.open(sealed(KEYS, PLACE, ROW), PLACE, TAG), strict_map_key=False)


def test_whole_bytes_that_are_no_row_are_refused() -> None:
    wrong: list[object] = [[], {}, 1, None, PLAIN[:3], [*PLAIN, 1], [b"short", *PLAIN[1:]]]
    for row in wrong:
        assert refusal(forged(row)) == DAMAGED
    assert refusal(KEYS.seal(b"\xc1", PLACE, TAG)) == DAMAGED
    assert opened(KEYS, PLACE, TAG, forged(PLAIN)) == ROW


@pytest.mark.parametrize("wrong", [None, True, -1, "x", b"x", [], {}, float("nan")], ids=repr)
def test_a_value_of_another_kind_is_refused_or_comes_back_as_it_went_in(wrong: object) -> None:
    def places(value: object, path: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
        if not isinstance(value, list):
            return [path]
        items = enumerate(cast("list[object]", value))
        inner = [place for index, each in items for place in places(each, (*path, index))]
        return [path, *inner]

    for path in places(PLAIN)[1:]:
        row = msgpack.unpackb(msgpack.packb(PLAIN))
        inner = row
        for index in path[:-1]:
            inner = inner[index]
        inner[path[-1]] = wrong
        try:
            taken = opened(KEYS, PLACE, TAG, forged(row))
        except Unreadable:
            continue
        assert opened(KEYS, PLACE, TAG, sealed(KEYS, PLACE, taken)) == taken


def test_a_request_without_a_claim_is_refused() -> None:
    """Nobody would ever take it over."""
    row = msgpack.unpackb(msgpack.packb(PLAIN))
    row[2][0][2] = None

    assert refusal(forged(row)) == DAMAGED


def test_a_claim_whose_term_never_ends_is_refused() -> None:
    row = msgpack.unpackb(msgpack.packb(PLAIN))
    row[2][0][2][2] = inf

    assert refusal(forged(row)) == DAMAGED
