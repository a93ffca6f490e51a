"""What a disturbance does to a client that asks each millisecond."""

from collections.abc import Callable

from benchmarks.bars import Bar
from benchmarks.measure import Loads, Server, prefer
from benchmarks.table import Effort


def paced(loads: Loads, server: Server, effort: Effort) -> float:
    """Give its p99, in milliseconds."""
    return loads.run(server, "paced", effort.seconds * 5, cpu=-1).p99 / 1e3


def added(
    what: str,
    loads: Loads,
    server: Server,
    effort: Effort,
    disturbed: Callable[[], float],
    most: float = 5,
) -> Bar:
    """Give what a disturbance adds to its p99, each from its quietest round.

    Whatever else the machine does only adds to a p99, and may add more than the server.
    """
    prefer(server.pids)
    rounds = [(disturbed(), paced(loads, server, effort)) for _ in range(effort.rounds)]
    with_it, without = (min(each) for each in zip(*rounds, strict=True))
    return Bar(f"{what}: ms added to another client's p99", with_it - without, most)
