"""One keeper's part in a row: what becomes of a request that others have given up."""

from dataclasses import replace

import pytest

from made import REFRESH, fresh, grant, logging_in, problem, refreshing
from nobody import Nobody
from openfit_tokend.core.events import Granted
from openfit_tokend.core.fleet.row import Claim
from openfit_tokend.core.session import Login, Refresh, Session, logged_out_session
from openfit_tokend.fleet.part import Flight, Part


def superseded(session: Session, request: Login | Refresh, then: Session) -> bool:
    """Let a request end whose session others have replaced; return whether the core is told.

    The core gives back to the token server what a request brings that is void.
    """
    keeper = Nobody(session)
    part = Part(keeper, keeper, b"k" * 32)
    part.flights[session.number] = Flight(session.number, request, Claim(b"c" * 16, "us"), None)
    part.supersede(problem())
    keeper.session = replace(then, number=session.number + 1)
    return part.ended(session.number, Granted(session.number, 90.0, grant()))


def test_a_refresh_that_others_gave_up_is_not_given_back() -> None:
    """They may live on the same family of tokens."""
    assert not superseded(refreshing(), REFRESH, fresh())


@pytest.mark.parametrize(
    ("session", "request_", "then"),
    [
        (refreshing(), REFRESH, logged_out_session(90.0)),
        (logging_in(), Login(), fresh()),
        (logging_in(), Login(), logged_out_session(90.0)),
    ],
    ids=["a refresh after a logout", "a login", "a login after a logout"],
)
def test_what_nobody_lives_on_is_given_back(
    session: Session, request_: Login | Refresh, then: Session
) -> None:
    assert superseded(session, request_, then)


def test_a_refresh_for_a_profile_that_left_is_not_given_back() -> None:
    keeper = Nobody(refreshing())
    part = Part(keeper, keeper, b"k" * 32)
    part.flights[2] = Flight(2, REFRESH, Claim(b"c" * 16, "us"), None)

    part.leave()

    assert not part.ended(2, Granted(2, 90.0, grant()))
