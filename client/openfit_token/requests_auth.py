"""For requests (extra `requests`): `OpenFitAuth` puts the current token into each request.

    auth = OpenFitAuth()
    with requests.Session() as session:
        session.auth = auth
        session.get(f"{auth.api_url()}/v1/...")

Threads may share it.
"""

import socket
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPSConnection
from time import sleep
from typing import Any, Self, final

from requests import PreparedRequest, Response
from requests.auth import AuthBase
from requests.exceptions import UnrewindableBodyError
from requests.utils import rewind_body
from urllib3.util import parse_url

from openfit_token._client.supply import Supply, caller, is_clear, not_direct
from openfit_token._client.token import Token
from openfit_token._shared.origin import Origin, origin
from openfit_token.errors import ForeignOrigin


@final
class _Guarded(str):
    """The value of a header. It is judged where it goes when http.client encodes it to be sent."""

    __slots__ = ("_asked", "_judge")
    _asked: Origin
    _judge: Callable[[Origin], None]

    def __new__(cls, value: str, asked: Origin, judge: Callable[[Origin], None]) -> Self:
        made = super().__new__(cls, value)
        made._asked = asked
        made._judge = judge
        return made

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        self._judge(self._asked)
        return super().encode(encoding, errors)

    def __repr__(self) -> str:
        return "'Bearer ***'"  # a traceback that shows local variables shows this one

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # pickled, with a response, it is a text that isn't sent any more


@final
class _Sent:
    """The token that a request was last sent with; the requests it is redirected to share it."""

    __slots__ = ("token",)

    def __init__(self, token: Token) -> None:
        self.token = token


class OpenFitAuth(Supply, AuthBase):
    """Send the current token; if the API answers 401 to it, have it replaced and repeat once.

    A request whose body can't be read a second time isn't repeated: the 401 is returned, and the
    next request has a new token. The 401 is returned, too, if there is no other token now, or if the API
    answers it to the second token as well. Threads may share it.

    A token goes to the origin of its `api_url`, and to those in `origins`. A request to another one
    raises ForeignOrigin before anything is sent; one that is redirected to another one goes there
    without the token, as always in requests. Over http it goes to no proxy, and only to a listener of
    root, of the program's own user, or of `loopback_user`.

    Requests raise a TokenError if there is no token.
    """

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Put the token into a request that is about to be sent (requests calls this)."""
        token = self._token()
        self._sign(r, token)
        r.register_hook("response", partial(self._repeat, _Sent(token)))
        return r

    def _sign(self, request: PreparedRequest, token: Token) -> None:
        url = parse_url(request.url or "")  # with what requests itself finds the host
        asked = origin(url.scheme or "", url.host or "", url.port)
        self._origins.judge(asked, token.api_url)
        value = token.authorization
        if asked.scheme == "http":
            value = _Guarded(value, asked, self._judge)
        request.headers["Authorization"] = value

    def _judge(self, asked: Origin) -> None:
        """Judge where the caller is about to send a token over http.

        Raises:
            ForeignOrigin: it leads to somebody whom the token isn't for.
        """
        connection = caller(HTTPConnection)
        if connection is None:
            raise ForeignOrigin(
                f"a token for {asked} was about to be written by something else than an HTTP connection",
                "copy the header as a text: str(request.headers['Authorization'])",
            )
        scheme = "https" if isinstance(connection, HTTPSConnection) else "http"
        if not is_clear(asked, origin(scheme, connection.host, connection.port)):
            return
        if connection.sock is None:
            connection.connect()
        own: socket.socket | None = connection.sock
        if own is None:
            raise not_direct(asked)
        for pause in self._judging(own, own, asked, own.gettimeout()):
            sleep(pause)

    def _repeat(self, sent: _Sent, response: Response, **options: Any) -> Response:  # noqa: ANN401 -- requests' own, passed on
        """Return the answer to use: this one, or the one to the repeated request."""
        request, refused = response.request, sent.token
        if not _was_refused(response, refused):
            return response
        if not _can_be_repeated(request):
            self._held.refuse(refused)
            return response
        token = self._token(refused)
        if token.id == refused.id:
            return response
        _ = response.content  # read to its end, so that its connection can be used again
        response.close()
        response.request = request.copy()
        # The new token goes into this one, since requests copies it for a redirect.
        self._sign(request, token)
        sent.token = token
        repeated: Response = response.connection.send(request, **options)
        repeated.history.append(response)
        return repeated


def _was_refused(response: Response, token: Token) -> bool:
    """Return whether this is a 401 to this token, which isn't sent after a redirect to another host."""
    had = response.request.headers.get("Authorization")
    return response.status_code == HTTPStatus.UNAUTHORIZED and had == token.authorization


def _can_be_repeated(request: PreparedRequest) -> bool:
    """Return whether the body is bytes, or a file that was rewound."""
    if isinstance(request.body, str | bytes | None):
        return True
    try:
        rewind_body(request)
    except UnrewindableBodyError:
        return False
    return True
