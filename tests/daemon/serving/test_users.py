"""Who is remembered of all that have connected, and for how long."""

import pytest

from openfit_tokend.serving import users
from openfit_tokend.serving.users import Users

AWAY, HERE, LAST, NEW = 3001, 3002, 3003, 3004


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "MAX_REMEMBERED", 3)


def met() -> Users:
    """Return as many users as are remembered; one of them is connected."""
    every = Users(100)
    for uid in (AWAY, HERE, LAST):
        every.of(uid).requests = 5
    every.of(HERE).connections = 1
    return every


def test_as_many_as_are_remembered_keep_their_place_without_a_connection() -> None:
    assert set(met().by_uid) == {AWAY, HERE, LAST}


def test_for_one_more_those_without_a_connection_are_forgotten() -> None:
    every = met()

    every.of(NEW)

    assert set(every.by_uid) == {HERE, NEW}


def test_what_the_forgotten_asked_still_counts() -> None:
    every = met()

    every.of(NEW).requests = 1

    assert every.requests == 16
