"""Where a token may be sent: to the origin of its API (RFC 6454), over https or within this host."""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from openfit_token.errors import ForeignOrigin

PORTS: Final = {"https": 443, "http": 80}
"""The schemes that are spoken, and the port of each where the URL names none."""


class Origin(NamedTuple):
    """What a server is told apart by. The host is in lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS.get(self.scheme) else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def is_safe(self) -> bool:
        """Return whether nobody on the network can read what is sent there."""
        return self.scheme == "https" or (self.scheme == "http" and is_loopback(self.host))


def is_loopback(host: str) -> bool:
    """Return whether a host is this one: localhost, or an address of 127.0.0.0/8 or ::1."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def origin(scheme: str, host: str, port: int | None) -> Origin:
    """Return the origin of a URL's parts, as the library that sends the request has them."""
    scheme = scheme.lower()
    return Origin(scheme, host.lower().strip("[]"), PORTS.get(scheme, 0) if port is None else port)


def origin_of(url: str) -> Origin:
    """Return the origin of a URL.

    Raises:
        ValueError: it is none of http or https.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is no URL that begins with https://")
    return origin(parts.scheme, parts.hostname, parts.port)


class Origins:
    """The origins that may have the tokens: the API's, and those that the program names."""

    def __init__(self, named: Iterable[str]) -> None:
        """Take origins such as "https://api.example.org".

        Raises:
            ValueError: one is none, or is http and not on loopback.
        """
        self._named = frozenset(map(_named, named))

    def judge(self, asked: Origin, api_url: str) -> None:
        """Judge a request that is about to be sent there with a token for `api_url`.

        Raises:
            ForeignOrigin: the token is not for that origin.
        """
        if asked in self._named:
            return
        if not asked.is_safe:
            raise ForeignOrigin(
                f"a token goes over https alone, and this request goes to {asked}",
                "http is for localhost, 127.0.0.0/8 and ::1",
            )
        home = _home(api_url)
        if asked != home:
            raise ForeignOrigin(
                f"the token is for {home or 'no URL that is known'},"
                f" and this request goes to {asked}",
                f'if that is meant: OpenFitAuth(origins=["{asked}"]); to send none: auth=None,'
                " or a client of its own",
            )


def _named(url: str) -> Origin:
    found = origin_of(url)
    if urlsplit(url)._replace(scheme="", netloc="").geturl() not in ("", "/"):
        raise ValueError(f"{url!r} is no origin: leave out what follows the host, {found}")
    if not found.is_safe:
        raise ValueError(f"{url!r} must begin with https:// (http:// is for loopback)")
    return found


def _home(api_url: str) -> Origin | None:
    try:
        return origin_of(api_url)
    except ValueError:
        return None
