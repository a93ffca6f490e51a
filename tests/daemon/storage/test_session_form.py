"""A session as bytes: what was kept comes back, and nothing else is taken for it."""

from dataclasses import fields, replace
from hashlib import sha256
from math import inf
from typing import Any, cast

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from made import access, fresh, problem, refreshing
from openfit_token._shared.secret import Secret
from openfit_token.errors import BY_CODE
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import (
    AccessToken,
    Bar,
    Login,
    Refresh,
    RefreshToken,
    Requesting,
    Session,
    Stopped,
    behind,
)
from openfit_tokend.core.settings.values import Identity
from openfit_tokend.storage.plain import Damaged
from openfit_tokend.storage.session_form import (
    VERSION,
    Newer,
    StoredSession,
    decoded,
    digest,
    encoded,
)
from walks import POLICIES, Taken, walks

IDENTITY = Identity("https://ids.example.org", "client", "api", "user")


def kept(session: Session, profile: str = "main") -> StoredSession:
    return StoredSession(
        sequence=7,
        boot_id="this boot",
        profile=profile,
        identity=digest(IDENTITY),
        policy=Policy(),
        session=session,
        last_success_at=12.5,
        at=13.5,
        unwritten=True,
    )


def summed(body: bytes) -> bytes:
    return sha256(body).digest() + body


OTHERS = st.builds(
    StoredSession,
    sequence=st.integers(0, 2**62),
    boot_id=st.text(),
    profile=st.text(),
    identity=st.binary(max_size=32),
    policy=POLICIES,
    session=st.just(fresh()),
    last_success_at=st.none() | st.floats(0, 1e9),
    at=st.floats(0, 1e9),
    unwritten=st.booleans(),
)


@given(walks(), OTHERS)
def test_whatever_a_session_comes_to_it_comes_back_as_it_was(
    walk: tuple[Taken, ...], others: StoredSession
) -> None:
    for taken in walk:
        session = replace(taken.after, unsent_until=-inf)  # which isn't stored
        if isinstance(session.doing, Requesting):  # nor what was given with a login
            session = replace(session, doing=_without_given(session.doing))
        whole = replace(others, session=session)
        assert decoded(encoded(whole)) == whole


@pytest.mark.parametrize("kind", BY_CODE.values())
def test_each_error_comes_back_with_all_it_tells(kind: type) -> None:
    error = Problem(kind, "message", "hint", 1.0, 2.0)
    session = replace(fresh(), error=error, bar=Bar(inf, replace(error, hint=None), 3))

    assert decoded(encoded(kept(session))).session == session


@pytest.mark.parametrize(
    "doing",
    [
        Requesting(Login(insisted=True), login_after=Login()),
        Requesting(Login()),
        Requesting(Refresh(Secret("r")), login_after=Login(insisted=True)),
        Stopped(),
    ],
)
def test_what_was_being_done_comes_back(doing: Requesting | Stopped) -> None:
    session = replace(refreshing(), doing=doing, wanted=True)

    assert decoded(encoded(kept(session))).session == session


def _without_given(doing: Requesting) -> Requesting:
    request, order = doing.request, doing.login_after
    if isinstance(request, Login):
        request = replace(request, given=None)
    return Requesting(request) if order is None else behind(request, replace(order, given=None))


def test_a_refresh_token_that_was_given_with_a_login_is_not_stored() -> None:
    given = replace(refreshing(), doing=Requesting(Login(insisted=True, given=Secret("hunter2"))))

    stored = encoded(kept(given))

    assert b"hunter2" not in stored
    assert decoded(stored).session.doing == Requesting(Login(insisted=True))


def test_a_refresh_that_a_daemon_of_version_1_had_under_way_comes_back() -> None:
    whole = encoded(kept(replace(refreshing(), doing=Requesting(Refresh(Secret("r"))))))
    first: list[Any] = msgpack.unpackb(whole[34:])[:7]
    first[5][0] = ["refresh", "r", 10.0, False]

    taken = decoded(summed((1).to_bytes(2) + msgpack.packb([*first, [b"salt", [], [], []]])))

    assert taken.session == decoded(whole).session


@pytest.mark.parametrize("value", ["\ud800", "\0", "\n", "𝄞", "x" * 70_000, ""])
def test_a_token_is_whatever_json_can_say(value: str) -> None:
    session = replace(fresh(), access=replace(access(), value=Secret(value)))

    assert decoded(encoded(kept(session, value))) == kept(session, value)


def test_a_new_field_must_be_given_its_place_in_the_form() -> None:
    """The form's version has to be raised when one of these numbers changes."""
    counts = {kind: len(fields(kind)) for kind in (Session, AccessToken, RefreshToken)}
    more = {kind: len(fields(kind)) for kind in (Bar, Problem, Login, Refresh, Requesting)}

    assert VERSION == 3
    # `expires` is derived; a session's `unsent_until` and what was given with a login aren't stored
    assert counts == {Session: 10, AccessToken: 9, RefreshToken: 4}
    assert more == {Bar: 3, Problem: 5, Login: 2, Refresh: 1, Requesting: 2}
    assert len(fields(StoredSession)) == 9
    assert [each.name for each in fields(Policy)] == ["refresh_before", "refresh_token_lifetime"]


# Damaged


WHOLE = encoded(kept(replace(refreshing(), error=problem(), bar=Bar(inf, problem()))))


def test_a_part_is_damaged() -> None:
    for length in range(len(WHOLE)):
        with pytest.raises(Damaged):
            decoded(WHOLE[:length])


def test_each_bit_counts() -> None:
    for index in range(len(WHOLE)):
        for bit in range(8):
            flipped = bytearray(WHOLE)
            flipped[index] ^= 1 << bit
            with pytest.raises(Damaged):
                decoded(bytes(flipped))


@given(st.binary())
def test_bytes_from_elsewhere_are_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        decoded(data)
    with pytest.raises(Damaged):
        decoded(summed(VERSION.to_bytes(2) + data))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


def plain() -> list[Any]:
    value: list[Any] = msgpack.unpackb(WHOLE[34:])
    return value


def places(value: object, above: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    inner = [place for index, each in enumerate(items) for place in places(each, (*above, index))]
    return [above, *inner]


@given(st.sampled_from(places(plain())[1:]), VALUES)
@example((5, 1, 5), -inf)  # a life whose end isn't a number
def test_a_value_of_another_kind_anywhere_is_damaged_or_kept(
    place: tuple[int, ...], value: object
) -> None:
    """Whatever is taken comes out as it went in, and nothing but Damaged is raised."""
    changed = plain()
    within = changed
    for index in place[:-1]:
        within = within[index]
    within[place[-1]] = value
    data = summed(VERSION.to_bytes(2) + msgpack.packb(changed))

    try:
        taken = decoded(data)
    except Damaged:
        return
    assert decoded(encoded(taken)) == taken


def test_an_error_that_nobody_knows_is_damaged() -> None:
    unknown = plain()
    unknown[5][5][0] = "NO_SUCH_CODE"

    with pytest.raises(Damaged):
        decoded(summed(VERSION.to_bytes(2) + msgpack.packb(unknown)))


# Another version


@given(st.integers(VERSION + 1, 65535), st.binary())
def test_what_a_newer_daemon_made_is_told_from_what_is_damaged(version: int, data: bytes) -> None:
    whole = summed(version.to_bytes(2) + data)

    with pytest.raises(Newer):
        decoded(whole)
    with pytest.raises(Damaged):
        decoded(whole[:-1])


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("rejected", "unwritten"), [([], False), ([7], True)])
def test_what_earlier_versions_stored_is_taken_as_later_than_all_it_says(
    version: int,
    rejected: list[int],
    unwritten: bool,  # noqa: FBT001 -- pytest names it
) -> None:
    fingerprints = [b"salt", [5], [[1.5, 6]], rejected]
    first = [*plain()[:7], fingerprints]

    taken = decoded(summed(version.to_bytes(2) + msgpack.packb(first)))

    assert taken == replace(decoded(WHOLE), at=inf, unwritten=unwritten)


@pytest.mark.parametrize("fingerprints", [None, [], [b"salt", [], []], ["salt", [], [], []]])
def test_what_is_not_quite_the_first_version_is_damaged(fingerprints: object) -> None:
    first = [*plain()[:7], fingerprints]

    with pytest.raises(Damaged):
        decoded(summed((1).to_bytes(2) + msgpack.packb(first)))


# Whose it is


@pytest.mark.parametrize(
    "another",
    [
        replace(IDENTITY, id_server="another"),
        replace(IDENTITY, client_id="another"),
        replace(IDENTITY, scope="another"),
        replace(IDENTITY, username="another"),
        replace(IDENTITY, token_path=""),
        replace(IDENTITY, form=(("audience", "a"),)),
        replace(IDENTITY, form=(("audience", "b"),)),
    ],
)
def test_each_part_of_an_identity_makes_another_digest(another: Identity) -> None:
    others = (IDENTITY, replace(IDENTITY, form=(("audience", "c"),)))

    assert digest(another) not in {digest(other) for other in others}


def test_what_earlier_daemons_stored_is_found_under_the_same_digest() -> None:
    identity = Identity("https://ids.example", "our-client", "api offline_access", "me@example.org")

    assert digest(identity).hex() == (
        "b58e6e4d998d9a48c6c76ec7186511d62984f24c39ee5b646f1137b5cdd2cb2f"
    )
    assert digest(identity, shared=True).hex() == (
        "d3d1ba91a8c8fa97dd5419d101eecfae68af0f87f4c97422641061d5fc1a41c0"
    )


def test_the_parts_of_an_identity_do_not_run_together() -> None:
    assert digest(Identity("ab", "c", "", "")) != digest(Identity("a", "bc", "", ""))
