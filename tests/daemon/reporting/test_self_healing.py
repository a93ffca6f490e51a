"""Faults of our own: said with their traceback, without a secret, and nobody else notices."""

import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from daemons import Wire, profile
from emulators import USERNAME, running_emulator
from failures import secrets_in
from inside import DaemonInside, async_await_that, daemon_inside
from openfit_emulator.identity import Rules
from openfit_token._shared.protocol import parse_request
from openfit_token.errors import Internal
from openfit_tokend.config import config_file, names
from openfit_tokend.core import oauth
from openfit_tokend.core.callers.answers import answer
from openfit_tokend.core.choice import Step
from openfit_tokend.core.events import Event, Granted, Woken
from openfit_tokend.core.moment import Moment
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import Session, last_error
from openfit_tokend.core.step import step
from openfit_tokend.host import alarm
from openfit_tokend.keeping import keeper
from openfit_tokend.serving import rpc
from openfit_tokend.serving import status as serving_status

ILL = Policy(refresh_before=60.0)
"""The schedule by which the events of the profile are known that meets the faults."""

MANY = 1100
"""Faults in a row: a float can't be doubled so often."""


class Fault(Exception):
    """What nobody expects."""


class Faulty:
    """The core's `step`, which raises at the first events of a kind that the profile `ill` meets."""

    def __init__(self, kind: type[Event], times: int) -> None:
        self.kind = kind
        self.times = times
        self.raised: list[float] = []

    def __call__(self, session: Session, event: Event, moment: Moment, policy: Policy) -> Step:
        ill = policy == ILL and isinstance(event, self.kind)
        if ill and len(self.raised) < self.times:
            self.raised.append(moment.now)
            raise Fault(f"{session} met {event}")
        return step(session, event, moment, policy)


def raising(times: int, otherwise: Callable[..., object]) -> Callable[..., object]:
    """Return a function that raises so many times, and then does as the other one."""
    left = [None] * times

    def do(*given: object) -> object:
        if left:
            left.pop()
            raise Fault
        return otherwise(*given)

    return do


def two_profiles(url: str) -> tuple[str, str]:
    return profile(url, "ill", refresh_before='"60s"'), profile(url, "well")


def faults(daemon: DaemonInside) -> list[str]:
    return [line for line in daemon.log().splitlines() if "event=internal_fault" in line]


@pytest.mark.parametrize("kind", [Woken, Granted])
async def test_a_fault_of_one_profile_is_logged_and_it_begins_again_and_others_do_not_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Event]
) -> None:
    faulty = Faulty(kind, 1)
    monkeypatch.setattr(keeper, "step", faulty)
    with running_emulator() as emulator:
        async with daemon_inside(tmp_path, *two_profiles(emulator.url)) as daemon:
            await async_await_that(lambda: bool(faults(daemon)), daemon.log)
            async with daemon.client("well") as tokens:
                token = await tokens.get_token()
            async with daemon.client("ill") as tokens:
                assert (await tokens.get_token()).profile == "ill"

            (line,) = faults(daemon)
            for told in ("level=error", "profile=ill", "Traceback", "Fault: Session("):
                assert told in line
            assert secrets_in(daemon.log()) == []
            assert [line for line in daemon.log().splitlines() if line.startswith(" ")] == []
            async with daemon.client("well") as tokens:
                assert (await tokens.get_token()).id == token.id
            assert (await daemon.profile_status("well"))["counters"]["logins"] == 1


async def test_a_fault_at_the_refresh_costs_no_more_than_a_lost_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_emulator(rules=Rules(token_lifetime=2)) as emulator:
        async with daemon_inside(tmp_path, *two_profiles(emulator.url)) as daemon:
            async with daemon.client("ill") as tokens:
                await tokens.get_token()
                emulator.set_lifetime(3600)
                faulty = Faulty(Granted, 1)
                monkeypatch.setattr(keeper, "step", faulty)

                await async_await_that(lambda: emulator.state().logins == 3)  # two, and one more
                await async_await_that(lambda: "expires_in=35" in daemon.log())

                assert (await tokens.get_token()).expires_in > 3000
            assert len(faulty.raised) == 1
            assert (await daemon.profile_status("ill"))["counters"]["logins"] == 2
            assert emulator.state().users[USERNAME].failed == 0


async def test_a_fault_that_stays_is_met_more_slowly_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm, "WATCH", 0.02)
    faulty = Faulty(Woken, 5)
    monkeypatch.setattr(keeper, "step", faulty)
    with running_emulator() as emulator:
        async with daemon_inside(tmp_path, *two_profiles(emulator.url)) as daemon:
            while len(faulty.raised) < 5:
                daemon.clocks.suspend(0.5)
                await anyio.sleep(0.04)

            async with daemon.client("well") as tokens:
                await tokens.get_token()
        met = faulty.raised
        waited = [after - before for before, after in pairwise(met)]
        assert all(wait >= 2**n for n, wait in enumerate(waited, start=1)), waited


async def test_a_profile_recovers_from_any_number_of_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm, "WATCH", 0.02)
    monkeypatch.setattr(keeper, "step", Faulty(Woken, MANY))
    with running_emulator() as emulator:
        async with daemon_inside(tmp_path, *two_profiles(emulator.url)) as daemon:
            ill = daemon.daemon.profiles.keepers["ill"]
            for _ in range(MANY):
                ill.feed(Woken())

            daemon.clocks.suspend(61.0)
            async with daemon.client("ill") as tokens:
                assert (await tokens.get_token()).profile == "ill"


async def test_a_login_that_ended_in_a_fault_of_ours_counts_as_one_that_may_be_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "meaning", raising(1000, oauth.meaning))
    with running_emulator() as emulator:
        async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
            counters = daemon.daemon.profiles.keepers["main"].counters
            await async_await_that(lambda: counters.uncertain == 2, daemon.log)

            status = await daemon.profile_status()
            assert len(faults(daemon)) == 2
            assert status["logins_left"] == 1
            assert status["last_error"]["code"] == "UNAVAILABLE"
            assert secrets_in(daemon.log()) == []


async def test_a_fault_in_a_call_is_told_to_its_caller_and_hurts_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_emulator() as emulator:
        async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
            async with daemon.client() as tokens:
                monkeypatch.setattr(serving_status, "last_error", raising(1, last_error))

                with pytest.raises(Internal):
                    await tokens.status()

                assert (await tokens.get_token()).profile == "main"
            (line,) = faults(daemon)
            assert "method=status" in line


async def test_a_fault_in_the_handling_of_a_client_closes_that_client_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_emulator() as emulator:
        async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
            with Wire(daemon.socket) as unlucky, Wire(daemon.socket) as other:
                call = anyio.to_thread.run_sync
                assert (await call(other.call, "hello")).error is None
                monkeypatch.setattr(rpc, "parse_request", raising(1, parse_request))

                with pytest.raises(EOFError):
                    await call(unlucky.call, "hello")

                assert (await call(other.call, "hello")).error is None
            (line,) = faults(daemon)
            assert "Traceback" in line


async def test_a_fault_in_the_answer_to_one_who_waits_closes_that_client_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_emulator("slow=0.5@login:1") as emulator:
        async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
            with Wire(daemon.socket) as unlucky, Wire(daemon.socket) as other:
                main = daemon.daemon.profiles.keepers["main"]
                unlucky.ask("get_token", wait=60)
                await async_await_that(lambda: main.waiting == 1)
                other.ask("get_token", wait=60)
                await async_await_that(lambda: main.waiting == 2)
                monkeypatch.setattr(keeper, "answer", raising(1, answer))

                told = await anyio.to_thread.run_sync(other.answer)

                assert told.error is None
                assert await anyio.to_thread.run_sync(unlucky.has_ended)
            assert len(faults(daemon)) == 1
        assert emulator.state().token_requests == 1


async def test_a_fault_in_a_reload_is_told_and_the_old_configuration_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_emulator() as emulator:
        async with (
            daemon_inside(tmp_path, profile(emulator.url)) as daemon,
            daemon.client() as tokens,
        ):
            token = await tokens.get_token()
            settle = raising(2, names.read_subordinates)
            monkeypatch.setattr(config_file, "read_subordinates", settle)
            signal.raise_signal(signal.SIGHUP)
            await async_await_that(lambda: len(faults(daemon)) == 1)

            with pytest.raises(Internal):
                await tokens.reload()

            assert (await tokens.get_token()).id == token.id
            await tokens.reload()
            assert (await tokens.get_token()).id == token.id
