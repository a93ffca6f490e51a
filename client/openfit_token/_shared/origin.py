"""Where a token may be sent: to the origin (RFC 6454) of its API, over https or on loopback."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from openfit_token.errors import ForeignOrigin

PORTS: Final = {"https": 443, "http": 80}
"""The schemes that are supported, and their default ports."""

ANYBODY: Final = "anybody on this machine"
"""In place of a user: whoever listens on loopback is trusted, without a look (see `local_peer`)."""


class Origin(NamedTuple):
    """The origin of a URL. The host is in lower case, an IPv6 address without brackets."""

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

    def is_at(self, address: object) -> bool:
        """Return whether a socket that is connected to an address leads to this origin on loopback."""
        match address:
            case (str(host), int(port)) | (str(host), int(port), int(), int()):
                found = _unmapped(host.partition("%")[0])
                is_there = (
                    found.is_loopback if self.host == "localhost" else found == _unmapped(self.host)
                )
                return port == self.port and is_there
            case _:
                return True  # a Unix socket, which the program has named to its library


def is_loopback(host: str) -> bool:
    """Return whether a host is on loopback: localhost, or an address of 127.0.0.0/8 or ::1."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _unmapped(host: str) -> IPv4Address | IPv6Address:
    address = ip_address(host)
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def origin(scheme: str, host: str, port: int | None) -> Origin:
    """Return the origin of a URL's parts, as the library that sends the request has them."""
    scheme = scheme.lower()
    return Origin(scheme, host.lower().strip("[]"), PORTS.get(scheme, 0) if port is None else port)


def origin_of(url: str) -> Origin:
    """Return the origin of a URL.

    Raises:
        ValueError: it is not an http or https URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is not a URL that begins with https://")
    return origin(parts.scheme, parts.hostname, parts.port)


class Origins:
    """The origins that tokens may be sent to: the API's, and those that the program names."""

    def __init__(self, named: Iterable[str]) -> None:
        """Allow origins such as "https://api.example.org".

        Raises:
            ValueError: one is not an origin, or is http and not on loopback.
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
                f"a token is only sent over https, and this request goes to {asked}",
                "http is allowed for localhost, 127.0.0.0/8 and ::1",
            )
        home = _home(api_url)
        if asked != home:
            raise ForeignOrigin(
                f"the token is for {home or 'an unknown origin'}, and this request goes to {asked}",
                f'if you mean it: OpenFitAuth(origins=["{asked}"]); to send no token: auth=None,'
                " or a client of its own",
            )


def _named(url: str) -> Origin:
    found = origin_of(url)
    if urlsplit(url)._replace(scheme="", netloc="").geturl() not in ("", "/"):
        raise ValueError(f"{url!r} is not an origin: leave out everything after {found}")
    if not found.is_safe:
        raise ValueError(f"{url!r} must begin with https:// (http:// is for loopback)")
    return found


def _home(api_url: str) -> Origin | None:
    try:
        return origin_of(api_url)
    except ValueError:
        return None
