"""HTTP with httpx: one request and one response, with nothing left over from either.

Each request has its own client, pool and connection. A pooled connection may be closed by the server
meanwhile: that would look like a lost response, and cost a refresh token.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from typing import Final, Self, final

import anyio
import httpcore
import httpx
from anyio import BrokenResourceError, CancelScope, ClosedResourceError

from openfit_token._shared.frozen import frozen
from openfit_tokend import __version__
from openfit_tokend.core.oauth import MAX_BODY
from openfit_tokend.core.problems import RETRIED
from openfit_tokend.keeping.connecting import Network, NotSent, Route, TooMuch, reason, unreachable

CONNECT_TIMEOUT: Final = 10.0
"""Seconds to look up the name, connect, get through a proxy and negotiate TLS."""


NO_HEADERS: Final[Mapping[str, str]] = {}


class NoResponse(Exception):
    """The request may have been sent, and its response is lost. The message is for people."""


@frozen
class Response:
    """A response. `body` None: too large for a token's."""

    status: int
    headers: httpx.Headers
    body: bytes | None


class _Forbidden(Exception):
    """The form mustn't be sent any more."""


def _always() -> bool:
    return True


async def ask(
    route: Route,
    method: str,
    content: bytes,
    may_go: Callable[[], bool] = _always,
    headers: Mapping[str, str] = NO_HEADERS,
) -> Response:
    """Send a form, or nothing if it is empty, and return the response.

    `headers`: further ones, which may be secret.

    `may_go` is asked before the headers go out and a last time before the form does: this process may
    have stood still meanwhile.

    Raises:
        NotSent: the form was certainly not sent.
        NoResponse: it may have been sent.
    """
    with anyio.move_on_after(CONNECT_TIMEOUT) as connecting:
        form = _Form(content, connecting, may_go)
        try:
            url = httpx.URL(route.url)
            request = httpx.Request(method, url, headers=_headers(url, content), stream=form)
            async with httpx.AsyncClient(
                transport=_Transport(route, form.may_go, headers),
                trust_env=False,
                follow_redirects=False,
                timeout=None,  # noqa: S113 -- the caller limits the time
            ) as client:
                response = await client.send(request, stream=True)
                return Response(
                    response.status_code, response.headers, await _body(client, response)
                )
        except Exception as error:  # noqa: BLE001 -- each is a reason why there is no response
            raise (_no_response(error) if form.asked else _not_sent(error, route)) from None
    raise unreachable(f"no connection within {CONNECT_TIMEOUT:.0f} s", route.hint)


def _headers(url: httpx.URL, content: bytes) -> dict[str, str]:
    headers = {
        "host": url.netloc.decode(),
        "accept": "application/json",
        "accept-encoding": "identity",  # so that a small body can't expand to a huge one
        "connection": "close",
        "user-agent": f"openfit-tokend/{__version__}",
    }
    if content:
        headers["content-type"] = "application/x-www-form-urlencoded"
        headers["content-length"] = str(len(content))
    return headers


async def _body(client: httpx.AsyncClient, response: httpx.Response) -> bytes | None:
    """Return a body as it came, or None if it is too large for a token's."""
    body = bytearray()
    with suppress(ClosedResourceError):
        async for part in response.aiter_raw():
            body += part
            if len(body) > MAX_BODY:
                await client.aclose()  # the next read fails; `break` would leave generators open
    return bytes(body) if len(body) <= MAX_BODY else None


def _not_sent(error: Exception, route: Route) -> NotSent:
    match error:
        case NotSent():
            return error
        case _Forbidden():
            what = "the request wasn't sent: when it could be, it was too late for it"
            return NotSent(what, RETRIED)
        case httpcore.ProxyError():
            what = f"the proxy refused: it answered {str(error)[:3]}"
        case httpcore.ProtocolError() | BrokenResourceError() | TooMuch() if route.proxy:
            what = "the proxy closed the connection, or isn't a proxy"
        case _:
            what = reason(error)
    return unreachable(what, route.hint)


def _no_response(error: Exception) -> NoResponse:
    match error:
        case TooMuch():
            return NoResponse("the token server's answer is too long, or in too many pieces")
        case httpcore.ProtocolError():
            return NoResponse("the token server's answer was cut off, or isn't HTTP")
        case BrokenResourceError() | OSError():
            return NoResponse("the connection broke before the answer came")
        case _:
            return NoResponse(f"the request failed ({type(error).__name__})")


@final
class _Form(httpx.AsyncByteStream):
    """A form that notes when it is asked for: until then it can't have been sent.

    The headers may have been, but they announce a form, so no server acts on them alone.
    """

    def __init__(self, content: bytes, connecting: CancelScope, may_go: Callable[[], bool]) -> None:
        self.asked = False
        self._may_go = may_go
        self._content = content
        self._connecting = connecting

    def may_go(self) -> bool:
        """Return whether it may still go out."""
        return self._may_go()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        may_go, self._may_go = self._may_go, _always  # it knows the secret
        if not may_go():
            raise _Forbidden  # from here on the form is on its way
        self.asked = True
        self._connecting.deadline = inf
        content, self._content = self._content, b""  # so that the secret isn't kept
        if not content:
            raise StopAsyncIteration
        return content


@final
class _Transport(httpx.AsyncBaseTransport):
    """A transport like httpx's own, with a pool for one connection over our network."""

    def __init__(
        self, route: Route, may_go: Callable[[], bool], headers: Mapping[str, str]
    ) -> None:
        self._may_go = may_go
        self._further = headers
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=route.trusted,
            proxy=route.proxy,
            max_connections=1,
            max_keepalive_connections=0,
            network_backend=Network(route),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(str(request.url))
        if b":" in url.host:
            url.host = b"[%b]" % url.host  # httpcore's CONNECT lacks the brackets
        further, self._further = self._further, NO_HEADERS  # so that a secret isn't kept
        asked = httpcore.Request(
            request.method,
            url,
            headers=[
                *request.headers.raw,
                *((name.encode(), value.encode()) for name, value in further.items()),
            ],
            content=request.stream,
            extensions={"trace": self._trace},
        )
        try:
            response = await self._pool.handle_async_request(asked)
        finally:
            asked.headers.clear()  # the same
        return httpx.Response(
            response.status, headers=response.headers, content=response.aiter_stream()
        )

    async def _trace(self, event: str, _: object) -> None:
        """Look whether the headers may go out: a server would wait for their form."""
        if event == "http11.send_request_headers.started" and not self._may_go():
            raise _Forbidden

    async def aclose(self) -> None:
        await self._pool.aclose()
