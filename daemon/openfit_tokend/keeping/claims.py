"""How a keeper of a fleet asks before it sends: all that a keeper knows of fleets."""

from collections.abc import Callable
from typing import Protocol

from anyio import Event

from openfit_token._shared.frozen import frozen
from openfit_token._shared.secret import Secret
from openfit_tokend.core import events
from openfit_tokend.core.events import Failed, Granted
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import Login, Refresh, Session
from openfit_tokend.core.settings.values import Profile


class NotClaimed(Exception):
    """A request has no claim, so it must not be sent. `event`: how it ended."""

    def __init__(self, event: Failed) -> None:
        super().__init__(event)
        self.event = event


class Occupied(Exception):
    """Another login of the account is under way: ask again when that `may_be_over`."""

    def __init__(self, may_be_over: Event) -> None:
        super().__init__()
        self.may_be_over = may_be_over


@frozen
class Claimed:
    """A request that is claimed, and until when that stands if no word of its answer comes."""

    by: str
    since: float
    ends_at: float


@frozen
class LastWriter:
    """Who wrote last of a session, for people. Times are CLOCK_BOOTTIME, as this host saw it."""

    by: str
    at: float
    claim: Claimed | None


class Claims(Protocol):
    """One profile's part in its fleet. Requests are named by their numbers."""

    @property
    def problem(self) -> Problem | None:
        """Return why nothing can be claimed now, if so."""
        ...

    async def claim(self, number: int, request: Login | Refresh, password: Secret | None) -> float:
        """Wait until a request is claimed; return until when (CLOCK_BOOTTIME) it may be sent.

        Call `ended` when it has ended, also if this is cancelled. `password` is a login's.

        Raises:
            NotClaimed: it isn't, and won't be.
            Occupied: it can't be yet.
        """
        ...

    def ended(self, number: int, event: Granted | Failed) -> bool:
        """Tell the fleet how a request ended; return whether the session is to know, too."""
        ...

    def order_login(self) -> None:
        """Note that an operator orders a login, before the session is told."""
        ...

    def order_logout(self) -> None:
        """Note that an operator orders a logout, before the session is told."""
        ...

    async def logout_written(self) -> bool:
        """Wait until the fleet knows of the logout, for a limited time; return whether it does."""
        ...

    def hold(self, revoke: Callable[[], None]) -> bool:
        """Revoke a token once the fleet knows of the logout that it is for; False: do it yourself."""
        ...

    def last_writer(self) -> LastWriter | None:
        """Return who wrote last of this session; None: nobody has."""
        ...

    def leave(self) -> None:
        """End it: the profile is removed, or has another identity.

        What comes of a request under way is still the fleet's.
        """
        ...


class FleetKeeper(Protocol):
    """What a fleet uses of one of its keepers."""

    @property
    def profile(self) -> Profile:
        """Return the profile."""
        ...

    @property
    def session(self) -> Session:
        """Return the session."""
        ...

    @property
    def stopping(self) -> bool:
        """Return whether nothing new is to be started."""
        ...

    def feed(self, event: events.Event) -> None:
        """Let the core decide what an event means. Never raises."""
        ...

    def tell(self) -> None:
        """Tell of a change in how the profile is: `Claims.problem` is another."""
        ...


class Fleet(Protocol):
    """Where keepers get their claims."""

    member: str
    """This daemon's name."""
    problem: Problem | None
    """Why the store can't be reached."""

    def join(self, keeper: FleetKeeper) -> Claims:
        """Return the claims of a keeper, with the identity that its profile has now."""
        ...
