"""For requests (extra `requests`): `OpenFitAuth` puts the current token into each request.

auth = OpenFitAuth()
with requests.Session() as session:
    session.auth = auth
    session.get(f"{auth.api_url()}/v1/...")
"""

from functools import partial
from http import HTTPStatus
from typing import Any

from requests import PreparedRequest, Response
from requests.auth import AuthBase
from requests.exceptions import UnrewindableBodyError
from requests.utils import rewind_body

from openfit_token.supply import Supply
from openfit_token.token import Token


class OpenFitAuth(Supply, AuthBase):
    """Send the current token; when the API answers 401 to it, have it replaced and repeat once.

    A request whose body can't be read a second time isn't repeated: the 401 is its answer, and the
    next request has a new token. So is a 401 to the second token. Threads may share it.

    A redirect to another host or port, or to http, goes without the token: requests sees to it.

    Requests raise a TokenError where the daemon gives no token.
    """

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Put the token into a request that is about to be sent (requests calls this)."""
        token = self._token()
        r.headers["Authorization"] = token.authorization
        r.register_hook("response", partial(self._repeat, token))
        return r

    def _repeat(self, token: Token, response: Response, **options: Any) -> Response:  # noqa: ANN401 -- requests' own, passed on
        """Give the answer to use: this one, or the one to the repeated request."""
        # Redirected to another host it had no token, and a repeated one has another: not ours.
        sent = response.request.headers.get("Authorization")
        if response.status_code != HTTPStatus.UNAUTHORIZED or sent != token.authorization:
            return response
        self._held.refuse(token)
        again = response.request.copy()
        if not isinstance(again.body, str | bytes | None):
            try:
                rewind_body(again)
            except UnrewindableBodyError:
                return response
        _ = response.content  # read to its end, so that its connection can be used again
        response.close()
        again.headers["Authorization"] = self._token(refused=token).authorization
        repeated: Response = response.connection.send(again, **options)
        repeated.history.append(response)
        repeated.request = again
        return repeated
