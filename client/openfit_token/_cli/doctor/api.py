"""Whether the API takes the token: one GET, if it was asked for.

The token goes where `OpenFitAuth` would send it, and nowhere else. A 401 stays one: having the token replaced
is for the program that got it.
"""

from collections.abc import Iterator, Mapping
from threading import Thread
from typing import Final

from openfit_token._cli.report import Verdict, fail, ok, warn
from openfit_token._client.health import Answer, number
from openfit_token._shared.frozen import frozen
from openfit_token._shared.request_ids import request_ids
from openfit_token.errors import NotAllowed, TokenError, Unavailable

_PATIENCE: Final = 10.0
"""Seconds for all of it. The thread is left alone then, whatever holds it up."""
_LATER: Final = "look whether the API is up and can be reached from here; it may need a proxy"


@frozen
class _Response:
    status: int
    ids: Mapping[str, str]


def asked_api(name: str, profile: Answer, socket: str, path: str) -> Iterator[Verdict]:
    """Report whether the API of a profile takes its token.

    Args:
        name: the profile's.
        profile: its part of a status.
        socket: the daemon's.
        path: what to get from the API; it begins with a slash.
    """
    left = number(profile.get("expires_in"))
    if left is None or left <= 0:  # to ask for one could cost a login
        yield warn("api", f"{name} has no token: its API wasn't asked", None)
        return
    url = f"{profile.get('api_url')}{path}"
    found = _in_time(name, socket, url)
    match found:
        case _Response():
            yield _judged(url, found)
        case TokenError():
            yield fail("api", f"GET {url}: {found.message}", found.hint, found.exit_status)
        case None:
            text = f"GET {url}: no answer within {_PATIENCE:.0f} s"
            yield fail("api", text, _LATER, Unavailable.exit_status)
        case ImportError():
            yield warn("api", "not asked: this Python has no httpx", "pip install httpx")
        case _:
            text = f"GET {url}: {str(found) or type(found).__name__}"
            yield fail("api", text, _LATER, Unavailable.exit_status)


def _in_time(name: str, socket: str, url: str) -> _Response | Exception | None:
    """Return what came of a request; None: nothing in time."""
    found: list[_Response | Exception] = []

    def ask() -> None:
        try:
            found.append(_response(name, socket, url))
        except Exception as error:  # noqa: BLE001 -- each is a reason why there is no response
            found.append(error)

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE)
    return found[0] if found else None


def _response(name: str, socket: str, url: str) -> _Response:
    """Return a response, of which only the head is read."""
    import httpx  # noqa: PLC0415 -- the client in one file has none

    from openfit_token.httpx_auth import OpenFitAuth  # noqa: PLC0415 -- it loads httpx

    with httpx.Client(timeout=_PATIENCE) as api:
        flow = OpenFitAuth(name, socket=socket, wait=0.0).sync_auth_flow(
            api.build_request("GET", url)
        )
        # Only the flow's first request is sent: the second would be that with another token.
        request = next(flow)
        response = api.send(request, auth=None, stream=True, follow_redirects=False)
        flow.close()
        response.close()
        sent = request.headers["authorization"].rpartition(" ")[2]
        return _Response(response.status_code, request_ids(response.headers, [sent]))


def _judged(url: str, response: _Response) -> Verdict:
    status = response.status
    ids = "".join(f", {name} {value}" for name, value in response.ids.items())
    said = f"GET {url}: {status}"
    match status:
        case _ if 200 <= status < 300:  # noqa: PLR2004 -- RFC 9110's success
            return ok("api", f"{said}: the API takes the token")
        case 401:
            return fail(
                "api",
                f"{said}: the API refuses the token{ids}",
                "`openfit-token inspect` shows what it is for; have it replaced by `openfit-token refresh`,"
                " and ask the API's support if it refuses the next one too",
                NotAllowed.exit_status,
            )
        case 403:
            return fail(
                "api",
                f"{said}: the API knows the token, and its user may not do this{ids}",
                "ask the API's support for the right, or try another path",
                NotAllowed.exit_status,
            )
        case 404:
            return warn(
                "api",
                f"{said}: nothing is there, so this says nothing of the token{ids}",
                "name a path that the API has, such as one that your programs get",
            )
        case _ if status >= 500 or status == 429:  # noqa: PLR2004 -- RFC 9110's server errors; RFC 6585
            return fail(
                "api", f"{said}: the API fails or is busy{ids}", _LATER, Unavailable.exit_status
            )
        case _:
            return warn(
                "api",
                f"{said}: this says nothing of the token{ids}",
                "name a path that the API answers to a GET with 200",
            )
