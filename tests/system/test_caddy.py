"""docs/proxy/Caddyfile, by Debian's Caddy. It repeats only requests without a body."""

from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import pytest

from api import Api, running_api, tls
from daemons import prepared_daemon, profile
from emulators import running_emulator
from fake_http_daemon import FakeHttpDaemon, problem
from healing import BODY, HURRIED, calling
from openfit_tokend.serving.http.request import Reader
from proxies import API_HOST, Proxy, running_caddy
from service_managers import managed_daemon

pytestmark = [pytest.mark.system, pytest.mark.slow]


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
        running_caddy(tmp_path / "http.socket", api.url, trusted) as proxy,
    ):
        yield Between(daemon, proxy, api)


def test_a_request_gets_the_token_and_keeps_its_path_and_body(between: Between) -> None:
    answer = between.proxy.ask("POST", "/v1/a%2Fb?c=%26", BODY, {"Authorization": "Bearer mine"})

    assert (answer.status, answer.body) == (200, BODY)
    assert between.api.seen == [("POST", "/v1/a%2Fb", "token-a", BODY)]


def test_with_the_real_daemon_a_get_is_repeated_and_a_post_is_to_be_sent_again(
    tmp_path: Path,
) -> None:
    secured, trusted = tls(tmp_path, API_HOST)
    http = tmp_path / "http.socket"
    tmp_path.chmod(0o700)
    with (
        running_emulator() as emulator,
        prepared_daemon(f'http_socket = "{http}"', profile(emulator.url)) as daemon,
        running_api(secured) as api,
    ):
        daemon.start(first=HURRIED)
        with running_caddy(http, api.url, trusted) as proxy:
            refused: list[str] = []
            statuses: list[int] = []
            for method, body in (("GET", None), ("POST", BODY), ("POST", BODY)):
                if len(refused) < 2:
                    refused.append(daemon.call("get_token")["access_token"])
                    api.refused.add(refused[-1])
                statuses.append(proxy.ask(method, "/v1/echo", body).status)
            last = daemon.call("get_token")["access_token"]

            assert statuses == [200, 401, 200]
            assert api.tokens == [refused[0], refused[1], refused[1], last]
            assert emulator.state().refreshes == 2
            told = proxy.log()
            assert [each for each in (*refused, last) if each in told] == []


def test_neither_a_token_nor_the_daemons_answer_reaches_the_caller_of_a_refused_post(
    between: Between,
) -> None:
    answer = between.proxy.ask("POST", "/refuse", b"x")

    assert answer.status == 401
    assert b"send the request again" in answer.body
    assert "token-a" not in str(answer.fields)
    assert len(between.daemon.requests) == 2


def test_a_second_401_is_the_callers(between: Between) -> None:
    answer = between.proxy.ask("GET", "/refuse")

    assert (answer.status, answer.body) == (401, b"no")
    assert len(between.api.seen) == 2


def test_a_caller_can_refuse_no_token(between: Between) -> None:
    between.proxy.ask(fields={"X-OpenFit-Refused": "id-a", "X-OpenFit-Token-Id": "id-a"})

    reader = Reader()
    reader.feed(b"".join(between.daemon.requests))
    request = reader.next()
    assert request is not None
    assert request.refused is None
    assert request.is_common


def test_what_a_daemon_that_ends_does_not_answer_is_asked_once_more(between: Between) -> None:
    between.daemon.first.append(b"")

    assert between.proxy.ask().status == 200
    assert len(between.daemon.requests) == 2


@pytest.mark.parametrize("status", [403, 503])
def test_what_the_daemon_refuses_is_refused_in_its_words(between: Between, status: int) -> None:
    between.daemon.answer = problem(status)

    answer = between.proxy.ask()

    assert (answer.status, answer.body) == (status, b'{"code": "SOMETHING"}\n')
    assert between.api.seen == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "localhost:8480", "Origin": "http://localhost:8480"}, 200),
        ({"Host": "localhost:8480", "Origin": "http://localhost:8481"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_on_loopback_a_page_of_another_origin_gets_nothing(
    between: Between, fields: dict[str, str], status: int
) -> None:
    assert between.proxy.ask(fields=fields, port=between.proxy.port).status == status
    assert len(between.api.seen) == (status == 200)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_no_request_fails_while_a_daemon_whose_socket_stays_ends_and_starts(
    tmp_path: Path, end: str
) -> None:
    """GET alone: Caddy 2.6 breaks off an answer to a large POST now and then, with any configuration."""
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
        with running_caddy(http, api.url, trusted) as proxy, calling(proxy, posted=None) as called:
            for _ in range(3):
                if end == "stop":
                    daemon.restart()
                else:
                    daemon.crash()
                daemon.await_state("fresh")
                called.await_an_answer_each()  # one end at a time

    assert called.failed == []
