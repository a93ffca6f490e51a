"""What a token makes of a session; and answers that nobody waits for any more."""

from dataclasses import replace
from math import inf

import pytest

from made import (
    POLICY,
    access,
    failed,
    fresh,
    grant,
    granted,
    logging_in,
    moment,
    problem,
    refresh,
    refreshing,
    relogging_in,
)
from openfit_token._shared.secret import Secret
from openfit_token.errors import LoginRejected, Unavailable
from openfit_tokend.core.events import Failed, Granted, Kind, Revoke, Send
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import (
    Bar,
    Idle,
    Login,
    Requesting,
    Session,
    Stopped,
    behind,
)
from openfit_tokend.core.step import step

TOO_LATE = Problem(
    Unavailable,
    "the token server's answer took longer than its token lives",
    "the token server is slow, or its tokens are too short-lived to be used",
    20.0,
)


# Requesting, Granted


def test_a_login_that_brings_a_token_makes_a_session() -> None:
    asked = replace(logging_in(), failures=2, error=problem(), bar=Bar(9.0, problem()), wanted=True)

    after, effects = step(asked, granted(asked, 10.0, grant()), moment(12.0), POLICY)

    token = access("a2", number=1, sent=10.0, obtained=12.0)
    assert after == Session(Idle(token.due), token, refresh("r2", since=10.0), number=1, ended=12.0)
    assert effects == ()


def test_a_login_lifts_the_bar_it_was_ordered_over() -> None:
    asked = replace(relogging_in(), bar=Bar(inf, problem(LoginRejected)))

    after, _ = step(asked, granted(asked, 99.0, grant()), moment(100.0), POLICY)

    assert (after.bar, after.error) == (None, None)


def test_a_login_without_a_new_refresh_token_drops_the_old_which_is_of_another_session() -> None:
    asked = relogging_in()

    after, _ = step(asked, granted(asked, 99.0, grant(refresh_token=None)), moment(100.0), POLICY)

    assert after.refresh is None


def test_a_refresh_replaces_both_tokens_and_keeps_the_date_of_the_login() -> None:
    asked = replace(
        refreshing(),
        refresh=refresh(since=-50.0, lost=1, unclear=2),
        failures=3,
        error=problem(),
        wanted=True,
    )

    after, effects = step(asked, granted(asked, 3300.0, grant()), moment(3301.0), POLICY)

    token = access("a2", number=2, sent=3300.0, obtained=3301.0)
    assert after == Session(
        Idle(token.due), token, refresh("r2", since=-50.0), number=2, ended=3301.0
    )
    assert effects == ()


def test_a_refresh_without_a_new_refresh_token_keeps_the_old_one() -> None:
    asked = replace(refreshing(), refresh=refresh(since=-50.0, lost=1, unclear=2))

    after, _ = step(
        asked, granted(asked, 3300.0, grant(refresh_token=None)), moment(3301.0), POLICY
    )

    assert after.refresh == refresh("r1", since=-50.0)


@pytest.mark.parametrize("until", [3301.1, inf])
def test_after_a_refresh_the_bar_stays_and_while_it_holds_its_error(until: float) -> None:
    bar = Bar(until, problem(LoginRejected), count=1)
    asked = replace(refreshing(), bar=bar, failures=1, error=problem(Unavailable))

    after, _ = step(asked, granted(asked, 3300.0, grant()), moment(3301.0), POLICY)

    assert (after.bar, after.error, after.failures) == (bar, bar.error, 0)


def test_after_a_refresh_a_bar_that_has_passed_stays_without_its_error() -> None:
    bar = Bar(3301.0, problem(), count=1)
    asked = replace(refreshing(), bar=bar, failures=1, error=problem(Unavailable))

    after, _ = step(asked, granted(asked, 3300.0, grant()), moment(3301.0), POLICY)

    assert (after.bar, after.error, after.failures) == (bar, None, 0)


def test_the_due_of_a_token_is_drawn_when_it_arrives() -> None:
    asked = refreshing()

    after, _ = step(asked, granted(asked, 3300.0, grant()), moment(3301.0, chance=0.5), POLICY)

    assert after.access == access("a2", number=2, sent=3300.0, obtained=3301.0, due=6585.0)
    assert after.doing == Idle(6585.0)


def test_a_slow_answer_is_due_a_second_after_its_arrival() -> None:
    asked = logging_in()

    after, _ = step(asked, granted(asked, 0.0, grant(lifetime=8.0)), moment(7.0), POLICY)

    assert after.doing == Idle(8.0)


def test_after_a_refresh_an_ordered_login_follows_also_where_it_brought_a_token() -> None:
    asked = replace(refreshing(), doing=replace_login_after(refreshing()))

    after, effects = step(asked, granted(asked, 3300.0, grant()), moment(3301.0), POLICY)

    assert after == Session(
        Requesting(Login(insisted=True)),
        access("a2", number=2, sent=3300.0, obtained=3301.0),
        refresh("r2"),
        number=3,
        ended=3301.0,
    )
    assert effects == (Send(3, Login(insisted=True)),)


def test_after_a_login_that_brought_a_token_an_ordered_login_does_not_follow() -> None:
    asked = replace(relogging_in(), doing=replace_login_after(relogging_in()))

    after, effects = step(asked, granted(asked, 100.0, grant()), moment(101.0), POLICY)

    assert isinstance(after.doing, Idle)
    assert effects == ()


def replace_login_after(session: Session) -> Requesting:
    assert isinstance(session.doing, Requesting)
    return behind(session.doing.request, Login(insisted=True))


# Requesting, Granted, ended on arrival


def test_a_login_whose_token_ended_on_arrival_keeps_only_its_refresh_token() -> None:
    asked = replace(logging_in(), wanted=True, bar=Bar(9.0, problem()))

    after, effects = step(asked, granted(asked, 10.0, grant(lifetime=8.0)), moment(20.0), POLICY)

    assert after == Session(
        Idle(20.5),
        None,
        refresh("r2", since=10.0),
        number=1,
        failures=1,
        error=TOO_LATE,
        wanted=True,
        ended=20.0,
    )
    assert effects == ()


def test_a_refresh_whose_token_ended_on_arrival_keeps_its_refresh_token_and_backs_off() -> None:
    asked = replace(
        refreshing(), access=None, refresh=refresh(since=-50.0, lost=1, unclear=2), failures=2
    )

    after, _ = step(asked, granted(asked, 12.5, grant(lifetime=8.0)), moment(20.0), POLICY)

    assert after == Session(
        Idle(22.0),  # the third failure in a row: half of 4 s
        None,
        refresh("r2", since=-50.0),
        number=2,
        failures=3,
        error=TOO_LATE,
        ended=20.0,
    )


def test_a_token_that_arrives_in_its_last_moment_counts() -> None:
    asked = logging_in()

    after, _ = step(asked, granted(asked, 12.6, grant(lifetime=8.0)), moment(20.0), POLICY)

    assert (after.access is not None, after.failures) == (True, 0)


def test_after_a_refresh_whose_token_ended_on_arrival_an_ordered_login_follows() -> None:
    asked = replace(refreshing(), access=None, doing=replace_login_after(refreshing()))

    after, effects = step(asked, granted(asked, 10.0, grant(lifetime=8.0)), moment(20.0), POLICY)

    assert after == Session(
        Requesting(Login(insisted=True)),
        None,
        refresh("r2"),
        number=3,
        failures=1,
        error=TOO_LATE,
        ended=20.0,
    )
    assert effects == (Send(3, Login(insisted=True)),)


# Any, an answer with another number

OTHERS = [
    fresh(),
    refreshing(),
    logging_in(),
    Session(Stopped(), bar=Bar(inf, problem(LoginRejected)), number=5),
]


@pytest.mark.parametrize("session", OTHERS)
@pytest.mark.parametrize("kind", Kind)
def test_a_failure_with_another_number_changes_nothing(session: Session, kind: Kind) -> None:
    late = Failed(session.number - 1, kind, problem())

    assert step(session, late, moment(100.0), POLICY) == (session, ())


@pytest.mark.parametrize("session", OTHERS)
def test_a_grant_with_another_number_only_has_its_refresh_token_revoked(session: Session) -> None:
    late = Granted(session.number - 1, 90.0, grant(refresh_token="r9"))

    assert step(session, late, moment(100.0), POLICY) == (session, (Revoke(Secret("r9")),))


@pytest.mark.parametrize("session", OTHERS)
def test_a_grant_with_another_number_and_no_refresh_token_changes_nothing(
    session: Session,
) -> None:
    late = Granted(session.number - 1, 90.0, grant(refresh_token=None))

    assert step(session, late, moment(100.0), POLICY) == (session, ())


def test_an_answer_counts_only_once() -> None:
    asked = refreshing()
    once, _ = step(asked, granted(asked, 3300.0, grant()), moment(3301.0), POLICY)

    assert step(once, failed(asked, Kind.GRANT_REJECTED, problem()), moment(3302.0), POLICY) == (
        once,
        (),
    )
