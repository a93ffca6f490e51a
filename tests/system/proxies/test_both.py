"""What each of the proxies in docs/proxy/ does, between callers without a token and an API that wants one."""

from contextlib import closing
from pathlib import Path

import pytest

from api import running_api, tls
from fake_http_daemon import GRANTED, FakeHttpDaemon, problem
from healing import BODY, World, calling
from proxies import API_HOST, PROXIES, Between, Restarted

pytestmark = [pytest.mark.system, pytest.mark.slow]


def test_a_request_gets_the_token_and_keeps_its_path_and_body(world: World) -> None:
    path = "/v1/a%2Fb%20c"

    answer = world.proxy.ask("POST", f"{path}?d=%26", BODY, {"Authorization": "Bearer mine"})

    assert (answer.status, answer.body) == (200, BODY)
    assert world.api.seen == [("POST", path, world.token(), BODY)]


def test_a_get_whose_token_is_refused_is_repeated_with_the_next_one(world: World) -> None:
    old = world.token()
    world.api.refused.add(old)

    answer = world.proxy.ask("GET", "/v1/a%2Fb")

    assert (answer.status, answer.body) == (200, b"")
    assert "WWW-Authenticate" not in answer.fields
    assert world.api.seen == [
        ("GET", "/v1/a%2Fb", old, b""),
        ("GET", "/v1/a%2Fb", world.token(), b""),
    ]
    assert world.emulator.state().refreshes == 1
    assert [each for each in (old, world.token()) if each in world.proxy.log()] == []


def test_a_second_401_is_the_callers(world: World) -> None:
    """A path at which the API wants more than a token isn't asked again and again."""
    answer = world.proxy.ask("GET", "/refuse")

    assert (answer.status, answer.body) == (401, b"no")
    assert answer.fields["WWW-Authenticate"] == "Bearer"
    assert len(world.api.seen) == 2


def test_the_apis_401_is_the_callers_while_there_is_no_other_token_and_the_live_one_goes_on(
    between: Between,
) -> None:
    between.daemon.first.append(GRANTED)
    between.daemon.answer = problem(503)

    answer = between.proxy.ask("GET", "/refuse")

    assert (answer.status, answer.fields["WWW-Authenticate"]) == (401, "Bearer")
    assert b"no other token now" in answer.body
    between.daemon.answer = GRANTED
    assert between.proxy.ask("GET", "/v1/me").status == 200
    assert between.api.tokens == ["token-a"] * 2


def test_a_callers_own_fields_neither_refuse_a_token_nor_replace_it(world: World) -> None:
    current = world.daemon.call("get_token")

    answer = world.proxy.ask(
        fields={
            "Authorization": "Bearer mine",
            "X-OpenFit-Refused": current["id"],
            "X-OpenFit-Token-Id": current["id"],
        }
    )

    assert answer.status == 200
    assert world.api.tokens == [current["access_token"]]
    assert world.token() == current["access_token"]
    assert world.emulator.state().refreshes == 0


@pytest.mark.parametrize("method", ["TRACE", "trace", "TRACK", "CONNECT"])
def test_no_method_reaches_the_api_that_it_answers_with_the_request(
    between: Between, method: str
) -> None:
    assert between.proxy.ask(method).status in {400, 405}
    assert between.api.seen == []


@pytest.mark.parametrize("named", ["Authorization", "X-OpenFit-Token-Id", "close, Host"])
def test_the_api_gets_the_token_whatever_fields_a_caller_names_in_connection(
    between: Between, named: str
) -> None:
    answer = between.proxy.ask("POST", "/v1/echo", b"x", {"Connection": named})

    assert (answer.status, between.api.tokens) == (200, ["token-a"])
    assert len(between.daemon.requests) == 1


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_no_request_fails_while_a_daemon_whose_socket_stays_ends_and_starts(
    restarted: Restarted, program: str, end: str
) -> None:
    # Caddy 2.6 breaks off an answer to a large POST now and then, with any configuration.
    with calling(restarted.proxy, posted=None if program == "caddy" else BODY) as called:
        for _ in range(3):
            if end == "stop":
                restarted.daemon.restart()
            else:
                restarted.daemon.crash()
            restarted.daemon.await_state("fresh")
            called.await_an_answer_each()  # one end at a time

    assert called.failed == []


@pytest.mark.parametrize("status", [403, 503])
def test_what_the_daemon_refuses_is_refused_with_its_status_and_the_api_not_asked(
    between: Between, status: int
) -> None:
    between.daemon.answer = problem(status)

    answer = between.proxy.ask()

    assert answer.status == status
    assert answer.fields["Retry-After"] == "7"
    assert between.api.seen == []


def test_what_a_daemon_that_ends_does_not_answer_is_asked_once_more(between: Between) -> None:
    between.daemon.first.append(b"")

    assert between.proxy.ask().status == 200
    assert len(between.daemon.requests) == 2
    assert between.api.tokens == ["token-a"]


@pytest.mark.parametrize("status", [403, 404, 500, 502, 503])
def test_what_the_api_answers_is_the_callers_whatever_it_is(between: Between, status: int) -> None:
    answer = between.proxy.ask(path=f"/hop?to=/there&status={status}")

    assert (answer.status, answer.fields["Location"]) == (status, "/there")
    assert len(between.api.seen) == len(between.daemon.requests) == 1


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
    between: Between, program: str, target: str, paths: list[str]
) -> None:
    if program == "caddy" and "a@" in target:
        paths = ["/a"]  # it passes over the user's name
    with closing(between.proxy.connection()) as link:
        link.connect()
        link.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = link.sock.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 200 " if paths else b"HTTP/1.1 400 ")
    assert [(seen.path, seen.token) for seen in between.api.seen] == [
        (path, "token-a") for path in paths
    ]


def test_the_connections_to_the_daemon_are_kept(between: Between) -> None:
    for _ in range(50):
        between.proxy.ask()

    assert len(between.daemon.requests) == 50
    assert between.daemon.connections <= 4  # of two workers


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "127.0.0.1:848"}, 200),
        ({"Host": "[::1]:848"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "localhost.evil.example"}, 421),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "localhost:848", "Origin": "http://localhost:848"}, 200),
        ({"Host": "localhost:848", "Origin": "http://localhost:849"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_on_loopback_a_page_of_another_origin_gets_nothing(
    on_loopback: Between, fields: dict[str, str], status: int
) -> None:
    proxy = on_loopback.proxy
    fields = {name: value.replace(":848", f":{proxy.port}") for name, value in fields.items()}

    statuses = [proxy.ask(fields=fields, at=each).status for each in ("127.0.0.1", "::1")]

    assert statuses == [status, status]
    assert len(on_loopback.api.seen) == (2 if status == 200 else 0)


def test_an_api_with_a_certificate_of_another_authority_gets_no_token(
    tmp_path: Path, program: str
) -> None:
    (tmp_path / "other").mkdir()
    secured, _ = tls(tmp_path, API_HOST)
    _, other = tls(tmp_path / "other", API_HOST)
    with (
        FakeHttpDaemon(tmp_path / "s"),
        running_api(secured) as api,
        PROXIES[program](tmp_path / "s", api.url, other) as proxy,
    ):
        assert proxy.ask().status == 502
        assert api.seen == []
        assert "token-a" in GRANTED.decode()
        assert "token-a" not in proxy.log()
