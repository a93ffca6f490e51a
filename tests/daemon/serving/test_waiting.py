"""Calls that wait: one request for all of them, and an end for each. A real daemon, raw sockets."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from daemons import (
    PATIENCE,
    RunningDaemon,
    Wire,
    await_that,
    prepared_daemon,
    profile,
    request,
    running_daemon,
)
from emulators import PASSWORD, RunningEmulator, running_emulator
from openfit_token.errors import (
    LoggedOut,
    LoginRejected,
    NoSuchProfile,
    TimedOut,
)
from openfit_tokend.host import clock
from openfit_tokend.serving.rpc import MAX_PARKED
from openfit_tokend.serving.server import RESERVE

pytestmark = pytest.mark.system

CROWD = 500


@pytest.fixture
def emulator() -> Iterator[RunningEmulator]:
    """A token server whose first answer never comes: whoever needs a token waits."""
    with running_emulator("hang@login:1") as emulator:
        yield emulator


@pytest.fixture
def daemon(emulator: RunningEmulator) -> Iterator[RunningDaemon]:
    """A daemon that waits for its first token."""
    with running_daemon(profile(emulator.url)) as daemon:
        await_that(lambda: emulator.state().login_requests == 1)
        yield daemon


@pytest.fixture
def parked(daemon: RunningDaemon) -> Iterator[Wire]:
    """A connection with a call that waits."""
    with daemon.wire() as wire:
        wire.ask("get_token", wait=300)
        daemon.await_waiting(1)
        yield wire


def test_a_call_that_may_not_wait_is_timed_out_at_once(daemon: RunningDaemon) -> None:
    with pytest.raises(TimedOut):
        daemon.call("get_token", wait=0)
    with pytest.raises(TimedOut):
        daemon.call("refuse", id="0" * 16, wait=0)
    with pytest.raises(TimedOut):
        daemon.call("refresh", wait=0)


def test_a_call_is_timed_out_at_its_deadline_and_not_before(daemon: RunningDaemon) -> None:
    before = clock.boot()

    with pytest.raises(TimedOut):
        daemon.call("get_token", wait=0.3)

    assert 0.3 <= clock.boot() - before < PATIENCE
    assert daemon.profile_status()["counters"]["waiting"] == 0


def test_deadlines_of_one_connection_come_in_their_own_order(daemon: RunningDaemon) -> None:
    with daemon.wire() as wire:
        late, soon = wire.ask("get_token", wait=0.4), wire.ask("get_token", wait=0.1)

        assert [wire.answer().msgid for _ in range(2)] == [soon, late]


def test_others_are_answered_beside_a_call_that_waits(parked: Wire) -> None:
    assert parked.ask("hello") == 2

    assert parked.answer().msgid == 2


def test_a_crowd_that_waits_causes_one_request_and_all_get_the_token() -> None:
    with (
        running_emulator("slow=1@login:1") as emulator,
        running_daemon(profile(emulator.url)) as daemon,
        ExitStack() as stack,
    ):
        wires = [stack.enter_context(daemon.wire()) for _ in range(CROWD)]
        for wire in wires:
            wire.ask("get_token")

        answers = [wire.answer() for wire in wires]

        ids = {answer.result["id"] for answer in answers if answer.result is not None}
        assert [answer.error for answer in answers] == [None] * CROWD
        assert len(ids) == 1
        assert emulator.state().token_requests == 1
        assert daemon.profile_status()["counters"]["waiting"] == 0


def test_a_connection_with_64_calls_that_wait_is_not_read_until_one_is_answered(
    daemon: RunningDaemon,
) -> None:
    with daemon.wire() as wire:
        wire.send(request(1, "get_token", wait=1.5))
        wire.send(b"".join(request(n, "get_token", wait=300) for n in range(2, 65)))
        daemon.await_waiting(64)
        wire.send(request(100, "hello"))

        assert wire.is_silent()
        assert wire.answer().msgid == 1
        assert wire.answer().msgid == 100


def test_many_more_calls_than_64_are_all_answered_in_the_end() -> None:
    with (
        running_emulator("slow=1@login:1") as emulator,
        running_daemon(profile(emulator.url)) as daemon,
        daemon.wire() as wire,
    ):
        wire.send(b"".join(request(n, "get_token") for n in range(CROWD)))

        assert wire.answers(CROWD).keys() == set(range(CROWD))


def test_a_user_may_have_as_many_calls_waiting_as_connections(emulator: RunningEmulator) -> None:
    with prepared_daemon(profile(emulator.url)) as daemon:
        daemon.launcher = ("prlimit", f"--nofile={RESERVE + 2 * MAX_PARKED}")
        daemon.start()
        await_that(lambda: emulator.state().login_requests == 1)
        with daemon.wire() as one, daemon.wire() as another:
            for _ in range(MAX_PARKED):
                one.ask("get_token", wait=300)
            daemon.await_waiting(MAX_PARKED)

            assert another.call("get_token", wait=300).code == "OVERLOADED"
        daemon.await_waiting(0)


def test_a_login_that_couldnt_wait_isnt_sent(emulator: RunningEmulator) -> None:
    wrong = profile(emulator.url, "wrong", username='"nobody@example.org"')
    with prepared_daemon(profile(emulator.url), wrong) as daemon:
        daemon.launcher = ("prlimit", f"--nofile={RESERVE + 2 * MAX_PARKED}")
        daemon.start()
        daemon.await_state("locked", name="wrong")
        with daemon.wire() as one, daemon.wire() as another:
            for _ in range(MAX_PARKED):
                one.ask("get_token", profile="main", wait=300)
            daemon.await_waiting(MAX_PARKED)

            assert another.call("login", profile="wrong", wait=300).code == "OVERLOADED"
            assert daemon.profile_status("wrong")["state"] == "locked"


def test_a_half_closed_connection_waits_for_its_answer() -> None:
    with (
        running_emulator("slow=1@login:1") as emulator,
        running_daemon(profile(emulator.url)) as daemon,
        daemon.wire() as wire,
    ):
        wire.send(b"".join(request(n, "get_token") for n in range(200)))
        wire.socket.shutdown(socket.SHUT_WR)

        assert wire.answers(200).keys() == set(range(200))
        assert wire.has_ended()


def test_a_client_that_leaves_while_it_waits_is_forgotten(
    daemon: RunningDaemon, parked: Wire
) -> None:
    parked.close()

    daemon.await_waiting(0)
    daemon.await_connections(1)


def test_a_client_that_leaves_with_more_than_64_calls_is_forgotten(daemon: RunningDaemon) -> None:
    with daemon.wire() as wire:
        wire.send(b"".join(request(n, "get_token", wait=300) for n in range(100)))
        daemon.await_waiting(64)

    daemon.await_waiting(0)
    daemon.await_connections(1)


def test_who_waits_is_told_of_a_logout(daemon: RunningDaemon, parked: Wire) -> None:
    daemon.call("logout")

    assert parked.answer().code == "LOGGED_OUT"
    with pytest.raises(LoggedOut):
        daemon.call("get_token")
    with pytest.raises(LoggedOut):
        daemon.call("refuse", id="0" * 16)


def test_who_waits_is_told_of_a_stop(daemon: RunningDaemon, parked: Wire) -> None:
    daemon.signal(signal.SIGTERM)

    answer = parked.answer()
    assert answer.code == "STOPPING"
    assert answer.error is not None
    assert answer.error["retry_after"] is not None
    assert parked.call("get_token").code == "STOPPING"


def test_who_waits_is_told_when_the_profile_is_removed(
    daemon: RunningDaemon, emulator: RunningEmulator, parked: Wire
) -> None:
    daemon.write_config(profile(emulator.url, "other"))

    daemon.call("reload")

    assert parked.answer().code == "NO_SUCH_PROFILE"
    with pytest.raises(NoSuchProfile):
        daemon.call("get_token", profile="main")


def test_who_waits_is_told_of_a_rejected_login_at_once() -> None:
    with (
        running_emulator("slow=0.5@login:1") as emulator,
        running_daemon(profile(emulator.url), password="wrong") as daemon,
        daemon.wire() as wire,
    ):
        wire.ask("get_token", wait=300)

        answer = wire.answer()

        assert answer.code == "LOGIN_REJECTED"
        assert daemon.profile_status()["state"] == "locked"
        with pytest.raises(LoginRejected):
            daemon.call("get_token", wait=300)
        assert emulator.state().token_requests == 1


@pytest.mark.slow
def test_clients_that_refuse_one_token_cause_one_request() -> None:
    with (
        running_emulator() as emulator,
        running_daemon(profile(emulator.url), paced=False) as daemon,
        ExitStack() as stack,
    ):
        old = daemon.call("get_token")["id"]
        wires = [stack.enter_context(daemon.wire()) for _ in range(50)]

        for wire in wires:
            wire.ask("refuse", id=old)
        answers = [wire.answer() for wire in wires]

        ids = {answer.result["id"] for answer in answers if answer.result is not None}
        assert len(ids) == 1
        assert old not in ids
        assert emulator.state().refresh_requests == 1


def test_a_login_gets_the_outcome_of_the_login_that_it_ordered() -> None:
    with (
        running_emulator("slow=0.7@login:1") as emulator,
        running_daemon(profile(emulator.url), password="wrong") as daemon,
    ):
        await_that(lambda: emulator.state().login_requests == 1)

        token = daemon.call("login", password=PASSWORD)  # after the stored one was rejected

        assert token["profile"] == "main"
        assert (emulator.state().logins_rejected, emulator.state().logins) == (1, 1)


def test_a_login_whose_wait_is_over_goes_on(daemon: RunningDaemon) -> None:
    with pytest.raises(TimedOut, match="continues"):
        daemon.call("login", wait=0.1)

    assert daemon.profile_status()["state"] == "logging_in"


def test_a_password_given_to_login_is_used_once_and_forgotten() -> None:
    with (
        running_emulator("slow=0.7@login:1") as emulator,
        running_daemon(profile(emulator.url)) as daemon,
    ):
        await_that(lambda: emulator.state().login_requests == 1)
        daemon.call("login", password="mistyped")  # the login under way is its outcome
        emulator.revoke_refresh()

        daemon.call("login")

        assert emulator.state().logins_rejected == 0
