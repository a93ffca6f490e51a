"""A wrong password costs as little as possible, whoever asks, insists, restarts or crashes."""

import signal
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import pytest

from daemons import RunningDaemon, await_that, prepared_daemon, profile, running_daemon
from emulators import PASSWORD, USERNAME, RunningEmulator, running_emulator
from failures import outcome
from openfit_token.errors import BudgetSpent, LoginRejected, TokenError

pytestmark = [pytest.mark.system, pytest.mark.slow]

CLIENTS, PROFILES, RESTARTS = 50, 10, 5
WRONG = "wrong horse"


def names() -> list[str]:
    return [f"p{number}" for number in range(PROFILES)]


@contextmanager
def many_profiles(*faults: str) -> Generator[tuple[RunningEmulator, RunningDaemon]]:
    """Prepare a daemon whose profiles have one login, with a wrong password."""
    with running_emulator(*faults) as emulator:
        tables = [profile(emulator.url, name) for name in names()]
        with prepared_daemon(*tables, password=WRONG) as daemon:
            yield emulator, daemon


def crowd(daemon: RunningDaemon) -> set[str | None]:
    """Let fifty clients ask at once, five for each profile; give the codes that they are told."""
    with ExitStack() as stack:
        wires = [stack.enter_context(daemon.wire()) for _ in range(CLIENTS)]
        for number, wire in enumerate(wires):
            wire.ask("get_token", profile=f"p{number % PROFILES}", wait=60)
        return {wire.answer().code for wire in wires}


def insist(daemon: RunningDaemon, profiles: list[str]) -> list[TokenError]:
    """Order a login of each profile, one after the other, and give what that comes to."""
    told: list[TokenError] = []
    for name in profiles:
        with pytest.raises(TokenError) as caught:
            daemon.call("login", profile=name)
        told.append(caught.value)
    return told


def await_login(emulator: RunningEmulator, number: int) -> None:
    await_that(lambda: emulator.state().login_requests == number)


def failed_logins(emulator: RunningEmulator) -> int:
    """Return what the token server counts against the account."""
    return emulator.state().users[USERNAME].failed


@pytest.mark.parametrize(("answer", "rejected"), [((), 1), (("503@login:1",), 0)])
def test_who_waits_while_an_operator_stores_another_password_sends_that_one(
    answer: tuple[str, ...], rejected: int
) -> None:
    with (
        running_emulator("slow=1@login:1", *answer) as emulator,
        running_daemon(
            profile(emulator.url, "first"), profile(emulator.url, "waits"), password=WRONG
        ) as daemon,
    ):
        await_login(emulator, 1)  # the other's waits for what comes of it
        daemon.write_password(PASSWORD)

        outcome(lambda: daemon.call("login", profile="first", wait=0))

        daemon.await_state("fresh", name="waits")
        assert emulator.state().logins_rejected == rejected


def test_a_wrong_password_costs_one_rejection_whoever_asks_and_over_restarts() -> None:
    with many_profiles() as (emulator, daemon):
        told: list[set[str | None]] = []
        for round_ in range(1 + RESTARTS):
            daemon.start()
            told.append(crowd(daemon))
            (daemon.stop if round_ % 2 else daemon.kill)()

        assert told == [{"LOGIN_REJECTED"}] * (1 + RESTARTS)
        assert emulator.state().token_requests == 1
        assert failed_logins(emulator) == 1

        daemon.write_password(PASSWORD)
        daemon.start()
        assert daemon.call("get_token", profile="p0")["profile"] == "p0"


def test_a_rejection_behind_a_page_counts_as_what_it_may_be() -> None:
    with many_profiles("error-400=acted@login:*") as (emulator, daemon):
        daemon.start()
        for name in names():
            daemon.await_state("down", name=name)
        for name in names():
            with pytest.raises(TokenError):
                daemon.call("login", profile=name)

        assert failed_logins(emulator) == emulator.state().token_requests == 3
        assert daemon.profile_status("p0")["logins_left"] == 0


def test_operators_who_insist_six_times_cost_three_at_most_and_are_told_when_to_try_again() -> None:
    with many_profiles() as (emulator, daemon):
        daemon.start()
        crowd(daemon)

        told = insist(daemon, names()[:3])
        daemon.stop()
        daemon.start()
        for name in names():
            daemon.await_state("locked", name=name)
        told += insist(daemon, names()[3:6])

        assert [type(each) for each in told] == [LoginRejected] * 2 + [BudgetSpent] * 4
        for error in told[2:]:
            assert error.retry_after == pytest.approx(900, abs=30)
            assert "openfit-tokend reload" in str(error)
            assert "the daemon logs in by itself when the wait is over" in str(error)
        assert failed_logins(emulator) == 3
        status = daemon.profile_status("p0")
        assert status["logins_left"] == 0
        assert status["login_possible_at"] is not None
        command = daemon.run("openfit-token", "login", "--profile", "p9")
        assert command.returncode == 75
        # Those who only want a token are told what is wrong:
        assert crowd(daemon) == {"LOGIN_REJECTED"}
        assert emulator.state().token_requests == 3


@pytest.mark.parametrize("damage", ["damaged", "removed"])
def test_a_ledger_lost_before_a_start_costs_one_more_rejection_and_no_second(damage: str) -> None:
    with (
        running_emulator() as emulator,
        prepared_daemon(profile(emulator.url), password=WRONG) as daemon,
    ):
        for loss in (1, 2):
            for _ in range(2):
                daemon.start()
                daemon.await_state("locked")
                assert isinstance(outcome(lambda: daemon.call("get_token")), LoginRejected)
                daemon.stop()
            assert failed_logins(emulator) == loss
            if damage == "damaged":
                daemon.state.write_bytes(daemon.state.read_bytes()[:100])
            else:
                daemon.state.unlink()


def test_a_crash_during_a_login_counts_as_a_login_that_may_have_been_rejected() -> None:
    with (
        running_emulator("hang@login:1-3") as emulator,
        prepared_daemon(profile(emulator.url)) as daemon,
    ):
        left: list[object] = []
        for crash in (1, 2, 3):
            daemon.start()
            left.append(daemon.profile_status()["logins_left"])
            await_login(emulator, crash)
            daemon.signal(signal.SIGKILL)
            daemon.wait()

        daemon.start()
        error = outcome(lambda: daemon.call("get_token"))

        assert left == [3, 2, 1]
        assert isinstance(error, BudgetSpent)
        assert error.retry_after == pytest.approx(
            960, abs=30
        )  # 15 minutes after the restart + 60 s
        assert emulator.state().login_requests == 3
