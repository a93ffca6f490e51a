"""How a keeper asks before it sends, alone or in a fleet: all that a keeper knows of fleets."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from anyio import Event

from openfit_token._shared.frozen import frozen
from openfit_tokend.core import budget, problems
from openfit_tokend.core.budget import Attempt, Unwritten
from openfit_tokend.core.events import (
    Failed,
    Granted,
    Kind,
    LoginOrdered,
    LogoutOrdered,
    OverBudget,
)
from openfit_tokend.core.oauth import Failure
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import Login
from openfit_tokend.host import clock
from openfit_tokend.keeping.endpoint import Order, Reply
from openfit_tokend.storage.accounts import Accounts

Send = Callable[[Order], Awaitable[Reply]]
"""Sends a request once its turn at the server is there, as `Endpoint.request` does."""


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


class Claims:
    """What one profile asks before a request is sent, and tells of it: those of a daemon alone.

    It asks its ledger, and has nobody to tell. A fleet's are `Participation`, which overrides all.
    """

    __slots__ = ("_accounts",)

    is_shared = False
    """The session is a fleet's, which remembers what was rejected."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    @property
    def problem(self) -> Problem | None:
        """Return why nothing can be claimed now, if so."""
        return None

    async def send(self, number: int, order: Order, send: Send) -> Reply:
        """Send a request once it is claimed, and return the outcome.

        Call `ended` when it has ended, also if this is cancelled. Alone, a login with a password is
        written down before it waits for its turn: a disk that hangs takes no turn from others.

        Raises:
            NotClaimed: it isn't, and won't be.
            Occupied: it can't be yet.
        """
        account, password, request = order.profile.account, order.password, order.request
        if password is None or not isinstance(request, Login):
            return await send(order)
        attempt = await self._accounts.admit(account, password, insisted=request.insisted)
        match attempt:
            case OverBudget(until):
                problem = problems.over_budget(until, clock.boot())
                raise NotClaimed(Failed(number, attempt, problem))
            case Unwritten():
                problem = problems.ledger_not_written(clock.boot())
                raise NotClaimed(Failed(number, Kind.UNSENT, problem))
            case None:
                over = Event()
                over.set()
                raise Occupied(over)
            case Attempt():
                pass

        def is_void() -> bool:
            ledger = self._accounts.ledger(account)
            return order.is_void() or budget.is_void(ledger, attempt, insisted=request.insisted)

        kind: Kind | None = Kind.UNSENT  # what it is if the daemon ends before it is sent
        try:
            reply = await send(replace(order, is_void=is_void))
            kind = reply.meaning.kind if isinstance(reply.meaning, Failure) else None
        except Exception:
            kind = Kind.UNCERTAIN  # an internal error: it may have been sent
            raise
        finally:
            self._accounts.settle(account, attempt, kind)
        return reply

    def ended(self, event: Granted | Failed) -> bool:  # noqa: ARG002 -- for a fleet
        """Tell others how a request ended; return whether the session is to know, too."""
        return True

    def ordered(self, order: LoginOrdered | LogoutOrdered) -> None:
        """Note what an operator orders, before the session is told."""

    async def logout_written(self) -> bool:
        """Wait until others know of the logout, for a limited time; return whether they do."""
        return True

    def revoke(self, revoke: Callable[[], None]) -> None:
        """Revoke a token, once others know if it is for a logout."""
        revoke()

    def last_writer(self) -> LastWriter | None:
        """Return who wrote last of this session; None: nobody has."""
        return None

    def leave(self) -> None:
        """End it: the profile is removed, or has another identity.

        What comes of a request under way is still the fleet's.
        """
