"""For httpx: `OpenFitAuth` puts the current token into each request.

    auth = OpenFitAuth()
    with httpx.Client(auth=auth, base_url=auth.api_url()) as api:
        api.get("/v1/...")

It works with AsyncClient too, on asyncio and on trio; and with the clients of httpx2, httpx's successor,
where that is installed.
"""

from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from http import HTTPStatus
from time import sleep
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, final

import httpcore
import httpx

from openfit_token._client.aio import AsyncTokenClient
from openfit_token._client.held import Get, Question
from openfit_token._client.supply import Supply, caller, is_clear, not_direct, now
from openfit_token._client.token import Token
from openfit_token._shared.local_peer import Connected, in_threads
from openfit_token._shared.origin import Origin, origin
from openfit_token._shared.protocol import DEFAULT_WAIT
from openfit_token.errors import TokenError

_HTTPX: list[ModuleType] = [httpx]
_HTTPCORE: list[ModuleType] = [httpcore]
try:
    import httpcore2
    import httpx2
except ImportError:
    pass  # few programs have it
else:
    _HTTPX.append(httpx2)
    _HTTPCORE.append(httpcore2)

_CONNECTIONS: Final[tuple[type[object], ...]] = tuple(
    getattr(module, f"{kind}Connection")
    for module in _HTTPCORE
    for kind in ("HTTP11", "HTTP2", "AsyncHTTP11", "AsyncHTTP2")
)
_STREAMS: Final[tuple[type[httpcore.NetworkStream | httpcore.AsyncNetworkStream], ...]] = tuple(
    stream for module in _HTTPCORE for stream in (module.NetworkStream, module.AsyncNetworkStream)
)
_BODIES: Final[tuple[type[object], ...]] = tuple(module.ByteStream for module in _HTTPX)
if TYPE_CHECKING:
    _Auth = httpx.Auth
else:  # each library's clients take an auth of their own class alone

    class _Auth(*dict.fromkeys(module.Auth for module in _HTTPX)):  # one may go by both names
        """What the clients of both take."""


class OpenFitAuth(Supply, _Auth):
    """Send the current token; if the API answers 401 to it, have it replaced and repeat once.

    A request whose body can't be read a second time isn't repeated: the 401 is returned, and the
    next request has a new token. The 401 is returned, too, if there is no other token now, or if the API
    answers it to the second token as well. Threads and tasks may share it.

    A token goes to the origin of its `api_url`, and to those in `origins`. A request to another one
    raises ForeignOrigin before anything is sent; one that is redirected to another one goes there
    without the token, as always in httpx. Over http it goes to no proxy, and only to a listener of root,
    of the program's own user, or of `loopback_user`. That is judged where httpx itself connects: another
    transport than its own can't be stopped.

    Requests raise a TokenError if there is no token.
    """

    def __init__(
        self,
        profile: str | None = None,
        *,
        socket: str | None = None,
        wait: float = DEFAULT_WAIT,
        origins: Iterable[str] = (),
        loopback_user: str | int | None = None,
    ) -> None:
        super().__init__(
            profile, socket=socket, wait=wait, origins=origins, loopback_user=loopback_user
        )
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
        response = yield self._signed(request, token, _Blocking)
        if _was_refused(response, token):
            if not _can_be_repeated(response.request):
                self._held.refuse(token)
            elif (another := self._token(refused=token)).id != token.id:
                yield self._signed(response.request, another, _Blocking)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send a request with the token (httpx calls this)."""
        token = await self._async_token()
        response = yield self._signed(request, token, _Waiting)
        if _was_refused(response, token):
            if not _can_be_repeated(response.request):
                self._held.refuse(token)
            elif (another := await self._async_token(refused=token)).id != token.id:
                yield self._signed(response.request, another, _Waiting)

    def _signed(self, request: httpx.Request, token: Token, guard: type["_Guard"]) -> httpx.Request:
        url = request.url
        asked = origin(url.scheme, url.raw_host.decode("ascii"), url.port)
        self._origins.judge(asked, token.api_url)
        request.headers["Authorization"] = token.authorization
        if asked.scheme == "http":
            extensions: MutableMapping[str, Any] = request.extensions
            theirs = extensions.get("trace")
            if isinstance(theirs, _Guard):  # of the request that this one repeats
                theirs = theirs.theirs
            limit: float | None = extensions.get("timeout", {}).get("connect")
            extensions["trace"] = guard(token, asked, self._judging, limit, theirs)
        return request

    async def _async_token(self, refused: Token | None = None) -> Token:
        found = self._held.look(now(), refused)
        if isinstance(found, Token):
            return found
        asked = now()
        try:
            token = await self._async_ask(found)
        except TokenError as error:
            return self._held.instead_of(error, now())
        self._held.keep(token, asked)
        return token

    async def _async_ask(self, question: Question) -> Token:
        if isinstance(question, Get):
            return await self._async_client.get_token(wait=question.wait)
        return await self._async_client.refuse(question.id, wait=question.wait)


class _Guard:
    """Judges where a request with a token goes over http: httpcore calls it right before it writes.

    `theirs`: the program's own `trace`, which is called too.
    """

    def __init__(
        self,
        token: Token,
        asked: Origin,
        judging: Callable[[object, Connected, Origin, float | None], Iterator[float]],
        limit: float | None,
        theirs: Callable[[str, object], Any] | None,
    ) -> None:
        self.theirs = theirs
        self._token = token
        self._asked = asked
        self._judging = judging
        self._limit = limit

    def judging(self, event: str, info: Mapping[str, Any]) -> Iterator[float]:
        """Judge the connection if the token is about to be sent; wait for the seconds that it yields.

        Raises:
            ForeignOrigin: it leads to somebody whom the token isn't for.
        """
        if not event.endswith(".send_request_headers.started"):
            return
        request: httpcore.Request = info["request"]
        sent = (value for name, value in request.headers if name.lower() == b"authorization")
        if self._token.authorization.encode() not in sent:  # it was redirected elsewhere
            return
        url = request.url  # a proxy's, where a proxy is asked
        goes_to = origin(url.scheme.decode(), url.host.decode(), url.port)
        if is_clear(self._asked, goes_to):
            stream = _stream_in_use()
            own: Connected | None = None if stream is None else stream.get_extra_info("socket")
            if own is None:
                raise not_direct(self._asked)
            yield from self._judging(stream, own, self._asked, self._limit)


@final
class _Blocking(_Guard):
    def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        for pause in self.judging(event, info):
            sleep(pause)
        if self.theirs is not None:
            self.theirs(event, info)


@final
class _Waiting(_Guard):
    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        await in_threads(self.judging(event, info))
        if self.theirs is not None:
            await self.theirs(event, info)


def _stream_in_use() -> httpcore.NetworkStream | httpcore.AsyncNetworkStream | None:
    """Return what httpcore is about to write to; None if it can't be found."""
    connection = caller(*_CONNECTIONS)
    stream: object = None if connection is None else vars(connection).get("_network_stream")
    return stream if isinstance(stream, _STREAMS) else None


def _was_refused(response: httpx.Response, token: Token) -> bool:
    """Return whether this is a 401 to this token, which isn't sent after a redirect to another host."""
    sent = response.request.headers.get("Authorization")
    return response.status_code == HTTPStatus.UNAUTHORIZED and sent == token.authorization


def _can_be_repeated(request: httpx.Request) -> bool:
    """Return whether the body is bytes, or a form whose files can be read from their start again."""
    if isinstance(request.stream, _BODIES):
        return True
    fields: list[object] | None = getattr(request.stream, "fields", None)
    return fields is not None and all(map(_starts_again, fields))


def _starts_again(field: object) -> bool:
    file = getattr(field, "file", b"")
    return isinstance(file, str | bytes) or bool(getattr(file, "seekable", bool)())
