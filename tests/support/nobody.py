"""A keeper and a copy that do nothing."""

from dataclasses import dataclass, field

from made import PROFILE
from openfit_tokend.core.events import Event, Kind
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import Session
from openfit_tokend.core.settings import Profile
from openfit_tokend.fleet.part import Flight


@dataclass
class Nobody:
    """Takes what it is told."""

    session: Session
    profile: Profile = PROFILE
    stopping: bool = False
    fed: list[Event] = field(default_factory=list[Event])

    def feed(self, event: Event) -> None:
        self.fed.append(event)

    problem: Problem | None = None

    def tell(self) -> None:
        pass

    def stir(self) -> None:
        pass

    def settle(self, flight: Flight, kind: Kind | None) -> None:
        pass
