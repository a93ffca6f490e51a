"""What docs/proxy/nginx.conf does, by Debian's nginx, that Caddy doesn't."""

import base64
import json
from pathlib import Path

import pytest

from daemons import await_that
from fake_daemon import token_fields
from fake_http_daemon import granted, problem
from fenced import in_section
from healing import BODY, World, calling, kill_tokens, running_world
from openfit_tokend.serving.http.dialect import MAX_KNOWN_SIZE
from openfit_tokend.serving.http.request import Reader
from openfit_tokend.serving.http.routes import PLAIN
from proxies import API_HOST, DOCUMENT, Between, on_loopback

pytestmark = [pytest.mark.system, pytest.mark.slow]

CACHED = tuple(
    (f"#{line}", line)
    for line in (
        "proxy_cache openfit;",
        "proxy_cache_key $openfit_profile;",
        "proxy_cache_valid 200 1s;",
        "proxy_cache_bypass $openfit_id;",
    )
)
"""What an administrator does who takes the cache."""
ABOVE = "    # One location for each profile.\n"
"""What the server's locations begin with."""


@pytest.fixture
def program() -> str:
    return "nginx"


# The real daemon


def test_a_post_whose_token_is_refused_is_repeated_too(world: World) -> None:
    old = world.token()
    world.api.refused.add(old)

    answer = world.proxy.ask("POST", "/v1/a%2Fb", BODY)

    assert (answer.status, answer.body) == (200, BODY)
    assert "WWW-Authenticate" not in answer.fields
    assert world.api.seen == [
        ("POST", "/v1/a%2Fb", old, BODY),
        ("POST", "/v1/a%2Fb", world.token(), BODY),
    ]
    assert world.emulator.state().refreshes == 1


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


def test_each_location_has_its_own_profile() -> None:
    with running_world(profiles=("main", "other")) as world:
        main, other = world.token(), world.token("other")
        world.api.refused.add(other)

        answers = [world.proxy.ask(path=path).status for path in ("/v1/a", "/other/v1/b%2Fc")]

        assert answers == [200, 200]
        assert world.api.tokens == [main, other, world.token("other")]
        assert [seen.path for seen in world.api.seen] == ["/v1/a", "/v1/b%2Fc", "/v1/b%2Fc"]
        assert world.token() == main != other


def test_with_a_cache_the_daemon_is_asked_once_a_second_and_a_refused_token_still_replaced() -> (
    None
):
    place = ("#proxy_cache_path /run/openfit-proxy/", "proxy_cache_path /run/openfit-proxy/socket-")
    with running_world(place, *CACHED) as world:
        served = world.daemon.profile_status()["counters"]["served"]
        with calling(world.proxy) as called:
            await_that(lambda: called.done > 200)
            asked = world.daemon.profile_status()["counters"]["served"] - served
            world.api.refused.add(world.token())
            await_that(lambda: called.done > 400)

        assert 1 <= asked < 100  # of 200 requests
        assert called.failed == []
        assert world.emulator.state().refreshes == 1


def test_a_password_of_nginxs_own_lets_in_and_isnt_passed_on(tmp_path: Path) -> None:
    """Not even a repeated request gets round it, which asks for no more than the token."""
    users = tmp_path / "users"
    users.write_text("alice:{PLAIN}secret\n")
    (block,) = in_section(DOCUMENT, "A password", "nginx")
    password = block.text.replace("/etc/nginx/openfit.users", str(users))
    basic = f"Basic {base64.b64encode(b'alice:secret').decode()}"
    closed = (ABOVE, f"{password}    allow all;\n{ABOVE}")
    with running_world(*on_loopback("nginx"), closed) as world:
        old = world.token()
        world.api.refused.add(old)

        without = world.proxy.ask(at="127.0.0.1")
        refreshes = world.emulator.state().refreshes
        with_it = world.proxy.ask(fields={"Authorization": basic}, at="127.0.0.1")

        assert (without.status, without.fields["WWW-Authenticate"]) == (
            401,
            'Basic realm="OpenFIT"',
        )
        assert refreshes == 0
        assert with_it.status == 200
        assert "WWW-Authenticate" not in with_it.fields
        assert world.api.tokens == [old, world.token()]


def test_a_list_of_nginxs_own_keeps_callers_out() -> None:
    closed = (ABOVE, f"    deny 127.0.0.1;\n{ABOVE}")
    with running_world(*on_loopback("nginx"), closed) as world:
        world.api.refused.add(world.token())

        answers = [world.proxy.ask(at=at).status for at in ("127.0.0.1", "")]

        assert answers == [403, 200]
        assert len(world.api.seen) == 2


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


@pytest.mark.parametrize(
    ("status", "told"), [(400, 403), (403, 403), (404, 403), (500, 503), (502, 503), (503, 503)]
)
def test_what_the_daemon_refuses_is_refused_by_problem_details(
    between: Between, status: int, told: int
) -> None:
    """A caller would take a 404 for the API's."""
    between.daemon.answer = problem(status)

    answer = between.proxy.ask()

    assert (answer.status, json.loads(answer.body)["status"]) == (told, told)
    assert answer.fields["Content-Type"] == "application/problem+json"
    assert between.api.seen == []


def test_what_a_daemon_that_ends_refuses_is_asked_once_more(between: Between) -> None:
    between.daemon.first.append(problem(503))

    assert between.proxy.ask().status == 200
    assert len(between.daemon.requests) == 2
    assert between.api.tokens == ["token-a"]


@pytest.mark.parametrize("refused", [0, 1])
@pytest.mark.parametrize("prefix", ["", "/other"])
@pytest.mark.parametrize(
    "field",
    [
        "X-Accel-Redirect=/_openfit/token",
        "X-Accel-Redirect=@token_again",
        "X-Accel-Redirect=/v1/other",
    ],
)
def test_no_answer_of_the_api_commands_nginx(
    between: Between, field: str, prefix: str, refused: int
) -> None:
    if refused:
        between.daemon.first.append(granted(token_fields("refused")))
        between.api.refused.add("token-refused")

    answer = between.proxy.ask("POST", f"{prefix}/say?{field}&Content-Type=text/plain", b"body")

    assert (answer.status, answer.body) == (200, b"body")
    assert answer.fields["Content-Type"] == "text/plain"
    assert "token-a" not in str(answer.fields)
    assert [seen.path for seen in between.api.seen] == ["/say"] * (1 + refused)


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


def test_what_nginx_asks_the_daemon_is_not_for_callers_to_ask(between: Between) -> None:
    assert between.proxy.ask(path="/_openfit/token").status == 401
    assert between.daemon.requests == []
