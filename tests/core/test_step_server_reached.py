"""What a session makes of another's request that got through, after one of its own failed."""

from dataclasses import replace
from math import inf

import pytest

from made import (
    POLICY,
    REFRESH,
    failed,
    fresh,
    grant,
    granted,
    moment,
    problem,
    refreshing,
    relogging_in,
)
from openfit_tokend.core.events import (
    Event,
    Kind,
    LogoutOrdered,
    Reconfigured,
    Send,
    ServerReached,
)
from openfit_tokend.core.session import Idle, Requesting, Session
from openfit_tokend.core.step import step

ENDED = 3310.0
"""When its last request ended."""


def failing(due: float, *, unsent_until: float = -inf) -> Session:
    """Return the usual session, past its token's `due`, that tries again at another."""
    error = problem(at=ENDED)
    session = replace(fresh(), doing=Idle(due), failures=4, error=error, ended=ENDED)
    return replace(session, unsent_until=unsent_until)


def reached(session: Session, now: float) -> tuple[Session, object]:
    return step(session, ServerReached(), moment(now), POLICY)


def test_a_session_that_waits_to_try_again_does_so_at_once() -> None:
    after, effects = reached(failing(3340.0), ENDED + 5)

    assert after.doing == Requesting(REFRESH)
    assert effects == (Send(after.number, REFRESH),)


def test_but_not_within_a_second_of_its_own_last_request() -> None:
    assert reached(failing(3340.0), ENDED + 0.25) == (failing(ENDED + 1), ())


def test_what_is_due_earlier_stays_so() -> None:
    assert reached(failing(ENDED + 0.5), ENDED + 0.25) == (failing(ENDED + 0.5), ())


def test_who_could_not_send_stands_back_in_a_fleet_no_longer_than_alone() -> None:
    late = failing(3340.0, unsent_until=3340.0)
    early = failing(3340.0, unsent_until=ENDED + 0.5)

    assert reached(late, ENDED + 0.25)[0].unsent_until == ENDED + 1
    assert reached(early, ENDED + 0.25)[0].unsent_until == ENDED + 0.5


@pytest.mark.parametrize("session", [fresh(), refreshing()])
def test_a_session_without_trouble_and_one_that_asks_go_on(session: Session) -> None:
    assert reached(session, 100.0) == (session, ())


@pytest.mark.parametrize(
    ("session", "event"),
    [
        (refreshing(), granted(refreshing(), ENDED, grant())),
        (relogging_in(), granted(relogging_in(), ENDED, grant())),
        (refreshing(), failed(refreshing(), Kind.TRANSIENT, problem(at=ENDED))),
        (refreshing(), LogoutOrdered()),
        (refreshing(), Reconfigured(identity=True)),
    ],
    ids=["refreshed", "logged in", "failed", "logged out", "another account"],
)
def test_a_request_that_was_sent_and_an_end_of_the_session_end_the_standing_back(
    session: Session, event: Event
) -> None:
    could_not_send = replace(session, unsent_until=3400.0)

    after, _ = step(could_not_send, event, moment(ENDED), POLICY)

    assert after.unsent_until == -inf
