"""For httpx: `OpenFitAuth` puts the current token into each request.

    auth = OpenFitAuth()
    with httpx.Client(auth=auth, base_url=auth.api_url()) as api:
        api.get("/v1/...")

It works with AsyncClient too, on asyncio and on trio.
"""

from collections.abc import AsyncGenerator, Generator, Iterable
from http import HTTPStatus

import httpx

from openfit_token._client.aio import AsyncTokenClient
from openfit_token._client.held import Get, Question
from openfit_token._client.supply import Supply, now
from openfit_token._client.token import Token
from openfit_token._shared.origin import origin
from openfit_token._shared.protocol import DEFAULT_WAIT
from openfit_token.errors import TokenError


class OpenFitAuth(Supply, httpx.Auth):
    """Send the current token; if the API answers 401 to it, have it replaced and repeat once.

    A request whose body can't be read a second time isn't repeated: the 401 is returned, and the
    next request has a new token. A 401 to the second token is returned too. Threads and tasks may share it.

    A token goes to the origin of its `api_url`, and to those in `origins`. A request to another one
    raises ForeignOrigin before anything is sent; one that is redirected to another one goes there
    without the token, as always in httpx.

    Requests raise a TokenError if there is no token.
    """

    def __init__(
        self,
        profile: str | None = None,
        *,
        socket: str | None = None,
        wait: float = DEFAULT_WAIT,
        origins: Iterable[str] = (),
    ) -> None:
        super().__init__(profile, socket=socket, wait=wait, origins=origins)
        self._async_client = AsyncTokenClient(profile, socket)
        self._async_client.close()  # keeps no connection, like the blocking one

    async def async_api_url(self) -> str:
        """Return the URL of the API, as `api_url` does, for async programs."""
        return (await self._async_token()).api_url

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Send a request with the token (httpx calls this)."""
        token = self._token()
        response = yield self._signed(request, token)
        if _was_refused(response, token):
            self._held.refuse(token)
            if _can_be_repeated(response.request):
                yield self._signed(response.request, self._token(refused=token))

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send a request with the token (httpx calls this)."""
        token = await self._async_token()
        response = yield self._signed(request, token)
        if _was_refused(response, token):
            self._held.refuse(token)
            if _can_be_repeated(response.request):
                yield self._signed(response.request, await self._async_token(refused=token))

    def _signed(self, request: httpx.Request, token: Token) -> httpx.Request:
        url = request.url
        asked = origin(url.scheme, url.raw_host.decode("ascii"), url.port)
        self._origins.judge(asked, token.api_url)
        request.headers["Authorization"] = token.authorization
        return request

    async def _async_token(self, refused: Token | None = None) -> Token:
        found = self._held.look(now(), refused)
        if isinstance(found, Token):
            return found
        asked = now()
        try:
            token = await self._async_ask(found)
        except TokenError as error:
            return self._held.instead_of(found, error, now())
        self._held.keep(token, asked)
        return token

    async def _async_ask(self, question: Question) -> Token:
        if isinstance(question, Get):
            return await self._async_client.get_token(wait=question.wait)
        return await self._async_client.refuse(question.id, wait=question.wait)


def _was_refused(response: httpx.Response, token: Token) -> bool:
    """Return whether this is a 401 to this token, which isn't sent after a redirect to another host."""
    sent = response.request.headers.get("Authorization")
    return response.status_code == HTTPStatus.UNAUTHORIZED and sent == token.authorization


def _can_be_repeated(request: httpx.Request) -> bool:
    """Return whether the body is bytes, or a form whose files can be read from their start again."""
    if isinstance(request.stream, httpx.ByteStream):
        return True
    fields: list[object] | None = getattr(request.stream, "fields", None)
    return fields is not None and all(map(_starts_again, fields))


def _starts_again(field: object) -> bool:
    file = getattr(field, "file", b"")
    return isinstance(file, str | bytes) or bool(getattr(file, "seekable", bool)())
