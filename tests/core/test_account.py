"""Whose failed logins the token server counts: one account, however it is spelled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfit_tokend.core.settings.values import Account

SERVER = "https://ids.example.org"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://ids.example.org", "https://ids.example.org."),
        ("https://ids.example.org:8443/base", "https://ids.example.org.:8443/base"),
        ("https://localhost:5001", "https://127.0.0.1:5001"),
        ("https://localhost:5001", "https://127.0.0.2:5001"),
        ("https://localhost:5001", "https://localhost.:5001"),
        ("https://localhost", "https://[::1]"),
        ("https://localhost", "https://[::ffff:127.0.0.1]"),
        ("https://[2001:db8::1]", "https://[2001:db8:0:0:0:0:0:1]"),
        ("https://192.0.2.1", "https://[::ffff:192.0.2.1]"),
    ],
)
def test_one_server_has_many_spellings(one: str, other: str) -> None:
    assert Account(one, "user") == Account(other, "user")


@pytest.mark.parametrize(
    "other",
    [
        "http://localhost:5001",
        "https://localhost:5002",
        "https://localhost:5001/base",
        "https://local:5001",
        "https://192.0.2.1:5001",
    ],
)
def test_another_server_is_another_account(other: str) -> None:
    assert Account("https://localhost:5001", "user") != Account(other, "user")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Service@Example.org", "service@example.org"),
        ("caf\u00e9", "cafe\u0301"),
        ("CAFE\u0301", "caf\u00e9"),
    ],
)
def test_one_user_has_many_spellings(one: str, other: str) -> None:
    assert Account(SERVER, one) == Account(SERVER, other)


def test_another_user_is_another_account() -> None:
    assert Account(SERVER, "cafe") != Account(SERVER, "caf\u00e9")


@pytest.mark.parametrize("server", [SERVER, f"{SERVER}:8443/Base", "https://localhost:5001"])
def test_a_server_without_another_spelling_stays_as_it_was(server: str) -> None:
    """Ledgers of the versions before have it so, and hashed passwords with it."""
    assert Account(server, "user").id_server == server


@given(st.text())
def test_an_account_of_a_ledger_is_read_as_it_was_written(username: str) -> None:
    account = Account(SERVER, username)

    assert Account(account.id_server, account.username) == account
