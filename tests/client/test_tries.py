"""When a call is tried again: the decision alone, with the time as an argument."""

import pytest

from openfit_token._client import calls
from openfit_token._client.connection import Pool, Tries
from openfit_token.errors import DaemonUnreachable, Stopping

ABSENT = DaemonUnreachable("no daemon listens at /s")
LOST = ConnectionResetError()
FULL = BlockingIOError()
GRACE = 5.0


def tries(call: calls.Call | None = None, *, worked: bool = False, now: float = 100.0) -> Tries:
    pool = Pool()
    pool.worked = worked
    return Tries(call or calls.get_token(None, None, wait=10.0), pool, now)


def test_an_answer_is_awaited_a_few_seconds_longer_than_the_wait() -> None:
    assert tries().answer_by == 100.0 + 10.0 + GRACE


@pytest.mark.parametrize("wait", [-1.0, float("nan")])
def test_a_wait_that_the_daemon_refuses_is_none_for_us(wait: float) -> None:
    assert tries(calls.get_token(None, None, wait)).answer_by == 100.0 + GRACE


@pytest.mark.parametrize("wait", [301.0, float("inf")])
def test_no_answer_is_awaited_longer_than_the_longest_wait(wait: float) -> None:
    assert tries(calls.get_token(None, None, wait)).answer_by == 100.0 + 300.0 + GRACE


@pytest.mark.parametrize("failure", [LOST, Stopping("shutting down")])
def test_a_lost_call_goes_out_again_at_once_and_then_with_longer_pauses(
    failure: Exception,
) -> None:
    lost = tries()

    assert [lost.after(failure, 100.0) for _ in range(8)] == [
        *(0.0, 0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5)
    ]


def test_after_its_wait_a_lost_call_ends_as_unreachable() -> None:
    lost = tries()
    assert lost.after(LOST, 110.0) == 0.0

    with pytest.raises(DaemonUnreachable, match="closed the connection before it answered"):
        lost.after(LOST, 110.0)


def test_after_its_wait_a_call_of_a_stopping_daemon_ends_with_what_it_said() -> None:
    stopping = Stopping("shutting down")
    told = tries()
    told.after(stopping, 110.0)

    with pytest.raises(Stopping) as caught:
        told.after(stopping, 110.0)
    assert caught.value is stopping


def test_an_absent_daemon_is_not_waited_for() -> None:
    with pytest.raises(DaemonUnreachable) as caught:
        tries().after(ABSENT, 100.0)

    assert caught.value is ABSENT


def test_a_daemon_that_had_worked_is_waited_for_until_the_wait_is_over() -> None:
    waiting = tries(worked=True)
    assert waiting.after(ABSENT, 109.9) == 0.02

    with pytest.raises(DaemonUnreachable):
        waiting.after(ABSENT, 110.0)


def test_a_daemon_that_was_lost_in_this_very_call_is_waited_for() -> None:
    waiting = tries()
    waiting.after(LOST, 100.0)

    assert waiting.after(ABSENT, 100.0) == 0.02


def test_after_a_wait_in_vain_the_next_call_does_not_wait() -> None:
    pool = Pool()
    pool.worked = True
    with pytest.raises(DaemonUnreachable):
        Tries(calls.hello(), pool, 100.0).after(ABSENT, 200.0)

    with pytest.raises(DaemonUnreachable):
        Tries(calls.hello(), pool, 200.0).after(ABSENT, 200.0)


def test_a_call_that_does_not_wait_is_no_wait_in_vain() -> None:
    pool = Pool()
    pool.worked = True
    with pytest.raises(DaemonUnreachable):
        Tries(calls.get_token(None, None, 0.0), pool, 100.0).after(ABSENT, 100.0)

    assert Tries(calls.hello(), pool, 100.0).after(ABSENT, 100.0) == 0.02


def test_another_calls_wait_in_vain_does_not_end_this_ones() -> None:
    pool = Pool()
    pool.worked = True
    mine = Tries(calls.get_token(None, None, 30.0), pool, 100.0)
    with pytest.raises(DaemonUnreachable):
        Tries(calls.get_token(None, None, 1.0), pool, 100.0).after(ABSENT, 101.0)

    assert mine.after(ABSENT, 101.0) == 0.02


def test_a_full_queue_is_waited_for_as_long_as_an_answer() -> None:
    waiting = tries()
    assert waiting.after(FULL, 114.9) == 0.02

    with pytest.raises(DaemonUnreachable, match="accepts no more connections"):
        waiting.after(FULL, 115.0)


def test_a_silent_daemon_is_not_asked_twice() -> None:
    with pytest.raises(DaemonUnreachable, match="the daemon doesn't answer"):
        tries(worked=True).after(TimeoutError(), 100.0)


@pytest.mark.parametrize(
    "order", [calls.login(None, None, wait=10.0), calls.logout(None), calls.reload()]
)
def test_an_operators_order_is_sent_once_but_a_daemon_is_waited_for_before(
    order: calls.Call,
) -> None:
    assert tries(order, worked=True).after(ABSENT, 100.0) == 0.02
    assert tries(order).after(FULL, 100.0) == 0.02
    with pytest.raises(DaemonUnreachable, match="closed the connection"):
        tries(order, worked=True).after(LOST, 100.0)
