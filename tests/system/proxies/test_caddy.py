"""What docs/proxy/Caddyfile does, by Debian's Caddy, that nginx doesn't: it keeps no body to repeat."""

import base64

import pytest

from fake_http_daemon import problem
from fenced import in_section
from healing import BODY, World, running_world
from openfit_tokend.serving.http.request import Reader
from proxies import DOCUMENT, Between, on_loopback

pytestmark = [pytest.mark.system, pytest.mark.slow]

HASH = "$2a$14$89/qcla61vZDm0tC.5dWBeEAb5lQUOzfW.Tl3M2o3s5Z33uVYTkX6"
"""What `caddy hash-password` makes of "secret"."""


@pytest.fixture
def program() -> str:
    return "caddy"


def test_a_password_of_caddys_own_lets_in_and_isnt_passed_on(program: str) -> None:
    (block,) = in_section(DOCUMENT, "A password", "text")
    ours = "\tbind 127.0.0.1 [::1]\n\timport openfit main\n"
    closed = (ours, block.text.replace("HASH", HASH) + ours)
    basic = f"Basic {base64.b64encode(b'alice:secret').decode()}"
    with running_world(*on_loopback(program), closed, program=program) as world:
        without = world.proxy.ask(at="::1").status
        with_it = world.proxy.ask(fields={"Authorization": basic}, at="::1").status

        assert (without, with_it) == (401, 200)
        assert world.api.tokens == [world.token()]


def test_a_post_whose_token_is_refused_is_to_be_sent_again(world: World) -> None:
    old = world.token()
    world.api.refused.add(old)

    statuses = [world.proxy.ask("POST", "/v1/echo", BODY).status for _ in range(2)]

    new = world.token()
    assert statuses == [401, 200]
    assert world.api.tokens == [old, new]
    assert world.emulator.state().refreshes == 1
    told = world.proxy.log()
    assert [each for each in (old, new) if each in told] == []


def test_neither_a_token_nor_the_daemons_answer_reaches_the_caller_of_a_refused_post(
    between: Between,
) -> None:
    answer = between.proxy.ask("POST", "/refuse", b"x")

    assert answer.status == 401
    assert b"send the request again" in answer.body
    assert "token-a" not in str(answer.fields)
    assert len(between.daemon.requests) == 2


def test_the_daemon_gets_nothing_that_a_caller_says_of_tokens(between: Between) -> None:
    between.proxy.ask(fields={"X-OpenFit-Refused": "id-a", "X-OpenFit-Token-Id": "id-a"})

    reader = Reader()
    reader.feed(b"".join(between.daemon.requests))
    request = reader.next()
    assert request is not None
    assert request.refused is None
    assert request.is_common


@pytest.mark.parametrize("status", [403, 503])
def test_what_the_daemon_refuses_is_refused_in_its_words(between: Between, status: int) -> None:
    between.daemon.answer = problem(status)

    answer = between.proxy.ask()

    assert (answer.status, answer.body) == (status, b'{"code": "SOMETHING"}\n')
