"""How a keeper of a fleet asks before it sends: all that a keeper knows of fleets."""

from collections.abc import Callable
from typing import Protocol

from openfit_tokend.core.events import Event, Failed, Granted
from openfit_tokend.core.secret import Secret
from openfit_tokend.core.session import Login, Refresh, Session
from openfit_tokend.core.settings import Profile


class NotClaimed(Exception):
    """A request has no claim, so it must not be sent.

    `event`: how it ended; None: the secret may be another one by now, so read it and ask again.
    """

    def __init__(self, event: Failed | None) -> None:
        super().__init__(event)
        self.event = event


class Claims(Protocol):
    """One keeper's part in its fleet. Requests are named by their numbers."""

    async def claim(self, number: int, request: Login | Refresh, password: Secret | None) -> float:
        """Wait until a request is claimed; return until when (CLOCK_BOOTTIME) it may be sent.

        Call `ended` when it has ended, also if this is cancelled. `password` is a login's.

        Raises:
            NotClaimed: it isn't, and won't be.
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

    def leave(self) -> None:
        """End this part: the profile is removed, or has another identity."""
        ...


class Member(Protocol):
    """What a fleet uses of a keeper."""

    @property
    def profile(self) -> Profile:
        """Return the profile."""
        ...

    @property
    def session(self) -> Session:
        """Return the session."""
        ...

    def feed(self, event: Event) -> None:
        """Let the core decide what an event means. Never raises."""
        ...


class Fleet(Protocol):
    """Where keepers get their parts."""

    def join(self, keeper: Member) -> Claims:
        """Return a new part for a keeper with the identity that its profile has now."""
        ...
