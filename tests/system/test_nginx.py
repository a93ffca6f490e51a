"""docs/proxy/nginx.conf, by Debian's nginx, between callers without a token and an API that wants one."""

import base64
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import pytest

from api import Api, running_api, tls
from daemons import await_that, profile
from emulators import running_emulator
from fake_http_daemon import GRANTED, FakeHttpDaemon, problem
from healing import BODY, World, calling, kill_tokens, running_world
from openfit_tokend.serving.http.dialect import MAX_KNOWN_SIZE
from openfit_tokend.serving.http.request import Reader
from openfit_tokend.serving.http.routes import PLAIN
from proxies import API_HOST, Proxy, running_nginx
from service_managers import ManagedDaemon, Manager, managed_daemon

pytestmark = [pytest.mark.system, pytest.mark.slow]

CACHED = tuple(
    (f"#{line}", line)
    for line in (
        "proxy_cache openfit;",
        "proxy_cache_key $openfit_profile;",
        "proxy_cache_valid 200 1s;",
        "proxy_cache_bypass $openfit_id;",
        "proxy_ignore_headers Cache-Control;",
    )
)
"""What an administrator does who takes the cache."""


@pytest.fixture
def world() -> Generator[World]:
    with running_world() as running:
        yield running


def token(world: World, name: str = "main") -> str:
    return str(world.daemon.call("get_token", profile=name)["access_token"])


# The real daemon


def test_a_request_gets_the_token_and_keeps_its_path_and_body(world: World) -> None:
    answer = world.proxy.ask("POST", "/v1/a%2Fb%20c?d=%26", BODY)

    assert (answer.status, answer.body) == (200, BODY)
    assert world.api.seen == [("POST", "/v1/a%2Fb%20c", token(world), BODY)]


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", BODY)])
def test_a_request_whose_token_is_refused_is_repeated_with_the_next_one(
    world: World, method: str, body: bytes | None
) -> None:
    old = token(world)
    world.api.refused.add(old)

    answer = world.proxy.ask(method, "/v1/a%2Fb", body)

    assert (answer.status, answer.body) == (200, body or b"")
    assert "WWW-Authenticate" not in answer.fields
    assert world.api.seen == [
        (method, "/v1/a%2Fb", old, body or b""),
        (method, "/v1/a%2Fb", token(world), body or b""),
    ]
    assert world.emulator.state().refreshes == 1


def test_a_second_401_is_the_callers(world: World) -> None:
    """A path at which the API wants more than a token isn't asked again and again."""
    answer = world.proxy.ask("GET", "/refuse")

    assert (answer.status, answer.body) == (401, b"no")
    assert answer.fields["WWW-Authenticate"] == "Bearer"
    assert len(world.api.seen) == 2


def test_while_the_api_kills_token_after_token_no_request_fails_and_each_costs_one_refresh(
    world: World,
) -> None:
    with calling(world.proxy) as called:
        killed = kill_tokens(world.daemon, world.api, seconds=4.0)

    assert called.failed == []
    assert called.done > 100
    assert world.emulator.state().refreshes == killed
    told = world.proxy.log()
    assert [each for each in {*world.api.tokens} if str(each) in told] == []


def test_a_callers_own_fields_neither_refuse_a_token_nor_replace_it(world: World) -> None:
    current = world.daemon.call("get_token")

    answer = world.proxy.ask(
        fields={"Authorization": "Bearer mine", "X-OpenFit-Refused": current["id"]}
    )

    assert answer.status == 200
    assert world.api.tokens == [current["access_token"]]
    assert token(world) == current["access_token"]
    assert world.emulator.state().refreshes == 0


def test_each_location_has_its_own_profile() -> None:
    with running_world(profiles=("main", "other")) as world:
        main, other = token(world), token(world, "other")
        world.api.refused.add(other)

        answers = [world.proxy.ask(path=path).status for path in ("/v1/a", "/other/v1/b%2Fc")]

        assert answers == [200, 200]
        assert world.api.tokens == [main, other, token(world, "other")]
        assert [seen.path for seen in world.api.seen] == ["/v1/a", "/v1/b%2Fc", "/v1/b%2Fc"]
        assert token(world) == main != other


def test_with_a_cache_the_daemon_is_asked_once_a_second_and_a_refused_token_still_replaced() -> (
    None
):
    place = ("#proxy_cache_path /run/openfit-proxy/", "proxy_cache_path /run/openfit-proxy/socket-")
    with running_world(place, *CACHED) as world:
        served = world.daemon.profile_status()["counters"]["served"]
        with calling(world.proxy) as called:
            await_that(lambda: called.done > 200)
            asked = world.daemon.profile_status()["counters"]["served"] - served
            world.api.refused.add(token(world))
            await_that(lambda: called.done > 400)

        assert 1 <= asked < 100  # of 200 requests
        assert called.failed == []
        assert world.emulator.state().refreshes == 1


def test_a_password_of_nginxs_own_lets_in_and_isnt_passed_on(tmp_path: Path) -> None:
    """Not even a repeated request gets round it, which asks for no more than the token."""
    users = tmp_path / "users"
    users.write_text("alice:{PLAIN}secret\n")
    name = "server_name localhost 127.0.0.1;"
    closed = f'{name} auth_basic OpenFIT; auth_basic_user_file "{users}"; allow all;'
    basic = f"Basic {base64.b64encode(b'alice:secret').decode()}"
    with running_world((name, closed)) as world:
        old = token(world)
        world.api.refused.add(old)

        without = world.proxy.ask(port=world.proxy.port)
        refreshes = world.emulator.state().refreshes
        with_it = world.proxy.ask(fields={"Authorization": basic}, port=world.proxy.port)

        assert (without.status, without.fields["WWW-Authenticate"]) == (
            401,
            'Basic realm="OpenFIT"',
        )
        assert refreshes == 0
        assert with_it.status == 200
        assert "WWW-Authenticate" not in with_it.fields
        assert world.api.tokens == [old, token(world)]


def test_a_list_of_nginxs_own_keeps_callers_out() -> None:
    name = "server_name localhost 127.0.0.1;"
    with running_world((name, f"{name} deny 127.0.0.1;")) as world:
        world.api.refused.add(token(world))

        answers = [world.proxy.ask(port=port).status for port in (world.proxy.port, 0)]

        assert answers == [403, 200]
        assert len(world.api.seen) == 2


# A daemon that ends while it is asked


class Restarted(NamedTuple):
    manager: Manager
    daemon: ManagedDaemon
    proxy: Proxy


@pytest.fixture
def restarted(tmp_path: Path) -> Generator[Restarted]:
    """Run a daemon whose sockets outlive it, as those of systemd do."""
    secured, trusted = tls(tmp_path, API_HOST)
    with (
        running_emulator() as emulator,
        running_api(secured) as api,
        managed_daemon(profile(emulator.url)) as (manager, daemon),
    ):
        manager.pass_socket(daemon.socket)
        http = daemon.socket.with_name("http.socket")
        manager.pass_socket(http, "http")
        daemon.start()
        daemon.await_state("fresh")
        with running_nginx(http, api.url, trusted) as proxy:
            yield Restarted(manager, daemon, proxy)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_no_request_fails_while_a_daemon_whose_socket_stays_ends_and_starts(
    restarted: Restarted, end: str
) -> None:
    with calling(restarted.proxy) as called:
        for _ in range(3):
            if end == "stop":
                restarted.daemon.restart()
            else:
                restarted.daemon.crash()
            restarted.daemon.await_state("fresh")
            called.await_an_answer_each()  # one end at a time

    assert called.failed == []


def test_a_daemon_that_is_not_there_is_503_until_it_is(world: World) -> None:
    world.daemon.stop()
    without = world.proxy.ask()
    world.daemon.start()
    world.daemon.await_state("fresh")

    assert without.status == 503
    assert without.fields["Content-Type"] == "application/problem+json"
    assert world.proxy.ask().status == 200
    assert len(world.api.seen) == 1


# A daemon that answers what it is told to


class Between(NamedTuple):
    """A proxy, and what is on either side of it."""

    daemon: FakeHttpDaemon
    proxy: Proxy
    api: Api


@pytest.fixture
def between(tmp_path: Path) -> Generator[Between]:
    secured, trusted = tls(tmp_path, API_HOST)
    with (
        FakeHttpDaemon(tmp_path / "http.socket") as daemon,
        running_api(secured) as api,
        running_nginx(tmp_path / "http.socket", api.url, trusted) as proxy,
    ):
        yield Between(daemon, proxy, api)


@pytest.mark.parametrize("status", [403, 503])
def test_what_the_daemon_refuses_is_refused_with_its_status_and_the_api_not_asked(
    between: Between, status: int
) -> None:
    between.daemon.answer = problem(status)

    answer = between.proxy.ask()

    assert answer.status == status
    assert answer.fields["Content-Type"] == "application/problem+json"
    assert answer.fields["Retry-After"] == "7"
    assert between.api.seen == []


@pytest.mark.parametrize("first", [b"", problem(503)], ids=["broken off", "refused"])
def test_what_a_daemon_that_ends_does_not_answer_is_asked_once_more(
    between: Between, first: bytes
) -> None:
    between.daemon.first.append(first)

    assert between.proxy.ask().status == 200
    assert len(between.daemon.requests) == 2
    assert between.api.tokens == ["token-a"]


@pytest.mark.parametrize("prefix", ["", "/other"])
@pytest.mark.parametrize(
    ("to", "location"),
    [
        ("/there", "{prefix}/there"),
        (f"https://{API_HOST}/there", "{prefix}/there"),
        (f"https://{API_HOST}.evil.example/there", f"https://{API_HOST}.evil.example/there"),
        ("https://evil.example/there", "https://evil.example/there"),
    ],
)
def test_a_redirect_to_the_api_leads_to_the_proxy_and_any_other_elsewhere(
    between: Between, prefix: str, to: str, location: str
) -> None:
    answer = between.proxy.ask(path=f"{prefix}/hop?to={to}&status=302")

    assert (answer.status, answer.fields["Location"]) == (302, location.format(prefix=prefix))


@pytest.mark.parametrize(
    ("target", "paths"),
    [
        ("http://evil.example/a", ["/a"]),
        ("http://evil.example?a", ["/"]),
        ("http://localhost:80?@evil.example/", ["/"]),
        ("//evil.example/a", ["/evil.example/a"]),  # our API takes it for one slash
        ("@evil.example/a", []),
        (".evil.example/a", []),
        ("http://a@evil.example/a", []),
    ],
)
def test_whatever_a_caller_asks_for_the_token_goes_to_the_api(
    between: Between, target: str, paths: list[str]
) -> None:
    with closing(between.proxy.connection()) as link:
        link.connect()
        link.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = link.sock.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 200 " if paths else b"HTTP/1.1 400 ")
    assert [(seen.path, seen.token) for seen in between.api.seen] == [
        (path, "token-a") for path in paths
    ]


@pytest.mark.parametrize("status", [403, 404, 500, 502, 503])
def test_what_the_api_answers_is_the_callers_whatever_it_is(between: Between, status: int) -> None:
    answer = between.proxy.ask(path=f"/hop?to=/there&status={status}")

    assert (answer.status, answer.fields["Location"]) == (status, "/there")
    assert len(between.api.seen) == len(between.daemon.requests) == 1


def test_the_daemon_gets_the_same_few_bytes_each_time_which_it_answers_without_parsing(
    between: Between,
) -> None:
    for method, body in (("GET", None), ("POST", BODY), ("HEAD", None), ("PUT", b"x")):
        between.proxy.ask(
            method, f"/v1/{method}?a=b", body, {"Cookie": "a=b", "User-Agent": method}
        )

    (request,) = {*between.daemon.requests}
    reader = Reader()
    reader.feed(request)
    parsed = reader.next()
    assert parsed is not None
    assert (parsed.method, parsed.path, parsed.keeps) == ("GET", "/v1/auth", True)
    assert parsed.is_common
    assert parsed.path in PLAIN
    assert len(request) <= MAX_KNOWN_SIZE


def test_the_connections_to_the_daemon_are_kept(between: Between) -> None:
    for _ in range(50):
        between.proxy.ask()

    assert len(between.daemon.requests) == 50
    assert between.daemon.connections <= 4  # of two workers


def test_what_nginx_asks_the_daemon_is_not_for_callers_to_ask(between: Between) -> None:
    assert between.proxy.ask(path="/_openfit/token").status == 404
    assert between.daemon.requests == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8480"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "localhost:8480", "Origin": "http://localhost:8480"}, 200),
        ({"Host": "localhost:8480", "Origin": "http://localhost:8481"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_on_loopback_a_page_of_another_origin_gets_nothing(
    between: Between, fields: dict[str, str], status: int
) -> None:
    assert between.proxy.ask(fields=fields, port=between.proxy.port).status == status
    assert len(between.api.seen) == (status == 200)


def test_an_api_with_a_certificate_of_another_authority_gets_no_token(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    secured, _ = tls(tmp_path, API_HOST)
    _, other = tls(tmp_path / "other", API_HOST)
    with ExitStack() as stack:
        stack.enter_context(FakeHttpDaemon(tmp_path / "s"))
        api = stack.enter_context(running_api(secured))
        proxy = stack.enter_context(running_nginx(tmp_path / "s", api.url, other))

        assert proxy.ask().status == 502
        assert api.seen == []
        assert "token-a" in GRANTED.decode()
        assert "token-a" not in proxy.log()
