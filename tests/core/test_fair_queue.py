"""Who comes next where time is short."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from openfit_tokend.core.callers.fair_queue import NO_SHARE, FairQueue


def serve(queue: FairQueue[str], shares: dict[str, float], costs: dict[str, float]) -> str:
    """Serve whoever is next, and let it wait again."""
    name = queue.pop()
    shares[name] = queue.add(name, queue.charge(shares[name], costs[name]))
    return name


def test_who_took_least_is_next_and_among_equals_who_came_first() -> None:
    queue = FairQueue[str]()
    shares = {"much": queue.charge(NO_SHARE, 5.0), "little": queue.charge(NO_SHARE, 1.0)}

    for name in ("much", "little"):
        queue.add(name, shares[name])
    queue.add("new", NO_SHARE)
    queue.add("newer", NO_SHARE)

    assert [queue.pop() for _ in range(4)] == ["new", "newer", "little", "much"]
    assert not queue.waiting


def test_who_was_away_has_saved_up_nothing() -> None:
    queue = FairQueue[str]()
    shares = {"busy": queue.add("busy", NO_SHARE)}
    for _ in range(100):
        serve(queue, shares, {"busy": 1.0})
    shares["away"] = queue.add("away", NO_SHARE)

    served = [serve(queue, shares, {"busy": 1.0, "away": 1.0}) for _ in range(20)]

    assert Counter(served) == {"busy": 10, "away": 10}


@given(st.lists(st.floats(0.001, 10.0), min_size=2, max_size=8))
def test_those_who_always_want_more_get_the_same_time_to_within_one_service(
    costs: list[float],
) -> None:
    queue, names = FairQueue[str](), [str(each) for each in range(len(costs))]
    cost = dict(zip(names, costs, strict=True))
    shares, took = {name: queue.add(name, NO_SHARE) for name in names}, dict.fromkeys(names, 0.0)

    for _ in range(200):
        name = serve(queue, shares, cost)
        took[name] += cost[name]

    assert max(took.values()) - min(took.values()) <= 2 * max(costs)


def test_a_crowd_that_is_served_before_its_turn_too_overtakes_nobody() -> None:
    """The server answers what it can before it queues: that mustn't make the order one of arrival."""
    queue, crowd = FairQueue[str](), [f"crowd {number}" for number in range(300)]
    shares = {name: queue.add(name, NO_SHARE) for name in crowd}
    for _ in range(3000):
        served = crowd[_ % 300]
        shares[served] = queue.charge(shares[served], 0.01)  # before its turn
        name = queue.pop()
        shares[name] = queue.add(name, queue.charge(shares[name], 0.01))

    queue.add("victim", queue.charge(NO_SHARE, 0.001))

    assert "victim" in [queue.pop() for _ in range(3)]


def test_newcomers_let_the_others_have_their_turn() -> None:
    queue = FairQueue[str]()
    queue.add("established", queue.charge(NO_SHARE, 0.01))
    popped: list[str] = []
    while "established" not in popped:
        queue.add("newcomer", NO_SHARE)
        popped.append(queue.pop())

    assert len(popped) < 20
