"""The token endpoint over HTTP: one request, one meaning. Network trouble never raises.

Nothing is retried here: the core owns retries. Nothing is carried over from one request to the
next: no connection, no cookie.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, field
from math import inf
from typing import Final, final
from urllib.parse import urlencode

import anyio

from openfit_token._shared.frozen import frozen
from openfit_token._shared.request_ids import request_ids
from openfit_token._shared.secret import Secret
from openfit_token.errors import SecretUnavailable, Unavailable
from openfit_tokend.config.passwords import Passwords
from openfit_tokend.core import oauth
from openfit_tokend.core.events import Grant, Kind
from openfit_tokend.core.problems import RETRIED, not_needed
from openfit_tokend.core.schedule import REQUEST_TIMEOUT
from openfit_tokend.core.session import Login, Refresh
from openfit_tokend.core.settings.values import Profile
from openfit_tokend.host import clock, log
from openfit_tokend.keeping.connecting import NotSent, Route
from openfit_tokend.keeping.http_exchange import NO_HEADERS, NoResponse, Response, ask
from openfit_tokend.keeping.outages import Reach
from openfit_tokend.keeping.trust import NoAuthorities, Trust
from openfit_tokend.keeping.turns import Turns

REVOKE_TIMEOUT: Final = 10.0
"""Seconds for a revocation, which is best-effort."""
LATE: Final = 1.0
"""Seconds by which a timer is late only if this process stood still; and for what came meanwhile."""


@frozen
class Order:
    """A token request to be sent.

    `password` is a login's by password; `deadline` (CLOCK_BOOTTIME) is when its answer is needed. When its turn
    comes, it isn't sent if `is_void`. `worked`: the server gave tokens to this client before.

    `claim`: of a fleet. It is awaited when the turn comes, so that no queue ages the claim, and
    returns until when (CLOCK_BOOTTIME) the form may go out; what it raises, `request` does.
    """

    _: KW_ONLY
    profile: Profile
    request: Login | Refresh
    password: Secret | None
    deadline: float
    is_void: Callable[[], bool]
    claim: Callable[[], Awaitable[float]] | None = None
    worked: bool = False


@frozen
class Reply:
    """The outcome of a request. `sent`: when it really went out.

    `status` is that of the response, None without one; `ids` is what its server knows it by.
    """

    sent: float
    meaning: Grant | oauth.Failure
    retry_after: float | None = None
    status: int | None = None
    ids: Mapping[str, str] = field(default_factory=dict[str, str])


@frozen
class Probe:
    """A token server's answer to a GET. `date`: its Date header."""

    status: int
    date: str | None


@final
class Endpoint:
    """Sends forms to token servers."""

    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords
        self._trust = Trust()
        self._turns: dict[str, Turns] = {}
        self._reach: dict[tuple[str, str | None], Reach] = {}
        self._under_way: dict[anyio.CancelScope, float] = {}  # until when, on the loop's clock

    async def request(self, order: Order) -> Reply:
        """Send a login or a refresh, and return the outcome.

        It queues with others for the same server, the earliest deadline first. The timeout counts
        from its turn. Until then it can be cancelled; once it is sent, only `abandon` ends it, since
        the token server gives up the old refresh token before it stores the new one.
        """
        profile = order.profile
        try:
            # Before its turn: a request that waits for a file must not keep others from the server.
            route = await self._route(profile, profile.identity.token_url)
            secret = await self._client_secret(profile)
        except NotSent as error:
            return Reply(clock.boot(), _not_sent(error.message, error.hint))
        except SecretUnavailable as error:
            unread = oauth.Failure(Kind.UNSENT, SecretUnavailable, error.message, error.hint)
            return Reply(clock.boot(), unread)
        turns = self._turns.setdefault(profile.identity.id_server, Turns())
        reach = self.reach(profile)
        async with turns.turn(order.deadline), reach.trial() as failure:
            if failure is not None:
                return Reply(clock.boot(), _not_sent(failure.message, failure.hint))
            not_after = inf if order.claim is None else await order.claim()
            sent = clock.boot()
            if order.is_void():
                return Reply(sent, _not_sent(not_needed(sent).message, None))
            reply = Reply(sent, _no_answer("the daemon ended before the answer came"))
            with self._shielded(REQUEST_TIMEOUT):
                reply = await _exchange(route, order, secret, not_after, reach)
            return reply  # noqa: RET504 -- `abandon` ends the block without it

    async def revoke(self, profile: Profile, token: Secret) -> None:
        """Ask for a refresh token to be revoked. Whether it was isn't known."""
        url = profile.revokes_at
        if url is None:
            return
        form = oauth.revocation_form(profile.identity, token)
        with self._shielded(REVOKE_TIMEOUT), anyio.move_on_after(REVOKE_TIMEOUT):
            try:
                route = await self._route(profile, url)
                form, headers = _proved(profile, form, await self._client_secret(profile))
                await ask(route, "POST", urlencode(form).encode(), headers=headers)
            except (
                NotSent,
                NoResponse,
                SecretUnavailable,
            ):  # best-effort: the token expires anyway
                log.debug("revocation_failed", profile=profile.name)

    async def probe(self, profile: Profile) -> Probe | oauth.Failure:
        """Check for a token endpoint without a login, by a GET, which it refuses."""
        try:
            with anyio.fail_after(REQUEST_TIMEOUT):
                route = await self._route(profile, profile.identity.token_url)
                answer = await ask(route, "GET", b"")
        except (NotSent, NoResponse, TimeoutError) as error:
            return _lost(error)
        return Probe(answer.status, answer.headers.get("date"))

    def reach(self, profile: Profile) -> Reach:
        """Return what is known of whether a profile's server can be reached."""
        key = profile.identity.id_server, profile.ca_file
        return self._reach.setdefault(key, Reach())

    async def knock(self, profile: Profile) -> None:
        """Find out whether a server can be reached again, by a GET that it refuses."""
        reach = self.reach(profile)

        def connected() -> bool:
            reach.connected()
            return True

        async with reach.trial() as failure:
            if failure is not None or reach.is_known:
                return
            try:
                with anyio.move_on_after(REQUEST_TIMEOUT):
                    route = await self._route(profile, profile.identity.token_url)
                    await ask(route, "GET", b"", connected)
            except NotSent as error:
                reach.failed(error)
            except NoResponse:
                pass  # it was connected

    @property
    def under_way(self) -> int:
        """Return the number of requests that were sent and have no answer yet."""
        return len(self._under_way)

    def overruns(self) -> list[float]:
        """Return for each request under way the seconds past its limit; negative: it has time left.

        A host that was suspended meanwhile doesn't count: the loop's clock stood still then.
        """
        now = anyio.current_time()
        return [now - until for until in self._under_way.values()]

    def abandon(self) -> None:
        """Cancel what is under way: only when the daemon ends and its time is up."""
        for scope in self._under_way:
            scope.cancel()

    @contextmanager
    def _shielded(self, limit: float) -> Generator[None]:
        """Let only `abandon` cancel this block, which takes `limit` seconds at most."""
        with anyio.CancelScope(shield=True) as scope:
            self._under_way[scope] = anyio.current_time() + limit
            try:
                yield
            finally:
                del self._under_way[scope]

    async def _client_secret(self, profile: Profile) -> Secret | None:
        """Return the secret of a profile's client; None: it has none.

        Raises:
            SecretUnavailable: it can't be read.
        """
        client = profile.client_secret
        return (
            None if client is None else await self._passwords.read(client.source, "client_secret")
        )

    async def _route(self, profile: Profile, url: str) -> Route:
        """Return the route to an endpoint of a profile's server.

        Raises:
            NotSent: there is none.
        """
        try:
            return await Route.find(url, profile.ca_file, self._trust, profile.loopback_user)
        except NoAuthorities as error:
            raise NotSent(error.message, error.hint) from None


def _proved(
    profile: Profile, form: oauth.Form, secret: Secret | None
) -> tuple[oauth.Form, Mapping[str, str]]:
    """Return a form, and the headers that it takes, if the client proves itself by a `secret`."""
    if profile.client_secret is None or secret is None:
        return form, NO_HEADERS
    return oauth.authenticated(form, secret, profile.client_secret.auth)


async def _exchange(
    route: Route, order: Order, secret: Secret | None, not_after: float, reach: Reach
) -> Reply:
    connected = False

    def may_go() -> bool:
        nonlocal connected
        connected = True
        reach.connected()
        return not (clock.boot() > not_after or order.is_void())

    profile, request = order.profile, order.request
    token = request.given if isinstance(request, Login) else request.token
    if token is not None:
        form = oauth.refresh_form(profile.identity, token)
    else:
        assert order.password is not None  # noqa: S101 -- a login with a password has one
        form = oauth.login_form(profile.identity, order.password)
    form, headers = _proved(profile, form, secret)
    content = urlencode(form).encode()
    sent = clock.boot()
    answer: Response | NotSent | NoResponse | TimeoutError = TimeoutError()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_end_in_time, tasks.cancel_scope)
        try:
            answer = await ask(route, "POST", content, may_go, headers)
        except (NotSent, NoResponse) as error:
            answer = error.with_traceback(None)  # else it and the form would keep each other
        tasks.cancel_scope.cancel()
    if not isinstance(answer, Response):
        if isinstance(answer, NotSent) and not connected:
            reach.failed(answer)
        return Reply(sent, _lost(answer))
    said = oauth.meaning(
        request, profile.identity.scope, answer.status, answer.body, worked=order.worked
    )
    return Reply(
        sent,
        said,
        oauth.retry_after(answer.headers.get("retry-after"), clock.wall()),
        answer.status,
        request_ids(answer.headers, oauth.secrets(form, headers, secret, said)),
    )


async def _end_in_time(asking: anyio.CancelScope) -> None:
    """End a request after REQUEST_TIMEOUT.

    Where this process stood still, and so is late, the answer may have come meanwhile: it is read first.
    """
    until = anyio.current_time() + REQUEST_TIMEOUT
    await anyio.sleep_until(until)
    if anyio.current_time() > until + LATE:
        await anyio.sleep(LATE)
    asking.cancel()


def _lost(error: NotSent | NoResponse | TimeoutError) -> oauth.Failure:
    """Return what it means that a request ended with this error."""
    match error:
        case NotSent(message=message, hint=hint):
            return _not_sent(message, hint)
        case TimeoutError():
            return _no_answer(f"no answer within {REQUEST_TIMEOUT:.0f} s")
        case NoResponse():
            return _no_answer(str(error))


def _not_sent(message: str, hint: str | None) -> oauth.Failure:
    return oauth.Failure(Kind.UNSENT, Unavailable, message, hint)


def _no_answer(what: str) -> oauth.Failure:
    return oauth.Failure(Kind.UNCERTAIN, Unavailable, what, RETRIED)
