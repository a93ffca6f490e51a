"""What a disturbance does to a client that asks each millisecond."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from benchmarks.measure import Loads, Server
from benchmarks.table import Effort


@dataclass(frozen=True)
class Bystander:
    """The client that is disturbed."""

    loads: Loads
    server: Server
    effort: Effort

    def p99(self) -> float:
        """Return its p99, in milliseconds."""
        seconds = self.effort.seconds * 5
        return self.loads.run(self.server, "paced", seconds, cpu=-1).p99 / 1e3

    def added(self, disturbed: Callable[[], float]) -> float:
        """Return what a disturbance adds to its p99: the median of the rounds' differences."""
        return median(disturbed() - self.p99() for _ in range(self.effort.rounds))
