"""What a disturbance does to a client that asks each millisecond."""

from collections.abc import Callable
from statistics import median

from benchmarks.bars import Bar
from benchmarks.measure import Loads, Server
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
    """Give what a disturbance adds to its p99: the median of some rounds."""
    rounds = [disturbed() - paced(loads, server, effort) for _ in range(effort.rounds)]
    return Bar(f"{what}: ms added to another client's p99", median(rounds), most)
