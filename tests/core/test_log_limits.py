"""How many lines of the log others may provoke."""

from openfit_tokend.core.callers.log_limits import MOST, PERIOD, Window, admit


def admitted(window: Window, key: object, burst: int, now: float, count: int) -> tuple[Window, int]:
    """Let so many lines be judged; return how many may be logged."""
    logged = 0
    for _ in range(count):
        window, suppressed = admit(window, key, burst, now)
        logged += suppressed is not None
    return window, logged


def test_of_each_key_a_burst_is_logged_and_the_next_line_says_how_many_are_missing() -> None:
    window, logged = admitted(Window(), "alice", 20, now=5.0, count=50)
    assert logged == 20

    window, suppressed = admit(window, "bob", 20, now=6.0)
    assert suppressed == 30

    assert admit(window, "bob", 20, now=7.0)[1] == 0


def test_after_the_period_there_is_room_again_and_nothing_suppressed_is_forgotten() -> None:
    window, _ = admitted(Window(), "alice", 1, now=5.0, count=10)

    assert admit(window, "alice", 1, now=5.0 + PERIOD - 0.001)[1] is None
    assert admit(window, "alice", 1, now=5.0 + PERIOD)[1] == 9


def test_however_many_keys_there_are_no_more_than_the_most_is_logged_nor_remembered() -> None:
    window, logged = Window(), 0
    for uid in range(100_000, 165_536):
        window, suppressed = admit(window, uid, 20, now=5.0)
        logged += suppressed is not None

    assert logged == len(window.lines) == MOST
    assert window.suppressed == 65_536 - MOST
