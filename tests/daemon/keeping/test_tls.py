"""TLS, names and proxies that are wrong: each is said by its name, and not one password is sent.

The servers are real, their certificates made for the test. A daemon has a profile for each case.
"""

import datetime as dt
import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from daemons import RunningDaemon, profile, running_daemon
from emulators import RunningEmulator, running_emulator
from inside import async_await_that, daemon_inside
from openfit_emulator.server import Address
from openfit_tokend.keeping import http_exchange
from raw_server import Behaviour, raw_server, response, sending, server_that_hangs_up

pytestmark = pytest.mark.system

DAY = dt.timedelta(days=1)
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
IN_LONG = dt.datetime(2120, 1, 1, tzinfo=dt.UTC)
EXPIRED = ("certificate has expired, or that of its CA", "check this host's clock; if it is right")
ANOTHERS = ("certificate is for another name", "check environment, id_server or token_url")
UNKNOWN_CA = ("certificate is from a CA that isn't trusted", "name its certificate with ca_file")
NO_TLS = ("TLS failed", "it must speak https")
WRONG = {
    "expired": EXPIRED,
    "not_yet_valid": ("certificate isn't valid yet, or that of its CA", "check this host's clock"),
    "another_address": ANOTHERS,
    "another_host": ANOTHERS,
    "unknown_ca": UNKNOWN_CA,
    "self_signed": UNKNOWN_CA,
    "plain_http": NO_TLS,
    "hangs_up": NO_TLS,
    "no_such_name": (
        "its name can't be resolved",
        "check environment, id_server or token_url, and the network; behind a proxy",
    ),
}
"""What is said, and what is to be done, by the profile that meets it."""


@dataclass
class World:
    """A daemon, and the token servers by the profile that uses them."""

    daemon: RunningDaemon
    servers: dict[str, RunningEmulator]


@dataclass
class Authority:
    """A CA of our own, and where its certificates lie."""

    ca: trustme.CA
    directory: Path

    @property
    def file(self) -> Path:
        return self.directory / "ca.pem"

    def place(self, name: str, *identities: str, day: dt.datetime | None = None) -> Address:
        """Return where a server with a certificate for these names is; `day`: the only one it is valid."""
        issued = self.ca.issue_cert(
            *identities, not_before=day, not_after=None if day is None else day + DAY
        )
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        return Address(tls_cert=certificate, tls_key=key)

    def own_place(self) -> Address:
        """Return where a server is whose certificate is the CA's own."""
        both = self.directory / "self_signed.pem"
        both.write_bytes(self.ca.private_key_pem.bytes() + self.ca.cert_pem.bytes())
        return Address(tls_cert=both)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(trustme.CA(), tmp_path_factory.mktemp("ca"))
    made.ca.cert_pem.write_to_path(str(made.file))
    return made


@pytest.fixture(scope="module")
def world(authority: Authority) -> Iterator[World]:
    places = {
        "trusted": authority.place("trusted", "127.0.0.1"),
        "expired": authority.place("expired", "127.0.0.1", day=LONG_AGO),
        "not_yet_valid": authority.place("not_yet_valid", "127.0.0.1", day=IN_LONG),
        "another_address": authority.place("another_address", "127.0.0.2"),
        "another_host": authority.place("another_host", "ids.example.org"),
        "unknown_ca": authority.place("unknown_ca", "127.0.0.1"),
        "self_signed": authority.own_place(),
        "plain_http": Address(),
    }
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(running_emulator(address=place))
            for name, place in places.items()
        }
        urls = {name: server.url for name, server in servers.items()} | {
            "another_host": servers["another_host"].url.replace("127.0.0.1", "localhost"),
            "hangs_up": stack.enter_context(server_that_hangs_up()),
            "no_such_name": "https://nonexistent.invalid",
        }
        known = f'"{authority.file}"'
        tables = [
            profile(
                url.replace("http:", "https:"),
                name,
                ca_file="" if WRONG.get(name) is UNKNOWN_CA else known,
            )
            for name, url in urls.items()
        ]
        yield World(stack.enter_context(running_daemon(*tables)), servers)


def test_a_ca_of_our_own_is_trusted_where_ca_file_names_it(world: World) -> None:
    assert world.daemon.call("get_token", profile="trusted")["profile"] == "trusted"


@pytest.mark.parametrize("name", WRONG)
def test_a_server_that_cannot_be_trusted_or_reached_is_said_by_name_and_sent_nothing(
    world: World, name: str
) -> None:
    line = world.daemon.await_log("login_failed", f"profile={name}")

    what, remedy = WRONG[name]
    assert "the token server can't be reached" in line
    assert what in line
    assert remedy in line
    assert "level=warning" in line
    status = world.daemon.profile_status(name)
    assert status["logins_left"] == 3
    assert status["counters"]["uncertain"] == 0
    if name in world.servers:
        assert world.servers[name].state().token_requests == 0


async def test_a_server_that_takes_no_connection_was_surely_not_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue is full, so it doesn't even answer."""
    monkeypatch.setattr(http_exchange, "CONNECT_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as stack:
        for _ in range(4):  # as many as Linux lets into a queue of 0, and more
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with daemon_inside(tmp_path, profile(url)) as daemon:
            await async_await_that(lambda: "login_failed" in daemon.log(), daemon.log)

            status = await daemon.profile_status()
            assert status["counters"]["uncertain"] == 0
            assert status["logins_left"] == 3


@pytest.fixture(scope="module")
def behind(authority: Authority) -> Iterator[RunningEmulator]:
    """A token server with a good certificate, to be reached over a proxy."""
    with running_emulator(address=authority.place("behind", "127.0.0.1")) as server:
        yield server


def proxied(server: RunningEmulator, authority: Authority) -> str:
    return profile(server.url, ca_file=f'"{authority.file}"')


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        (sending(response("403 Forbidden")), "the proxy refused"),
        (sending(response("407 Proxy Authentication Required")), "the proxy refused"),
        (sending(response("502 Bad Gateway")), "the proxy refused"),
        (sending(b""), "the proxy"),
        (sending(b"SSH-2.0-OpenSSH\r\n"), "the proxy"),
    ],
    ids=["403", "407", "502", "hangs_up", "rubbish"],
)
def test_a_proxy_that_refuses_is_said_and_costs_no_login(
    behind: RunningEmulator,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    proxy: Behaviour,
    said: str,
) -> None:
    with raw_server(proxy) as refusing:
        monkeypatch.setenv("HTTPS_PROXY", refusing.url)
        with running_daemon(proxied(behind, authority)) as daemon:
            line = daemon.await_log("login_failed")

            assert said in line
            assert "HTTPS_PROXY" in line
            assert daemon.profile_status()["logins_left"] == 3
        assert refusing.requests[0].startswith(b"CONNECT 127.0.0.1:")
        assert b"password" not in b"".join(refusing.requests)
    assert behind.state().token_requests == 0


def test_a_proxy_that_works_is_used_and_sees_no_password(
    behind: RunningEmulator, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with raw_server(tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with running_daemon(proxied(behind, authority)) as daemon:
            daemon.call("get_token")

        assert [request.split()[0] for request in proxy.requests] == [b"CONNECT"]
    assert behind.state().logins == 1


def tunnel(connection: socket.socket, request: bytes) -> None:
    """Do as a proxy does: connect, and carry bytes both ways until one side closes."""
    host, _, port = request.split()[1].decode().rpartition(":")
    with socket.create_connection((host, int(port))) as server, selectors.DefaultSelector() as both:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        both.register(connection, selectors.EVENT_READ, server)
        both.register(server, selectors.EVENT_READ, connection)
        while True:
            for key, _events in both.select():
                source, target = key.fileobj, key.data
                assert isinstance(source, socket.socket)
                data = source.recv(65536)
                if not data:
                    return
                target.sendall(data)
