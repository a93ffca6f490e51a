"""When a held token may be sent. The tokens here live 3600 s and are to be replaced after 3299.5 s."""

import pytest

from fake_daemon import token
from openfit_token._client.held import Get, Held, Refuse
from openfit_token.errors import (
    DaemonUnreachable,
    Internal,
    LoggedOut,
    LoginRejected,
    NotAllowed,
    SecretUnavailable,
    Stopping,
    TimedOut,
    TokenError,
    Unavailable,
)

A, B = token("a"), token("b")
WAIT = 30.0


def held() -> Held:
    """Return one that holds A, which was asked for at 1000 s."""
    held = Held(WAIT)
    held.keep(A, 1000.0)
    return held


def test_the_first_token_is_waited_for() -> None:
    assert Held(WAIT).look(0.0) == Get(WAIT)


def test_a_token_is_sent_until_its_refresh_at_and_then_asked_for_without_waiting() -> None:
    """Counted from the question, by what was left: the wall clock says nothing."""
    assert held().look(1000.0) is A
    assert held().look(4299.4) is A
    assert held().look(4299.6) == Get(0.0)


def test_a_dead_token_is_not_sent_and_its_successor_is_waited_for() -> None:
    assert held().look(4600.0) == Get(WAIT)
    with pytest.raises(Unavailable):
        held().instead_of(Unavailable("it is down"), 4600.0)


@pytest.mark.parametrize(
    "kind", [DaemonUnreachable, Internal, SecretUnavailable, Stopping, TimedOut, Unavailable]
)
def test_while_the_token_lives_a_passing_error_is_none(kind: type[TokenError]) -> None:
    assert held().instead_of(kind("not now"), 4599.0) is A


def test_a_daemon_that_had_none_is_asked_again_some_seconds_later_or_when_the_token_ends() -> None:
    mine = held()
    mine.instead_of(DaemonUnreachable("it hangs"), 4400.0)
    assert mine.look(4404.9) is A
    assert mine.look(4405.0) == Get(0.0)

    mine.instead_of(DaemonUnreachable("it hangs"), 4599.0)
    assert mine.look(4599.9) is A
    assert mine.look(4600.0) == Get(WAIT)


def test_after_a_401_that_was_not_repeated_the_next_request_waits_a_moment_for_another_token() -> (
    None
):
    mine = held()
    mine.instead_of(DaemonUnreachable("it hangs"), 4400.0)

    mine.refuse(A)

    assert mine.look(4401.0) == Refuse(A.id, 1.0)
    assert mine.look(4600.0) == Refuse(A.id, WAIT)  # it is dead by now


@pytest.mark.parametrize("kind", [LoggedOut, LoginRejected, NotAllowed])
def test_an_error_that_takes_the_right_away_ends_the_use_of_the_held_token(
    kind: type[TokenError],
) -> None:
    with pytest.raises(kind):
        held().instead_of(kind("no"), 4400.0)


def test_a_token_that_was_refused_goes_on_while_there_is_no_other() -> None:
    """The 401 may have been the path's."""
    mine = held()
    mine.refuse(A)

    assert mine.instead_of(TimedOut("it was replaced a moment ago"), 1002.0) is A
    assert mine.look(1003.0) is A

    mine.keep(B, 1004.0)
    assert mine.look(1005.0) is B


def test_a_401_that_can_be_repeated_is_waited_for_by_nobody_else() -> None:
    mine = held()

    assert mine.look(1001.0, refused=A) == Refuse(A.id, WAIT)
    assert mine.look(1001.0) is A


def test_who_was_refused_repeats_with_another_token_whatever_others_did() -> None:
    mine = held()
    assert mine.look(1001.0, refused=A) == Refuse(A.id, WAIT)
    assert Held(WAIT).look(1001.0, refused=A) == Refuse(A.id, WAIT)

    mine.keep(B, 1002.0)
    assert mine.look(1003.0, refused=A) is B


def test_a_late_refusal_of_an_older_token_leaves_the_newer_alone() -> None:
    mine = held()
    mine.keep(B, 1002.0)
    mine.refuse(A)

    assert mine.look(1003.0) is B


def test_a_late_answer_to_an_older_question_is_not_kept() -> None:
    mine = Held(WAIT)
    mine.keep(B, 1002.0)
    mine.keep(A, 1001.0)

    assert mine.look(1003.0) is B
