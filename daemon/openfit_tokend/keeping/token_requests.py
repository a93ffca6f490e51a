"""One profile's token requests: from the password to the outcome."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, final

from openfit_token._shared.frozen import frozen
from openfit_token._shared.secret import Secret
from openfit_token.errors import SecretUnavailable
from openfit_tokend.config.passwords import Passwords
from openfit_tokend.core import budget, problems
from openfit_tokend.core.events import Failed, Grant, Granted, Kind, OverBudget
from openfit_tokend.core.oauth import Failure
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import Login
from openfit_tokend.host import clock
from openfit_tokend.keeping.claims import Claims, NotClaimed, Occupied
from openfit_tokend.keeping.endpoint import Endpoint, Order, Reply
from openfit_tokend.keeping.record import Counters
from openfit_tokend.storage.accounts import Accounts

MOST_REMEMBERED: Final = 5
"""Requests of a profile that are remembered: some 2 KiB, if the server gives each all of its ids."""


@frozen
class Sent:
    """A request that was sent, as a support ticket needs it.

    `at` is CLOCK_BOOTTIME; `status` and `ids` are those of the response, if there was one; `message` is why
    there is no token from it.
    """

    at: float
    is_login: bool
    status: int | None
    message: str | None
    ids: Mapping[str, str]


@final
class TokenRequests:
    """Sends requests, and returns the event that each one results in.

    `last`: what was sent last, the latest at the end.
    """

    __slots__ = ("_accounts", "_counters", "_endpoint", "_passwords", "last")

    def __init__(
        self, endpoint: Endpoint, accounts: Accounts, passwords: Passwords, counters: Counters
    ) -> None:
        self._endpoint = endpoint
        self._accounts = accounts
        self._passwords = passwords
        self._counters = counters
        self.last: tuple[Sent, ...] = ()

    async def refresh(self, number: int, order: Order, claims: Claims | None) -> Granted | Failed:
        """Send a refresh, or a login with a refresh token; in a fleet, once it is claimed."""
        if claims is not None:
            event = await self._send_claimed(number, order, claims)
            assert event is not None  # noqa: S101 -- only a login with a password waits for another
            return event
        return self._event(number, order, await self._endpoint.request(order))

    async def log_in(
        self,
        number: int,
        order: Order,
        given: Secret | None,
        claims: Claims | None,
        *,
        insisted: bool,
    ) -> Granted | Failed:
        """Send a login with the password that was given, or else the stored one.

        `insisted`: an operator ordered it. The account's ledger says whether, and when, it is sent:
        this host's, or the fleet's.
        """
        try:
            while True:
                password = given or await self._passwords.read(order.profile.password)
                if order.is_void():  # else it would take a place in the account's ledger
                    return Failed(number, Kind.UNSENT, problems.not_needed(clock.boot()))
                ready = replace(order, password=password)
                if claims is not None:
                    event = await self._send_claimed(number, ready, claims)
                else:
                    event = await self._log_in_with(number, ready, password, insisted=insisted)
                if event is not None:
                    return event
        except SecretUnavailable as error:
            unread = problems.secret_unread(error.message, error.hint, clock.boot())
            return Failed(number, Kind.SECRET_UNAVAILABLE, unread)

    async def _send_claimed(
        self, number: int, order: Order, claims: Claims
    ) -> Granted | Failed | None:
        """Return the outcome of a request of a fleet; None: the secret must be read again."""

        async def claim() -> float:
            return await claims.claim(number, order.request, order.password)

        account = order.profile.account
        announced = self._accounts.ledger(account).announced
        while self._accounts.ledger(account).announced == announced:
            try:
                reply = await self._endpoint.request(replace(order, claim=claim))
                return self._event(number, order, reply)
            except NotClaimed as refused:
                return refused.event
            except Occupied as occupied:  # without a turn: others must reach the server meanwhile
                await occupied.may_be_over.wait()
        return None

    async def _log_in_with(
        self, number: int, order: Order, password: Secret, *, insisted: bool
    ) -> Granted | Failed | None:
        """Return the outcome of a login with this password; None: the secret must be read again."""
        account = order.profile.account
        admitted = await self._accounts.admit(account, password, insisted=insisted)
        if admitted is None:
            return None
        if isinstance(admitted, OverBudget):
            return Failed(number, admitted, problems.over_budget(admitted.until, clock.boot()))
        if isinstance(admitted, budget.Unwritten):
            return Failed(number, Kind.UNSENT, problems.ledger_not_written(clock.boot()))
        kind: Kind | None = Kind.UNSENT  # what it is if the daemon ends before it is sent
        try:
            reply = await self._endpoint.request(order)
            kind = reply.meaning.kind if isinstance(reply.meaning, Failure) else None
        except Exception:
            kind = Kind.UNCERTAIN  # an internal error: it may have been sent
            raise
        finally:
            self._accounts.settle(account, admitted, kind)
        return self._event(number, order, reply)

    def _event(self, number: int, order: Order, reply: Reply) -> Granted | Failed:
        match reply.meaning:
            case Grant():
                self._remember(order, reply, None)
                return Granted(number, reply.sent, reply.meaning)
            case Failure(kind, raises, message, hint):
                if kind is not Kind.UNSENT:
                    self._remember(order, reply, message)
                problem = Problem(raises, message, hint, clock.boot())
                return Failed(number, kind, problem, reply.retry_after)

    def _remember(self, order: Order, reply: Reply, message: str | None) -> None:
        if order.password is None:
            self._counters.refreshes += 1
        else:
            self._counters.logins += 1
        is_login = isinstance(order.request, Login)
        sent = Sent(reply.sent, is_login, reply.status, message, reply.ids)
        self.last = (*self.last, sent)[-MOST_REMEMBERED:]
