"""One profile's token requests: from the password to the outcome."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, final

from openfit_token._shared.frozen import frozen
from openfit_token._shared.secret import Secret
from openfit_token.errors import SecretUnavailable
from openfit_tokend.config.passwords import Passwords
from openfit_tokend.core import problems
from openfit_tokend.core.events import Failed, Grant, Granted, Kind
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

    async def refresh(self, number: int, order: Order, claims: Claims) -> Granted | Failed:
        """Send a refresh, or a login with a refresh token, once it is claimed."""
        event = await self._send(number, order, claims)
        assert event is not None  # noqa: S101 -- only a login with a password waits for another
        return event

    async def log_in(
        self, number: int, order: Order, given: Secret | None, claims: Claims
    ) -> Granted | Failed:
        """Send a login with the password that was given, or else the stored one, once it is claimed."""
        try:
            while True:
                password = given or await self._passwords.read(order.profile.password)
                if order.is_void():  # else it would take a place in the account's ledger
                    return Failed(number, Kind.UNSENT, problems.not_needed(clock.boot()))
                event = await self._send(number, replace(order, password=password), claims)
                if event is not None:
                    return event
        except SecretUnavailable as error:
            unread = problems.secret_unread(error.message, error.hint, clock.boot())
            return Failed(number, Kind.SECRET_UNAVAILABLE, unread)

    async def _send(self, number: int, order: Order, claims: Claims) -> Granted | Failed | None:
        """Return the outcome of a request; None: the secret must be read again."""
        account = order.profile.account
        announced = self._accounts.ledger(account).announced
        while self._accounts.ledger(account).announced == announced:
            try:
                reply = await claims.send(number, order, self._endpoint.request)
                return self._event(number, order, reply)
            except NotClaimed as refused:
                return refused.event
            except Occupied as occupied:  # without a turn: others must reach the server meanwhile
                await occupied.may_be_over.wait()
        return None

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
