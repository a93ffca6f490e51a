"""The line that `systemctl status` shows: how things stand, in words."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import POLICY, access, fresh, how, logging_in, problem, refresh, refreshing
from openfit_token._shared.secret import Secret
from openfit_token.errors import LoginRejected, SecretUnavailable, Unavailable
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.reports.health import health
from openfit_tokend.core.reports.summary import in_words
from openfit_tokend.core.session import (
    Bar,
    Idle,
    Session,
    Stopped,
    logged_out_session,
    new_session,
)
from walks import Taken, walks

NOW = 100.0
REJECTED = Problem(LoginRejected, "the token server rejected it", "store another", 0.0)
LOCKED = Session(Stopped(), bar=Bar(inf, REJECTED), failures=1, error=REJECTED)
UNREACHED = Problem(Unavailable, "the token server can't be reached", None, 0.0)
DOWN = Session(Idle(160.0), failures=3, error=UNREACHED)
RETRYING = replace(fresh(), doing=Idle(160.0), failures=1, error=UNREACHED)


def words(*sessions: Session) -> str:
    named = [(f"p{index}", session, how(session, NOW)) for index, session in enumerate(sessions, 1)]
    return in_words(named, lambda moment: f"at {moment:.0f}")


@pytest.mark.parametrize(
    ("session", "text"),
    [
        (fresh(), "p1 fresh, next refresh at 3300"),
        (refreshing(), "p1 refreshing"),
        (logging_in(), "p1 logging in"),
        (new_session(NOW), "p1 empty"),
        (RETRYING, "p1 retrying, next refresh at 160: the token server can't be reached"),
        (DOWN, "p1 down, next try at 160: the token server can't be reached"),
        (LOCKED, "p1 locked: the token server rejected it"),
        (logged_out_session(0.0), "p1 logged out: an operator logged this profile out"),
    ],
)
def test_a_profile_is_told_by_its_state_its_next_request_and_its_trouble(
    session: Session, text: str
) -> None:
    assert words(session) == f"1 profile: {text}"


def test_a_profile_for_which_nothing_can_be_requested_is_said_to_be_so_before_that_matters() -> (
    None
):
    away = Problem(Unavailable, "the fleet's store can't be reached: it is down", None, 0.0)

    named = ("p1", fresh(), health(fresh(), NOW, POLICY, others=[away]))

    assert in_words([named], str) == (
        "1 profile: p1 fresh, next refresh 3300.0: the fleet's store can't be reached: it is down"
    )
    assert in_words([named] * 4, str).count("it is down") == 3


def test_a_few_profiles_are_all_named() -> None:
    assert words(fresh(), LOCKED) == (
        "2 profiles: p1 fresh, next refresh at 3300; p2 locked: the token server rejected it"
    )


def test_many_are_counted_and_only_those_in_trouble_are_named() -> None:
    sooner = replace(fresh(), doing=Idle(900.0))

    assert words(fresh(), sooner, DOWN, LOCKED, refreshing()) == (
        "5 profiles: 2 fresh, 1 refreshing, 1 down, 1 locked; next refresh at 900;"
        " p3 down: the token server can't be reached; p4 locked: the token server rejected it"
    )


def test_a_thousand_are_told_in_a_line_that_can_be_read() -> None:
    text = words(*[LOCKED] * 400, *[fresh()] * 600)

    assert text.startswith("1000 profiles: 600 fresh, 400 locked; next refresh at 3300; p1 locked")
    assert text.endswith("; and 397 more")
    assert len(text) < 300


def test_without_a_profile_that_is_said() -> None:
    assert words() == "no profiles"


def test_a_long_reason_is_cut() -> None:
    long = replace(REJECTED, message="x" * 500)

    assert words(replace(DOWN, error=long)).endswith(f": {'x' * 119}…")


@given(st.text(), st.text())
def test_names_and_reasons_never_begin_a_line_of_their_own(name: str, message: str) -> None:
    """Each line would be an assignment to the service manager."""
    error = Problem(SecretUnavailable, message, None, 0.0)

    down = replace(DOWN, error=error)
    text = in_words([(name, down, how(down, NOW))], str)

    assert text.isprintable()
    assert len(text) < 300


@given(walks())
def test_whatever_happens_can_be_told(walk: tuple[Taken, ...]) -> None:
    for taken in walk:
        text = in_words([("main", taken.after, how(taken.after, taken.moment.now))], str)
        assert text.startswith("1 profile: main ")


def test_no_secret_is_told() -> None:
    hidden = Secret("hunter2")
    session = replace(RETRYING, access=replace(access(), value=hidden), refresh=refresh("hunter2"))

    assert "hunter2" not in words(session, *[session] * 9)


def test_a_bar_without_an_error_is_told_of_too() -> None:
    session = Session(Idle(160.0), bar=Bar(900.0, problem()), access=access())

    assert words(replace(session, failures=1)).endswith(": this is Unavailable")
