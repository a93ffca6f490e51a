"""What each path of the HTTP face means: which method of the protocol, with which parameters."""

import re
from typing import Final

from openfit_token._shared.frozen import frozen
from openfit_token.errors import BadRequest
from openfit_tokend.serving.http.request import Request

_GET: Final = ("GET", "HEAD")
_POST: Final = ("POST",)
_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_NUMBERS: Final = frozenset({"min_ttl", "wait"})


@frozen
class Route:
    """What is done for a path."""

    does: str
    """The protocol's method; or what only HTTP has."""
    methods: tuple[str, ...] = ()
    """HTTP's, that are allowed; none: all are."""
    takes: frozenset[str] = frozenset()
    """The query's parameters."""


AUTH: Final = "/v1/auth"
PLAIN: Final = frozenset({AUTH, "/v1/token"})
"""The paths at which one request is mostly the same as the one before."""
ROUTES: Final = {
    "/v1/token": Route("get_token", _GET, frozenset({"profile", "min_ttl", "wait"})),
    AUTH: Route("auth", (), frozenset({"profile", "wait"})),
    "/v1/refuse": Route("refuse", _POST, frozenset({"profile", "id", "wait"})),
    "/v1/refresh": Route("refresh", _POST, frozenset({"profile", "wait"})),
    "/v1/status": Route("status", _GET, frozenset({"profile"})),
    "/metrics": Route("metrics", _GET),
    "/readyz": Route("readyz", _GET),
    "/healthz": Route("healthz", _GET),
}


def parameters(route: Route, request: Request) -> dict[str, object]:
    """Return the parameters of a request, as the protocol's method takes them.

    Raises:
        BadRequest: one is unknown, there twice, or not what it should be.
    """
    takes = ", ".join(sorted(route.takes)) or "none"
    try:
        given = request.parameters
    except ValueError:
        raise BadRequest(
            "the query can't be read", f"NAME=VALUE&NAME=VALUE, each once, of: {takes}"
        ) from None
    unknown = given.keys() - route.takes
    if unknown:
        raise BadRequest(
            f"{request.path} has no parameter {min(unknown)[:64]!r}", f"it takes {takes}"
        )
    return {
        name: _seconds(name, value) if name in _NUMBERS else value for name, value in given.items()
    }


def _seconds(name: str, value: str) -> float:
    if not _SECONDS.fullmatch(value):
        raise BadRequest(f"{name} is a number of seconds", f"such as {name}=30")
    return float(value)
