"""What a failed login makes of a session.

First failures + 1 and the error, and a bar for ever that it was ordered over is lifted; then the row.
"""

from dataclasses import replace
from math import inf

import pytest

from made import (
    POLICY,
    REFRESH,
    access,
    failed,
    logging_in,
    logging_in_beside_a_refresh_token,
    moment,
    problem,
    refresh,
    relogging_in,
)
from openfit_token.errors import (
    ClientRejected,
    LoggedOut,
    LoginRejected,
    Unavailable,
)
from openfit_tokend.core.events import Kind, Send
from openfit_tokend.core.session import (
    Bar,
    Idle,
    Login,
    RefreshToken,
    Requesting,
    Session,
    Stopped,
)
from openfit_tokend.core.step import step

NOW = 100.0
FAILURE = problem(Unavailable, at=NOW)
REJECTED = problem(LoginRejected, at=NOW)
CLIENT = problem(ClientRejected, at=NOW)
OLD_BAR = Bar(NOW - 1.0, problem(), count=1)
LOCKED = Bar(inf, problem(LoginRejected))


# A Bar(inf) it was ordered over is lifted


@pytest.mark.parametrize("kind", [Kind.TRANSIENT, Kind.CLIENT_REJECTED, Kind.SECRET_UNAVAILABLE])
@pytest.mark.parametrize("error", [LoginRejected, LoggedOut])
def test_a_bar_for_ever_that_a_login_was_ordered_over_is_lifted(
    kind: Kind, error: type[LoginRejected | LoggedOut]
) -> None:
    session = replace(logging_in(), bar=Bar(inf, problem(error)))

    after, _ = step(session, failed(session, kind, FAILURE), moment(NOW), POLICY)

    assert after.bar is None


@pytest.mark.parametrize("kind", [Kind.TRANSIENT, Kind.CLIENT_REJECTED, Kind.SECRET_UNAVAILABLE])
def test_a_bar_for_a_time_stays_where_the_failure_raises_none(kind: Kind) -> None:
    session = replace(logging_in(), bar=OLD_BAR)

    after, _ = step(session, failed(session, kind, FAILURE), moment(NOW), POLICY)

    assert after.bar == OLD_BAR


def test_a_bar_for_ever_that_was_lifted_leaves_no_count() -> None:
    session = replace(logging_in(), bar=replace(LOCKED, count=2))

    after, _ = step(session, failed(session, Kind.UNCERTAIN, FAILURE), moment(NOW), POLICY)

    assert after.bar == Bar(NOW + 0.5, FAILURE, count=1)


# TRANSIENT


def test_a_transient_login_without_refresh_token_is_retried() -> None:
    session = logging_in()

    after, effects = step(session, failed(session, Kind.TRANSIENT, FAILURE), moment(NOW), POLICY)

    assert after == Session(Idle(NOW + 0.5), number=1, failures=1, error=FAILURE, ended=NOW)
    assert effects == ()


def test_a_transient_login_bars_logins_for_a_minute_so_that_the_refresh_token_is_tried() -> None:
    session = replace(logging_in_beside_a_refresh_token(), bar=OLD_BAR)

    after, effects = step(session, failed(session, Kind.TRANSIENT, FAILURE), moment(NOW), POLICY)

    assert after == replace(
        session,
        doing=Idle(NOW + 4.0),
        failures=4,
        error=FAILURE,
        bar=Bar(NOW + 60.0, FAILURE, count=1),
        ended=NOW,
    )
    assert effects == ()


def test_a_transient_login_bars_logins_for_longer_where_the_server_asks_for_a_long_pause() -> None:
    session = logging_in_beside_a_refresh_token()
    event = failed(session, Kind.TRANSIENT, FAILURE, retry_after=300.0)

    after, _ = step(session, event, moment(NOW), POLICY)

    assert after.doing == Idle(NOW + 300.0)
    assert after.bar == Bar(NOW + 301.0, FAILURE)


# UNCERTAIN


@pytest.mark.parametrize("held", [None, refresh()], ids=["nothing held", "refresh token held"])
def test_the_first_lost_login_is_retried(held: RefreshToken | None) -> None:
    session = replace(logging_in(), refresh=held)

    after, effects = step(session, failed(session, Kind.UNCERTAIN, FAILURE), moment(NOW), POLICY)

    assert after == Session(
        Idle(NOW + 0.5),
        refresh=held,
        number=1,
        failures=1,
        error=FAILURE,
        bar=Bar(NOW + 0.5, FAILURE, count=1),
        ended=NOW,
    )
    assert effects == ()


@pytest.mark.parametrize("count", [1, 2, 9])
def test_later_lost_logins_are_450_s_apart(count: int) -> None:
    session = replace(logging_in(), failures=3, bar=replace(OLD_BAR, count=count))

    after, effects = step(session, failed(session, Kind.UNCERTAIN, FAILURE), moment(NOW), POLICY)

    assert after == Session(
        Idle(NOW + 450.0),
        number=1,
        failures=4,
        error=FAILURE,
        bar=Bar(NOW + 450.0, FAILURE, count=count + 1),
        ended=NOW,
    )
    assert effects == ()


def test_between_later_lost_logins_the_refresh_token_is_tried() -> None:
    session = replace(logging_in_beside_a_refresh_token(), bar=OLD_BAR)

    after, _ = step(session, failed(session, Kind.UNCERTAIN, FAILURE), moment(NOW), POLICY)

    assert after == replace(
        session,
        doing=Idle(NOW + 4.0),
        failures=4,
        error=FAILURE,
        bar=Bar(NOW + 450.0, FAILURE, count=2),
        ended=NOW,
    )


# UNCLEAR


@pytest.mark.parametrize(
    ("count", "pace"), [(0, 300.0), (1, 600.0), (3, 2400.0), (4, 3600.0), (5000, 3600.0)]
)
def test_unclear_logins_are_5_minutes_apart_doubling_to_an_hour(count: int, pace: float) -> None:
    session = replace(logging_in(), bar=replace(OLD_BAR, count=count))

    after, effects = step(session, failed(session, Kind.UNCLEAR, FAILURE), moment(NOW), POLICY)

    assert after == Session(
        Idle(NOW + pace),
        number=1,
        failures=1,
        error=FAILURE,
        bar=Bar(NOW + pace, FAILURE, count=count + 1),
        ended=NOW,
    )
    assert effects == ()


def test_between_unclear_logins_the_refresh_token_is_tried() -> None:
    session = logging_in_beside_a_refresh_token()

    after, _ = step(session, failed(session, Kind.UNCLEAR, FAILURE), moment(NOW), POLICY)

    assert after == replace(
        session,
        doing=Idle(NOW + 4.0),
        failures=4,
        error=FAILURE,
        bar=Bar(NOW + 300.0, FAILURE, count=1),
        ended=NOW,
    )


# GRANT_REJECTED


def test_a_rejected_login_without_refresh_token_stops() -> None:
    session = replace(logging_in(), access=access())

    after, effects = step(
        session, failed(session, Kind.GRANT_REJECTED, REJECTED), moment(NOW), POLICY
    )

    assert after == Session(
        Stopped(),
        access(),
        number=1,
        failures=1,
        error=REJECTED,
        bar=Bar(inf, REJECTED),
        ended=NOW,
    )
    assert effects == ()


def test_after_a_rejected_login_a_session_whose_token_is_not_due_rests() -> None:
    session = relogging_in()

    after, effects = step(
        session, failed(session, Kind.GRANT_REJECTED, REJECTED), moment(NOW), POLICY
    )

    assert after == replace(
        session, doing=Idle(3300.0), failures=0, error=REJECTED, bar=Bar(inf, REJECTED), ended=NOW
    )
    assert effects == ()


def test_after_a_rejected_login_a_wish_is_not_forgotten() -> None:
    session = replace(relogging_in(), wanted=True)

    after, _ = step(session, failed(session, Kind.GRANT_REJECTED, REJECTED), moment(NOW), POLICY)

    assert (after.doing, after.wanted) == (Idle(NOW + 10.0), True)


@pytest.mark.parametrize(
    "session",
    [
        logging_in_beside_a_refresh_token(),
        replace(relogging_in(), access=access(due=NOW)),
        replace(relogging_in(), failures=1),
    ],
    ids=["no token", "token due", "in an outage"],
)
def test_after_a_rejected_login_the_refresh_token_is_else_sent_at_once(session: Session) -> None:
    after, effects = step(
        session, failed(session, Kind.GRANT_REJECTED, REJECTED), moment(NOW), POLICY
    )

    assert after == replace(
        session,
        doing=Requesting(REFRESH),
        number=3,
        failures=session.failures + 1,
        error=REJECTED,
        bar=Bar(inf, REJECTED),
        ended=NOW,
    )
    assert effects == (Send(3, REFRESH),)


@pytest.mark.parametrize("held", [None, refresh()], ids=["nothing held", "refresh token held"])
def test_after_a_rejected_login_one_ordered_meanwhile_is_sent_but_does_not_insist(
    held: RefreshToken | None,
) -> None:
    session = replace(
        logging_in(), doing=Requesting(Login(insisted=True), login_after=Login()), refresh=held
    )

    after, effects = step(
        session, failed(session, Kind.GRANT_REJECTED, REJECTED), moment(NOW), POLICY
    )

    assert after == Session(
        Requesting(Login(insisted=False)),
        refresh=held,
        number=2,
        failures=1,
        error=REJECTED,
        bar=Bar(inf, REJECTED),
        ended=NOW,
    )
    assert effects == (Send(2, Login(insisted=False)),)


# CLIENT_REJECTED


def test_a_login_whose_client_was_rejected_is_tried_again_after_an_hour() -> None:
    session = logging_in()

    after, effects = step(
        session, failed(session, Kind.CLIENT_REJECTED, CLIENT), moment(NOW), POLICY
    )

    assert after == Session(Idle(NOW + 3600.0), number=1, failures=1, error=CLIENT, ended=NOW)
    assert effects == ()


def test_a_login_whose_client_was_rejected_bars_logins_and_a_well_session_rests() -> None:
    session = relogging_in()

    after, effects = step(
        session, failed(session, Kind.CLIENT_REJECTED, CLIENT), moment(NOW), POLICY
    )

    left = 3599.0 - NOW
    assert after == replace(
        session,
        doing=Idle(3300.0),
        failures=0,
        error=CLIENT,
        bar=Bar(NOW + left / 8, CLIENT),
        ended=NOW,
    )
    assert effects == ()


def test_a_login_whose_client_was_rejected_is_else_followed_by_a_refresh_at_once() -> None:
    session = logging_in_beside_a_refresh_token()

    after, effects = step(
        session, failed(session, Kind.CLIENT_REJECTED, CLIENT), moment(NOW), POLICY
    )

    assert after == replace(
        session,
        doing=Requesting(REFRESH),
        number=3,
        failures=4,
        error=CLIENT,
        bar=Bar(NOW + 3600.0, CLIENT),
        ended=NOW,
    )
    assert effects == (Send(3, REFRESH),)
