"""The token endpoint's language: forms, grants, and what a Retry-After means."""

import hashlib
import json
from base64 import b64decode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import REFRESH
from openfit_token._shared.secret import Secret
from openfit_tokend.core.events import Grant, Kind
from openfit_tokend.core.oauth import (
    Failure,
    authenticated,
    login_form,
    meaning,
    refresh_form,
    retry_after,
    revocation_form,
    token_id,
)
from openfit_tokend.core.session import Login
from openfit_tokend.core.settings.values import Identity

IDENTITY = Identity("https://ids.example", "our-client", "api offline_access", "me@example.org")
BOTH = pytest.mark.parametrize("request_", [Login(), REFRESH], ids=["login", "refresh"])


def ok(**fields: object) -> bytes:
    """Return the body of a usable answer, with other fields where they are given."""
    return json.dumps({"access_token": "a2", "expires_in": 3600, **fields}).encode()


def granted(body: bytes, scope: str = "api") -> Grant:
    """Return what a 200 with this body brings."""
    given = meaning(Login(), scope, 200, body)
    assert isinstance(given, Grant)
    return given


def kind_of(body: bytes | None, status: int = 200) -> Kind:
    """Return what a failure with this body means."""
    given = meaning(Login(), "api", status, body)
    assert isinstance(given, Failure)
    return given.kind


# Forms


def test_a_login_sends_the_password_and_the_scope() -> None:
    assert login_form(IDENTITY, Secret("pw")) == {
        "grant_type": "password",
        "scope": "api offline_access",
        "client_id": "our-client",
        "username": "me@example.org",
        "password": "pw",
    }


def test_fields_of_ones_own_go_with_each_token_request_and_no_scope_if_none_is_named() -> None:
    identity = replace(IDENTITY, scope="", form=(("audience", "a"),))

    assert login_form(identity, Secret("pw")) == {
        "grant_type": "password",
        "client_id": "our-client",
        "username": "me@example.org",
        "password": "pw",
        "audience": "a",
    }
    assert refresh_form(identity, Secret("r1"))["audience"] == "a"
    assert "audience" not in revocation_form(identity, Secret("r1"))


def test_a_client_proves_itself_in_a_header_or_in_the_form() -> None:
    """RFC 6749, section 2.3.1: the two parts are encoded as a form's fields are, then joined."""
    identity = replace(IDENTITY, client_id="our:client", scope="")
    form = refresh_form(identity, Secret("r1"))
    unnamed = {"grant_type": "refresh_token", "refresh_token": "r1"}

    by_header, headers = authenticated(form, Secret("s e:c+ü"), "basic")
    by_form = authenticated(form, Secret("s e:c+ü"), "post")

    assert by_header == unnamed
    assert (
        b64decode(headers["authorization"].removeprefix("Basic "))
        == b"our%3Aclient:s+e%3Ac%2B%C3%BC"
    )
    assert by_form == ({**form, "client_secret": "s e:c+ü"}, {})


def test_a_refresh_sends_the_client_and_no_scope() -> None:
    assert refresh_form(IDENTITY, Secret("r1")) == {
        "grant_type": "refresh_token",
        "refresh_token": "r1",
        "client_id": "our-client",
    }


def test_a_revocation_names_the_kind_of_token() -> None:
    assert revocation_form(IDENTITY, Secret("r1")) == {
        "token": "r1",
        "token_type_hint": "refresh_token",
        "client_id": "our-client",
    }


def test_the_id_of_a_token_is_16_hex_digits_of_its_sha256() -> None:
    assert token_id("a2") == hashlib.sha256(b"a2").hexdigest()[:16]


# Grants


@BOTH
@pytest.mark.parametrize("status", [200, 201, 299])
def test_an_answer_with_a_usable_token_is_a_grant(request_: Login, status: int) -> None:
    body = ok(refresh_token="r2", token_type="Bearer", scope="less")

    assert meaning(request_, "api", status, body) == Grant(
        access_token=Secret("a2"),
        id=token_id("a2"),
        lifetime=3600.0,
        refresh_token=Secret("r2"),
        scope="less",
    )


@pytest.mark.parametrize(
    "token",
    [
        None,
        7,
        True,
        "",
        "a b",
        "a\r\nX-Evil: 1",
        "a\n",
        "a\tb",
        "a\x00",
        "a\x7f",
        "ä",
        "\ud800",
        ["a2"],
        {},
    ],
    ids=repr,
)
def test_a_token_that_could_not_stand_in_a_header_is_unusable(token: object) -> None:
    assert kind_of(ok(access_token=token)) is Kind.UNCERTAIN


def test_an_answer_without_a_token_is_unusable() -> None:
    assert kind_of(b'{"expires_in": 3600}') is Kind.UNCERTAIN


@pytest.mark.parametrize("token", ["a", "!~", "eyJ.eyJ.sig-_", "x" * 5000])
def test_any_visible_ascii_is_a_usable_token(token: str) -> None:
    assert granted(ok(access_token=token)).access_token == Secret(token)


@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [
        ("60", 60.0),
        (60, 60.0),
        (60.5, 60.5),
        ("60.5", 60.5),
        (0.001, 0.001),
        (None, 3600.0),
        (2_592_000, 2_592_000.0),
        (2_592_001, 2_592_000.0),
        (1e12, 2_592_000.0),
        ("1e12", 2_592_000.0),
        (10**400, 2_592_000.0),
    ],
    ids=lambda value: repr(value)[:16],
)
def test_an_expires_in_is_a_number_or_a_text_of_one_up_to_30_days(
    expires_in: object, lifetime: float
) -> None:
    assert granted(ok(expires_in=expires_in)).lifetime == lifetime


def test_without_an_expires_in_a_token_lives_for_an_hour() -> None:
    assert granted(b'{"access_token": "a2"}').lifetime == 3600.0


NO_LIFETIMES: list[object] = [
    *(0, -1, 0.0, -0.5, True, False, -1e300, float("nan"), float("-inf")),
    *("0", "-1", "soon", "", "nan", "-inf"),
    *([], {}, [60]),
]


@pytest.mark.parametrize(
    "expires_in",
    NO_LIFETIMES,
    ids=repr,
)
def test_an_expires_in_that_is_no_positive_number_is_unusable(expires_in: object) -> None:
    assert kind_of(ok(expires_in=expires_in)) is Kind.UNCERTAIN


def test_an_expires_in_below_what_a_float_holds_is_unusable() -> None:
    assert kind_of(ok(expires_in=-(10**400))) is Kind.UNCERTAIN


def test_an_expires_in_with_too_many_digits_to_be_read_is_unusable() -> None:
    body = b'{"access_token": "a2", "expires_in": ' + b"9" * 5000 + b"}"

    assert kind_of(body) is Kind.UNCERTAIN


@pytest.mark.parametrize("token", [None, 7, True, "", "a\r\nb", "\ud800", ["r2"], {}], ids=repr)
def test_a_refresh_token_of_the_wrong_kind_counts_as_none(token: object) -> None:
    assert granted(ok(refresh_token=token)).refresh_token is None


def test_an_answer_without_a_refresh_token_brings_none() -> None:
    assert granted(ok()).refresh_token is None


@pytest.mark.parametrize(
    ("scope", "taken"),
    [("less", "less"), ("", ""), (None, "asked"), (7, "asked"), ("a\nb", "asked"), ([], "asked")],
)
def test_a_scope_is_taken_as_it_is_or_else_as_it_was_asked_for(scope: object, taken: str) -> None:
    assert granted(ok(scope=scope), "asked").scope == taken


def test_an_absent_scope_is_the_one_that_was_asked_for() -> None:
    assert granted(ok(), "asked").scope == "asked"


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b" \r\n",
        b"<html>hello</html>",
        b"null",
        b"[]",
        b'["access_token"]',
        b'"access_token"',
        b"7",
        b"{",
        b"\xff\xfe\x00",
        b'{"access_token": "\xff"}',
        b"[" * 60_000,
        b'{"access_token":' * 4_000,
        b"[" * 25_000 + b"]" * 25_000,
    ],
    ids=lambda body: "None" if body is None else f"{body[:20]!r} {len(body)}",
)
@BOTH
def test_a_200_with_another_body_is_uncertain(request_: Login, body: bytes | None) -> None:
    given = meaning(request_, "api", 200, body)

    assert isinstance(given, Failure)
    assert given.kind is Kind.UNCERTAIN
    assert given.hint is not None


# Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 120 ", 120.0),
        ("0", 0.0),
        ("Tue, 24 Nov 2026 09:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 08:00:00 GMT", 0.0),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("²", None),
        ("१२", None),
        ("Tue, 24 Nov 99999 09:00:30 GMT", None),
        ("Tue, 99 Nov 2026 09:00:30 GMT", None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date_or_nothing(
    value: str | None, seconds: float | None
) -> None:
    assert retry_after(value, 1_795_510_800.0) == seconds


def test_a_huge_retry_after_is_huge() -> None:
    value = retry_after("9" * 10_000, 0.0)

    assert value is not None
    assert value >= 600.0


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ [\d:]+ [-+A-Z0-9]*"))
def test_no_retry_after_is_negative_or_raises(value: str) -> None:
    seconds = retry_after(value, 0.0)

    assert seconds is None or seconds >= 0.0


# For all answers

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
FIELDS = st.dictionaries(
    st.sampled_from(["access_token", "expires_in", "refresh_token", "scope", "error"]), JSON
)


@given(
    st.integers(100, 599),
    st.none() | st.binary(max_size=64) | FIELDS.map(lambda fields: json.dumps(fields).encode()),
    st.sampled_from([Login(), REFRESH]),
)
def test_every_answer_has_a_meaning(status: int, body: bytes | None, request_: Login) -> None:
    given = meaning(request_, "api", status, body)

    if isinstance(given, Grant):
        assert 200 <= status < 300
        assert 0.0 < given.lifetime <= 30 * 86400.0
        assert given.access_token.reveal.isascii()
