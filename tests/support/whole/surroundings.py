"""What a world is to the daemons in it: one daemon's world and a fleet's have it in common."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from anyio.abc import ByteStream

from simulation.plan import Traits
from whole.time import Time

if TYPE_CHECKING:  # servers are made of this module
    from whole.servers import Sent


class Machine(Protocol):
    """A host. `life` counts the daemons that lived on it."""

    life: int

    def kill(self) -> None:
        """Kill the daemon right here."""
        ...

    def work(self, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Do what one of the daemon's threads does."""
        ...


class Weather(Protocol):
    """What of a plan the token server goes by."""

    @property
    def seed(self) -> int:
        """Return what decides the run."""
        ...

    @property
    def traits(self) -> Traits:
        """Return what the server is like."""
        ...

    @property
    def latency(self) -> tuple[float, float]:
        """Return the seconds that a good answer takes, least and most."""
        ...

    @property
    def fault_rate(self) -> float:
        """Return the part of the requests that meet a fault."""
        ...


class RequestsWitness(Protocol):
    """Who sees what is sent to the token server, and what it says."""

    def sent(self, sent: "Sent") -> None:
        """Judge a request as the server receives it."""
        ...

    def given_up(self, sent: "Sent") -> None:
        """Judge that the daemon closed a connection before the answer came."""
        ...

    def acted(self, sent: "Sent") -> None:
        """Count what the server made of a login."""
        ...

    def answered(self, sent: "Sent", *, clear: bool) -> None:
        """Take note of an answer that reached the daemon; `clear`: in the server's own words."""
        ...


class Surroundings(Protocol):
    """A world."""

    @property
    def time(self) -> Time:
        """Return the world's time."""
        ...

    @property
    def plan(self) -> Weather:
        """Return what is to happen."""
        ...

    @property
    def witness(self) -> RequestsWitness:
        """Return who judges requests."""
        ...

    @property
    def machine(self) -> Machine:
        """Return the host whose daemon is at work."""
        ...

    @property
    def boot(self) -> Callable[[], float]:
        """Return what reads CLOCK_BOOTTIME of that host."""
        ...

    @property
    def connect_tcp(self) -> Callable[..., Awaitable[ByteStream]]:
        """Return what connects from that host, in the place of `anyio.connect_tcp`."""
        ...

    def takes(self, kind: str) -> float:
        """Return how many seconds a blocking call of a kind takes."""
        ...

    def tell(self, who: str, what: str) -> None:
        """Take a line of the story down."""
        ...

    def logged(self, event: str, fields: str) -> None:
        """Take a line of the daemon's log."""
        ...
