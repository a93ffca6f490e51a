"""No secret shows itself, however a value is printed."""

from dataclasses import fields, is_dataclass, replace
from math import inf
from traceback import TracebackException
from typing import cast

import pytest
from hypothesis import given

from made import access, fresh, grant, problem, refresh
from openfit_token._shared.secret import Secret
from openfit_tokend.core.budget import Attempt, Entry, Fingerprint, Ledger
from openfit_tokend.core.callers.answers import Get, LoginEnded
from openfit_tokend.core.events import Failed, Granted, Kind, NewTokenWanted, Revoke, Send
from openfit_tokend.core.oauth import meaning
from openfit_tokend.core.session import Bar, Login, Refresh, Requesting, Stopped
from walks import Taken, walks

TEXT = "hunter2"
HIDDEN = Secret(TEXT)

SESSION = replace(
    fresh(), access=replace(access(), value=HIDDEN), refresh=replace(refresh(), value=HIDDEN)
)
REQUESTING = replace(SESSION, doing=Requesting(Refresh(HIDDEN)))

VALUES = [
    HIDDEN,
    SESSION,
    REQUESTING,
    replace(SESSION, doing=Requesting(Login(insisted=True), login_after=Login())),
    replace(SESSION, doing=Stopped(), bar=Bar(inf, problem())),
    Granted(1, 0.0, replace(grant(), access_token=HIDDEN, refresh_token=HIDDEN)),
    Failed(1, Kind.UNCERTAIN, problem()),
    NewTokenWanted(),
    Send(1, Refresh(HIDDEN)),
    Revoke(HIDDEN),
    LoginEnded(1, problem()),
    Get(),
    Ledger((Entry(0.0),), under_way=(Attempt(0.0, Fingerprint(1)),)),
    meaning(Login(), "api", 200, b'{"access_token": "hunter2", "refresh_token": "hunter2"}'),
    meaning(Login(), "api", 400, b'{"error": "hunter2", "error_description": "hunter2"}'),
    meaning(Login(), "api", 200, b'{"error": "hunter2"}'),
]


def shown(value: object) -> str:
    """Return all that printing and formatting make of a value."""
    return "\n".join(
        [
            repr(value),
            str(value),
            ascii(value),
            format(value),
            f"{value}",
            f"{value!s}",
            f"{value!r}",
            "%s %r" % (value, value),  # noqa: UP031 -- logging formats so
            f"{[value]} {(value,)} { ({'key': value}) }",
        ]
    )


@pytest.mark.parametrize("value", VALUES)
def test_no_value_shows_its_secret(value: object) -> None:
    assert TEXT not in shown(value)


@given(walks())
def test_nothing_that_can_happen_shows_a_secret(walk: tuple[Taken, ...]) -> None:
    for taken in walk:
        for value in (taken.before, taken.event, taken.after, taken.effects):
            text = shown(value)
            assert all(repr(secret.reveal) not in text for secret in secrets(taken))


def secrets(value: object) -> list[Secret]:
    """Return every secret inside a value."""
    if isinstance(value, Secret):
        return [value]
    if isinstance(value, tuple):
        parts = cast("tuple[object, ...]", value)  # whatever they are
        return [secret for each in parts for secret in secrets(each)]
    if is_dataclass(value):
        return [secret for field in fields(value) for secret in secrets(getattr(value, field.name))]
    return []


def test_a_traceback_with_local_variables_shows_no_secret() -> None:
    def fail(hidden: Secret, session: object) -> None:
        message = f"about {hidden} of {session}"
        raise ValueError(message)

    with pytest.raises(ValueError, match="about <secret>") as raised:
        fail(HIDDEN, SESSION)

    trace = "".join(TracebackException.from_exception(raised.value, capture_locals=True).format())
    assert "hidden = <secret>" in trace
    assert f"'{TEXT}" not in trace.replace(f'TEXT = "{TEXT}"', "")


def test_a_secret_is_shown_as_such() -> None:
    assert repr(HIDDEN) == "<secret>"


def test_only_reveal_gives_a_secret() -> None:
    assert HIDDEN.reveal == TEXT
    assert not hasattr(HIDDEN, "__dict__")


def test_secrets_are_compared_by_what_they_hide() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_a_secret_is_never_equal_to_a_plain_text() -> None:
    assert HIDDEN != TEXT
    assert (HIDDEN == TEXT) is False
