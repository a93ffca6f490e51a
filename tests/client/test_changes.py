"""`changes()` of both clients: a profile followed over restarts of the daemon."""

import os
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from daemons import RunningDaemon, prepared_daemon, profile
from emulators import running_emulator
from fake_daemon import PATIENCE, Behaviour, FakeDaemon, Request, always, dropping, silent
from openfit_token import AsyncTokenClient, TokenClient
from openfit_token._client.changes import Change
from openfit_token._shared.protocol import encode_notification
from openfit_token.errors import DaemonUnreachable, NoSuchProfile


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    with running_emulator() as emulator, prepared_daemon(profile(emulator.url)) as daemon:
        daemon.start()
        daemon.call("get_token")
        yield daemon


def restarted(daemon: RunningDaemon) -> str:
    """Return the id of the token after a restart."""
    daemon.stop()
    daemon.start()
    return str(daemon.call("get_token")["id"])


def until(changes: Iterator[Change], token: str) -> None:
    """Await that a token is told of."""
    next(each for each in changes if each.id == token and each.state == "fresh")


def test_the_first_is_how_things_stand(daemon: RunningDaemon) -> None:
    status = daemon.profile_status()
    with daemon.client() as client:
        (change,) = islice(client.changes(), 1)

    assert (change.profile, change.state, change.id) == ("main", "fresh", status["id"])
    assert change.expires_at == pytest.approx(status["expires_at"], abs=0.1)


def test_each_new_token_is_told(daemon: RunningDaemon) -> None:
    with daemon.client() as client:
        changes = client.changes()
        next(changes)
        daemon.call("logout")

        token = client.login()

        until(changes, token.id)
        changes.close()


def test_a_restart_is_waited_for(daemon: RunningDaemon) -> None:
    with daemon.client() as client:
        changes = client.changes()
        next(changes)

        token = restarted(daemon)

        until(changes, token)
        changes.close()


def test_the_state_of_before_is_not_told_again_though_its_end_is_worked_out_anew(
    place: Path,
) -> None:
    held = {"profile": "main", "state": "fresh", "id": "i", "expires_at": 1.0}

    def again(request: Request) -> None:
        request.result(held | {"expires_at": 1.5})
        request.peer.send(encode_notification("changed", held | {"state": "refreshing"}))

    with FakeDaemon(place / "s", again, always(held)) as daemon:
        changes = TokenClient(socket=daemon.path).changes()
        next(changes)
        daemon.requests[0].peer.hang_up()

        assert next(changes).state == "refreshing"
        changes.close()


def test_what_the_daemon_refuses_is_raised(daemon: RunningDaemon) -> None:
    with TokenClient("none", str(daemon.socket)) as client, pytest.raises(NoSuchProfile):
        next(client.changes())


def test_a_daemon_that_was_never_there_is_not_waited_for() -> None:
    with TokenClient(None, "/nonexistent/socket") as client, pytest.raises(DaemonUnreachable):
        next(client.changes())


def half_an_answer(request: Request) -> None:
    """Send the head of an array, and no more."""
    request.peer.send(b"\x94\x01\x01\xc0")


NO_ANSWERS = [
    (silent, "the daemon doesn't answer"),
    (half_an_answer, "the daemon doesn't answer"),
    (dropping, "the daemon closed the connection before it answered"),
]


@pytest.mark.parametrize(("behaviour", "told"), NO_ANSWERS)
def test_a_daemon_that_does_not_say_how_things_stand_is_left(
    place: Path, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, told: str
) -> None:
    monkeypatch.setattr("openfit_token._client.changes._ANSWER", 0.1)
    with (
        FakeDaemon(place / "s", behaviour) as daemon,
        pytest.raises(DaemonUnreachable, match=told),
    ):
        next(TokenClient(socket=daemon.path).changes())


@pytest.mark.parametrize(("behaviour", "told"), NO_ANSWERS)
async def test_the_async_client_leaves_it_too(
    place: Path, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, told: str
) -> None:
    monkeypatch.setattr("openfit_token._client.changes._ANSWER", 0.1)
    with (
        FakeDaemon(place / "s", behaviour) as daemon,
        pytest.raises(DaemonUnreachable, match=told),
    ):
        await anext(AsyncTokenClient(socket=daemon.path).changes())


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # the point of it
def test_a_forked_child_follows_over_a_connection_of_its_own(place: Path) -> None:
    states = [
        {"profile": "main", "state": state, "id": None, "expires_at": None}
        for state in ("down", "logging_in")
    ]
    with FakeDaemon(place / "s", always(states[1]), always(states[0])) as daemon:
        changes = TokenClient(socket=daemon.path).changes()
        next(changes)
        child = os.fork()
        if child == 0:
            signal.alarm(int(PATIENCE))  # it isn't to outlive a failing test
            status = 1
            try:
                status = 0 if next(changes).state == "logging_in" else 2
            finally:
                os._exit(status)
        daemon.next_request()
        daemon.next_request()

        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        daemon.requests[0].peer.send(encode_notification("changed", states[1]))
        assert next(changes).state == "logging_in"
        changes.close()


async def test_a_daemon_that_hangs_after_its_restart_is_left_and_asked_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = [
        {"profile": "main", "state": state, "id": None, "expires_at": None}
        for state in ("empty", "down")
    ]
    script = (always(states[0]), half_an_answer, silent)
    with FakeDaemon(place / "s", always(states[1]), *script) as daemon:
        changes = AsyncTokenClient(socket=daemon.path).changes()
        await anext(changes)
        monkeypatch.setattr("openfit_token._client.changes._ANSWER", 0.1)
        daemon.requests[0].peer.hang_up()

        with anyio.fail_after(PATIENCE):
            assert (await anext(changes)).state == "down"
        await changes.aclose()
    assert len(daemon.requests) >= 4, "both that hung were asked"


async def test_the_async_client_tells_the_same_and_waits_for_a_restart(
    daemon: RunningDaemon,
) -> None:
    async with AsyncTokenClient(None, str(daemon.socket)) as client:
        changes = client.changes()
        first = await anext(changes)
        assert first.id == daemon.profile_status()["id"]

        token = await to_thread.run_sync(restarted, daemon)

        async for change in changes:
            if change.id == token:
                break
        await changes.aclose()


async def test_the_async_client_can_be_cancelled_while_nothing_changes(
    daemon: RunningDaemon,
) -> None:
    async with AsyncTokenClient(None, str(daemon.socket)) as client:
        told = list[Change]()
        with anyio.move_on_after(0.2) as scope:
            async for change in client.changes():
                told.append(change)

        assert scope.cancelled_caught
        assert len(told) == 1
        assert (await client.hello())["name"] == "openfit-tokend"
