"""Outages: what lives is served, the trouble is said, and nobody has to help afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from threading import Event, Thread
from time import sleep

import pytest

from daemons import PATIENCE, RunningDaemon, await_that
from failures import SLACK, Scene, Staged, outcome, pauses, scenes
from openfit_emulator.identity import Rules
from openfit_token import TokenClient, TokenError
from openfit_token.errors import Unavailable
from openfit_tokend.keeping.outages import PACE

pytestmark = [pytest.mark.system, pytest.mark.slow]

Stage = Mapping[str, Staged]
OUTAGE = 7.0
"""Seconds of the outages whose requests are counted."""
CALLS_APART = 0.05
"""Seconds between two calls of a client."""
EARLIEST = 0.49
"""The part of the backoff that chance may leave of it, and a little less."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    busy = ("error-503@login:*", "error-503@refresh:*")
    with scenes(
        late=Scene(away=True),
        refused=Scene(),
        failing=Scene(),
        no_login=Scene(busy),
        no_refresh=Scene(busy[1:], Rules(token_lifetime=4)),
    ) as staged:
        daemon = staged["late"].daemon
        enough = Event()
        insistent = [
            Thread(target=insist, args=(daemon, name, enough))
            for name in ("no_login", "no_refresh")
        ]
        for thread in insistent:
            thread.start()
        try:
            yield staged
        finally:
            enough.set()
            for thread in insistent:
                thread.join(PATIENCE)


def insist(daemon: RunningDaemon, name: str, enough: Event) -> None:
    """Ask for new tokens in all ways, again and again."""
    with daemon.client(name) as tokens:
        while not enough.wait(0.1):
            for ask in (refresh, get, refuse, TokenClient.status):
                with suppress(TokenError):
                    ask(tokens)


def refresh(tokens: TokenClient) -> None:
    tokens.refresh(wait=0)


def get(tokens: TokenClient) -> None:
    tokens.get_token(min_ttl=3, wait=0)


def refuse(tokens: TokenClient) -> None:
    tokens.refuse(tokens.get_token(wait=0), wait=0)


def test_a_daemon_whose_server_is_away_at_the_start_begins_to_serve_when_it_returns(
    stage: Stage,
) -> None:
    scene = stage["late"]
    scene.daemon.await_state("down", name="late")
    line = scene.daemon.await_log("login_failed", "profile=late")
    assert "Connection refused" in line
    assert isinstance(outcome(lambda: scene.token(wait=0)), Unavailable)
    assert scene.daemon.run("openfit-token", "status", "--profile", "late").returncode == 75

    scene.emulator.start()

    assert scene.token()["profile"] == "late"
    assert scene.status()["logins_left"] == 3


@pytest.mark.parametrize("name", ["refused", "failing"])
def test_in_an_outage_the_live_token_is_served_and_said_to_be_degraded(
    stage: Stage, name: str
) -> None:
    scene = stage[name]
    first = scene.token()
    if name == "refused":
        scene.emulator.stop()
    else:
        scene.emulator.fault("error-503@refresh:*")

    served = first
    while served["degraded"] is None:
        sleep(CALLS_APART)
        served = scene.token(wait=0)

    assert served["id"] == first["id"]
    assert served["degraded"]["code"] == "UNAVAILABLE"
    reason = {"refused": "Connection refused", "failing": "answered 503"}[name]
    assert reason in served["degraded"]["message"]
    command = scene.daemon.run("openfit-token", "status", "--profile", name)
    assert command.returncode == 75
    assert reason in command.stdout
    in_vain = next_try(scene)
    await_that(lambda: next_try(scene) > in_vain + 0.3)

    scene.emulator.clear_faults()
    if name == "refused":
        scene.emulator.start()
    planned = next_try(scene)
    status = scene.daemon.await_state("fresh", name=name)

    assert status["last_success_at"] < planned + PACE + SLACK
    assert status["last_error"] is None
    assert scene.daemon.run("openfit-token", "status", "--profile", name).returncode == 0
    assert status["counters"]["logins"] == 1


def next_try(scene: Staged) -> float:
    """Return the Unix time at which the daemon will ask again; first let what is under way end."""
    planned: list[float | None] = [None]

    def known() -> bool:
        planned.append(scene.status()["refresh_at"])
        return planned[-1] is not None

    await_that(known)
    return planned[-1] or 0.0


@pytest.mark.parametrize("name", ["no_login", "no_refresh"])
def test_an_outage_is_paced_by_the_backoff_whatever_clients_ask_for(
    stage: Stage, name: str
) -> None:
    scene = stage[name]
    await_that(lambda: scene.emulator.state().uptime > OUTAGE + 5)

    failed = [each for each in scene.requests() if each.outcome == "not_acted"]
    within = [each for each in failed if each.at < failed[0].at + OUTAGE]

    alive = 2 if name == "no_refresh" else 0  # near its end a token allows a try each second
    for number, pause in enumerate(pauses(failed), start=1):
        assert pause >= EARLIEST * (1 if number <= alive else 2 ** (number - 1))
    assert 3 <= len(within) <= 5
