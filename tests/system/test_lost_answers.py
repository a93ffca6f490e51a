"""Answers that get lost, refusals without a word, servers that ask for patience: nobody notices.

Tokens live 20 s, are due 15 s after they came and dead in their last second. All scenes run side
by side, so a test may find that what it awaits has long happened.
"""

from collections.abc import Iterator, Mapping
from time import sleep

import pytest

from daemons import await_that
from emulators import USERNAME
from failures import LIFETIME, SLACK, Scene, Staged, api, outcome, pauses, scenes, told
from openfit_emulator.identity import Rules
from openfit_token.errors import Unavailable

pytestmark = [pytest.mark.system, pytest.mark.slow]

Stage = Mapping[str, Staged]
LOGIN, REFRESH, SPENT = ("login", "issued"), ("refresh", "issued"), ("refresh", "invalid_grant")
UNANSWERED = ("refresh", "not_acted")
SHORT = Rules(token_lifetime=4)
CALLS_APART = 0.05
"""Seconds between two API calls of a client that keeps its token until it is refused."""
LOST = {
    "lost": Scene(("lost-answer@refresh:1",), reads=True),
    "lost_family": Scene(
        ("lost-answer@refresh:1",), Rules(token_lifetime=LIFETIME, reuse_revokes=True), reads=True
    ),
    "halved": Scene(("half-answer@refresh:1",), reads=True),
    "gateway": Scene(("error-504=acted@refresh:1",), reads=True),
}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with scenes(
        **LOST,
        broken=Scene(("error-500@refresh:1",), reads=True),
        first_login=Scene(("lost-answer@login:1",)),
        two_logins=Scene(("lost-answer@login:1-2",)),
        mute_login=Scene(("unclear@login:1",)),
        mute=Scene(("unclear@refresh:1-2",), reads=True),
        mute_thrice=Scene(("unclear@refresh:1-3",), reads=True),
        page=Scene(("unclear=401@refresh:1", "404@refresh:2"), reads=True),
        revoked=Scene(("revoked@refresh:1",), reads=True),
        busy=Scene(("429=3@refresh:1",), SHORT),
        away=Scene(("503=3@refresh:1",), SHORT),
        dying=Scene(rules=Rules(token_lifetime=4, old_access_dies=True)),
    ) as staged:
        yield staged


def test_a_login_whose_answer_was_lost_is_repeated_within_a_second(stage: Stage) -> None:
    scene = stage["first_login"]

    scene.token()

    assert told(scene.requests("login")[:2]) == [LOGIN, LOGIN]
    assert pauses(scene.requests("login"))[0] == pytest.approx(0.75, abs=0.25 + SLACK)
    assert scene.status()["logins_left"] == 3  # accepted, so the lost one was no rejection


def test_after_two_lost_logins_one_chance_of_three_is_kept_for_a_clear_answer(stage: Stage) -> None:
    scene = stage["two_logins"]
    await_that(lambda: scene.status()["counters"]["uncertain"] == 2)

    error = outcome(lambda: scene.token(wait=100))

    assert isinstance(error, Unavailable)
    assert error.retry_after == pytest.approx(450, abs=30)
    assert scene.status()["logins_left"] == 1
    assert len(scene.requests()) == 2


def test_a_login_refused_without_a_word_is_told_and_not_repeated_soon(stage: Stage) -> None:
    scene = stage["mute_login"]
    await_that(lambda: scene.status()["counters"]["failures"] == 1)

    error = outcome(lambda: scene.token(wait=100))

    assert isinstance(error, Unavailable)
    assert "without saying why" in error.message
    assert error.retry_after == pytest.approx(300, abs=30)
    assert scene.status()["logins_left"] == 2
    # An operator need not wait:
    assert scene.call("login")["profile"] == "mute_login"


@pytest.mark.parametrize("name", ["busy", "away"])
def test_retry_after_is_honoured_even_beyond_the_end_of_the_token(stage: Stage, name: str) -> None:
    scene = stage[name]

    await_that(lambda: len(scene.requests("refresh")) >= 2)

    first, second = scene.requests("refresh")[:2]
    assert told([first, second]) == [UNANSWERED, REFRESH]
    assert 3 <= second.at - first.at <= 3.3 + SLACK
    assert told(scene.requests("login")) == [LOGIN]


def test_clients_that_meet_a_token_killed_by_its_successor_cost_no_request(stage: Stage) -> None:
    scene = stage["dying"]
    refused = 0
    with scene.daemon.client("dying") as tokens:
        token = tokens.get_token()
        while len(scene.requests("refresh")) < 3 or refused < 2:
            sleep(CALLS_APART)
            if api(scene.web, token) == 401:
                refused += 1
                token = tokens.refuse(token)
                assert api(scene.web, token) == 200

    # The schedule's, each 3 s, each with the refresh token of the one before:
    assert told(scene.requests("login")) == [LOGIN]
    assert {*told(scene.requests("refresh"))} == {REFRESH}
    assert min(pauses(scene.requests())) > 2
    assert scene.emulator.state().max_concurrent == {USERNAME: 1}


@pytest.mark.parametrize("name", LOST)
def test_a_lost_answer_costs_the_same_refresh_once_more_and_a_login_and_no_client_a_gap(
    stage: Stage, name: str
) -> None:
    scene = stage[name]

    await_the_end_of_the_first_token(scene)

    assert told(scene.requests()[:4]) == [LOGIN, REFRESH, SPENT, LOGIN]
    assert (scene.reader.gaps, scene.reader.refused) == ([], [])
    assert scene.status()["counters"]["uncertain"] == 1
    assert scene.status()["logins_left"] == 3


@pytest.mark.parametrize(
    ("name", "requests"),
    [
        ("broken", [LOGIN, UNANSWERED, REFRESH]),
        ("mute", [LOGIN, UNANSWERED, UNANSWERED, REFRESH]),
        ("page", [LOGIN, UNANSWERED, UNANSWERED, REFRESH]),
        ("mute_thrice", [LOGIN, UNANSWERED, UNANSWERED, UNANSWERED, LOGIN]),
        ("revoked", [LOGIN, SPENT, LOGIN]),
    ],
)
def test_a_refresh_token_is_kept_until_it_is_rejected_or_refused_three_times_without_a_word(
    stage: Stage, name: str, requests: list[tuple[str, str]]
) -> None:
    scene = stage[name]

    await_the_end_of_the_first_token(scene)

    assert told(scene.requests()[: len(requests)]) == requests
    assert (scene.reader.gaps, scene.reader.refused) == ([], [])
    assert scene.status()["logins_left"] == 3


def test_a_rejected_refresh_that_nobody_here_caused_is_counted_with_a_hint(stage: Stage) -> None:
    scene = stage["revoked"]

    line = scene.daemon.await_log("refresh_failed", "profile=revoked")

    assert "another program is using this login" in line
    assert scene.status()["counters"]["rejected_refreshes"] == 1


def await_the_end_of_the_first_token(scene: Staged) -> None:
    """Await that the token of the first login is dead, and another is used."""
    first = scene.requests()[0]
    await_that(lambda: scene.emulator.state().uptime > first.at + LIFETIME + 0.5)
    assert len(scene.reader.ids) > 1
