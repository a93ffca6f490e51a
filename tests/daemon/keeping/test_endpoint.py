"""What each answer of a token server means, over real HTTP."""

import re
import socket
import threading
import time
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from daemons import await_that
from emulators import CLIENT_ID, PASSWORD, SCOPE, USERNAME, RunningEmulator, running_emulator
from openfit_token._shared.secret import Secret
from openfit_token.errors import SecretUnavailable
from openfit_tokend.config.passwords import Passwords
from openfit_tokend.core.events import Failed, Grant, Kind
from openfit_tokend.core.oauth import Failure
from openfit_tokend.core.problems import not_needed
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import Login, Refresh
from openfit_tokend.core.settings.values import ClientSecret, Identity, PasswordFile, Profile
from openfit_tokend.host import clock
from openfit_tokend.keeping import endpoint as endpoint_module
from openfit_tokend.keeping.claims import NotClaimed
from openfit_tokend.keeping.endpoint import Endpoint, Order, Reply
from openfit_tokend.keeping.turns import MAX_REQUESTS
from raw_server import RawServer, raw_server, response, sending

GRANTED = b'{"access_token": "abc", "expires_in": 3600}'
SHORT = 0.3
"""Seconds that a test gives a request which is never answered."""


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint(Passwords())


def profile(url: str, ca_file: str | None = None) -> Profile:
    return Profile(
        name="main",
        environment="custom",
        identity=Identity(url, CLIENT_ID, SCOPE, USERNAME),
        api_url=url,
        policy=Policy(),
        ca_file=ca_file,
    )


def order(of: Profile, request: Login | Refresh, deadline: float = 0.0) -> Order:
    password = Secret(PASSWORD) if isinstance(request, Login) else None
    return Order(
        profile=of, request=request, password=password, deadline=deadline, is_void=lambda: False
    )


async def log_in(endpoint: Endpoint, url: str, *, ca_file: str | None = None) -> Reply:
    with anyio.fail_after(20):
        return await endpoint.request(order(profile(url, ca_file), Login()))


async def refresh(endpoint: Endpoint, url: str) -> Reply:
    with anyio.fail_after(20):
        return await endpoint.request(order(profile(url), Refresh(Secret("r1"))))


def kind_of(reply: Reply) -> Kind | None:
    return reply.meaning.kind if isinstance(reply.meaning, Failure) else None


def message_of(reply: Reply) -> str:
    assert isinstance(reply.meaning, Failure)
    return f"{reply.meaning.message} ({reply.meaning.hint})"


# What is sent


async def test_a_login_sends_the_form_of_a_login(endpoint: Endpoint) -> None:
    with raw_server(sending(response("200 OK", GRANTED))) as server:
        await log_in(endpoint, server.url)

    head, _, body = server.requests[0].decode().partition("\r\n\r\n")
    assert head.startswith("POST /connect/token HTTP/1.1\r\n")
    lines = {line.lower() for line in head.split("\r\n")[1:]}
    assert {
        "accept: application/json",
        "content-type: application/x-www-form-urlencoded",
        "connection: close",
        "accept-encoding: identity",
    } <= lines
    assert body == (
        "grant_type=password&scope=OpenFitApi+offline_access&client_id=openfit-emulator"
        "&username=demo%40example.org&password=right+horse"
    )


async def test_a_refresh_sends_no_scope_and_no_password(endpoint: Endpoint) -> None:
    with raw_server(sending(response("200 OK", GRANTED))) as server:
        await refresh(endpoint, server.url)

    _, _, body = server.requests[0].decode().partition("\r\n\r\n")
    assert body == "grant_type=refresh_token&refresh_token=r1&client_id=openfit-emulator"


async def test_a_token_url_is_asked_as_it_is_written_and_revocations_where_they_are_taken(
    endpoint: Endpoint,
) -> None:
    with raw_server(sending(response("200 OK", GRANTED))) as server:
        foreign = replace(
            profile(server.url),
            identity=Identity(f"{server.url}/o/token/?p=1", "c", "", "u", token_path=""),
        )
        await endpoint.request(order(foreign, Login()))
        await endpoint.probe(foreign)
        await endpoint.revoke(foreign, Secret("r1"))
        await endpoint.revoke(replace(foreign, revocation_url=f"{server.url}/gone"), Secret("r2"))
        await endpoint.revoke(profile(server.url), Secret("r3"))

    assert [request.split(b" HTTP/1.1")[0] for request in server.requests] == [
        b"POST /o/token/?p=1",
        b"GET /o/token/?p=1",
        b"POST /gone",
        b"POST /connect/revocation",
    ]


@pytest.mark.parametrize("auth", ["basic", "post"])
async def test_each_request_proves_which_client_sends_it(
    auth: Literal["basic", "post"], endpoint: Endpoint, tmp_path: Path
) -> None:
    file = tmp_path / "client"
    with raw_server(sending(response("200 OK", GRANTED))) as server:
        confidential = replace(
            profile(server.url), client_secret=ClientSecret(PasswordFile(str(file)), auth)
        )
        for secret in ("first", "second"):  # it is read each time
            write_secret(file, secret)
            await endpoint.request(order(confidential, Login()))
        await endpoint.request(order(confidential, Refresh(Secret("r1"))))
        await endpoint.revoke(confidential, Secret("r1"))

    def proof(request: bytes) -> tuple[str | None, bool, str | None]:
        head, _, body = request.decode().partition("\r\n\r\n")
        form = dict(parse_qsl(body))
        header = re.search(r"^authorization: Basic (\S+)", head, re.IGNORECASE | re.MULTILINE)
        given = None if header is None else b64decode(header[1]).decode()
        return given, "client_id" in form, form.get("client_secret")

    secrets = ["first", "second", "second", "second"]
    assert [proof(request) for request in server.requests] == [
        (f"{CLIENT_ID}:{each}", False, None) if auth == "basic" else (None, True, each)
        for each in secrets
    ]


async def test_without_its_clients_secret_nothing_is_sent(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    missing = ClientSecret(PasswordFile(str(tmp_path / "client")), "basic")
    with raw_server(sending(response("200 OK", GRANTED))) as server:
        confidential = replace(profile(server.url), client_secret=missing)
        reply = await endpoint.request(order(confidential, Refresh(Secret("r1"))))
        await endpoint.revoke(confidential, Secret("r1"))

    assert server.requests == []
    assert isinstance(reply.meaning, Failure)
    assert (reply.meaning.kind, reply.meaning.raises) == (Kind.UNSENT, SecretUnavailable)
    assert reply.meaning.message == (f"client_secret_file {tmp_path / 'client'}: does not exist")


def write_secret(file: Path, secret: str) -> None:
    """Write it so that others can't read it: here, as an async test may not touch the disk."""
    file.touch(mode=0o600)
    file.write_text(secret)


async def test_each_request_has_a_connection_of_its_own(endpoint: Endpoint) -> None:
    ports: list[int] = []

    def answer(connection: socket.socket, _: bytes) -> None:
        ports.append(connection.getpeername()[1])
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(GRANTED) + GRANTED
        )
        connection.recv(1)  # the client is the one that closes

    with raw_server(answer) as server:
        for _ in range(3):
            assert kind_of(await refresh(endpoint, server.url)) is None

    assert len(set(ports)) == 3


async def test_a_request_is_never_sent_twice(endpoint: Endpoint) -> None:
    with raw_server(lambda connection, _: connection.close()) as server:
        await refresh(endpoint, server.url)

    assert len(server.requests) == 1


# What the answers mean


async def test_a_login_and_its_refresh_are_granted(endpoint: Endpoint) -> None:
    with running_emulator() as emulator:
        before = clock.boot()
        reply = await log_in(endpoint, emulator.url)

        assert isinstance(reply.meaning, Grant)
        assert reply.meaning.lifetime == 3600
        assert reply.meaning.refresh_token is not None
        assert before <= reply.sent <= clock.boot()
        token = reply.meaning.refresh_token
        again = await endpoint.request(order(profile(emulator.url), Refresh(token)))
        assert isinstance(again.meaning, Grant)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("reset", Kind.UNCERTAIN),
        ("lost-answer", Kind.UNCERTAIN),
        ("half-answer", Kind.UNCERTAIN),
        ("error-500", Kind.UNCERTAIN),
        ("error-502", Kind.UNCERTAIN),
        ("error-503", Kind.TRANSIENT),
        ("error-504", Kind.UNCERTAIN),
        ("429", Kind.TRANSIENT),
        ("503", Kind.TRANSIENT),
        ("404", Kind.TRANSIENT),
        ("html", Kind.UNCERTAIN),
        ("redirect", Kind.TRANSIENT),
        ("unclear=400", Kind.UNCLEAR),
        ("unclear=401", Kind.UNCLEAR),
        ("unclear=403", Kind.UNCLEAR),
        ("rubbish=not-json", Kind.UNCERTAIN),
        ("rubbish=list", Kind.UNCERTAIN),
        ("rubbish=no-token", Kind.UNCERTAIN),
        ("rubbish=null-token", Kind.UNCERTAIN),
        ("rubbish=number-token", Kind.UNCERTAIN),
        ("rubbish=crlf-token", Kind.UNCERTAIN),
        ("rubbish=nested", Kind.UNCERTAIN),
        ("rubbish=huge", Kind.UNCERTAIN),
        ("invalid_client", Kind.CLIENT_REJECTED),
        ("invalid_client=401", Kind.CLIENT_REJECTED),
        ("unauthorized_client", Kind.CLIENT_REJECTED),
        ("unsupported_grant_type", Kind.CLIENT_REJECTED),
        ("invalid_scope", Kind.CLIENT_REJECTED),
        ("invalid_grant", Kind.GRANT_REJECTED),
        ("invalid_grant=403", Kind.GRANT_REJECTED),
        ("invalid_request", Kind.GRANT_REJECTED),
        ("server_error", Kind.UNCERTAIN),
        ("temporarily_unavailable", Kind.TRANSIENT),
        ("slow_down", Kind.TRANSIENT),
        ("expires-in=0", Kind.UNCERTAIN),
        ("expires-in=-1", Kind.UNCERTAIN),
        ("expires-in=absent", None),
        ('expires-in="60"', None),
        ("expires-in=1e12", None),
    ],
)
async def test_each_answer_has_its_meaning(
    fault: str, kind: Kind | None, endpoint: Endpoint
) -> None:
    with running_emulator(fault) as emulator:
        assert kind_of(await log_in(endpoint, emulator.url)) is kind


async def test_an_answer_that_came_while_this_process_stood_still_is_read(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it goes on, the request's time is over, and a long answer takes more than one turn."""
    monkeypatch.setattr(endpoint_module, "REQUEST_TIMEOUT", SHORT)
    monkeypatch.setattr(endpoint_module, "LATE", SHORT)
    server_answered = threading.Event()

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(response("200 OK", GRANTED + b" " * 60_000))
        server_answered.set()

    async def stand_still() -> None:
        await arrived(server, 1)
        assert server_answered.wait(20)
        time.sleep(3 * SHORT)  # noqa: ASYNC251 -- the loop is to stand still, as after SIGSTOP

    with raw_server(answer) as server:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stand_still)
            reply = await refresh(endpoint, server.url)
            assert isinstance(reply.meaning, Grant)


@pytest.mark.parametrize("fault", ["hang", "stall-header", "stall-body"])
async def test_a_server_that_stalls_is_given_up_after_the_limit(
    fault: str, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "REQUEST_TIMEOUT", SHORT)
    with running_emulator(f"{fault}@*") as emulator:
        before = clock.boot()
        reply = await refresh(endpoint, emulator.url)

    assert kind_of(reply) is Kind.UNCERTAIN
    assert SHORT <= clock.boot() - before < 10


async def test_a_server_that_sends_a_byte_now_and_then_is_given_up_after_the_limit(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "REQUEST_TIMEOUT", SHORT)
    ended = threading.Event()

    def trickle(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not ended.wait(0.05):
            connection.sendall(b" ")

    with raw_server(trickle) as server:
        reply = await refresh(endpoint, server.url)
        ended.set()

    assert kind_of(reply) is Kind.UNCERTAIN
    assert "no answer within" in message_of(reply)


async def test_retry_after_is_given_on(endpoint: Endpoint) -> None:
    with running_emulator("503=120") as emulator:
        assert (await log_in(endpoint, emulator.url)).retry_after == 120


async def test_a_redirect_is_never_followed(endpoint: Endpoint) -> None:
    with raw_server(sending(response("200 OK", GRANTED))) as elsewhere:
        location = f"Location: {elsewhere.url}/connect/token"
        for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"):
            with raw_server(sending(response(status, b"", location))) as server:
                reply = await log_in(endpoint, server.url)
            assert kind_of(reply) is Kind.TRANSIENT

        assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("size", "kind"), [(64 * 1024, None), (64 * 1024 + 1, Kind.UNCERTAIN), (10**8, Kind.UNCERTAIN)]
)
async def test_a_body_over_64_kib_is_not_taken(
    size: int, kind: Kind | None, endpoint: Endpoint
) -> None:
    def answer(connection: socket.socket, _: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode()
        connection.sendall(head + GRANTED)
        left = size - len(GRANTED)
        while left:
            left -= connection.send(b" " * min(left, 65536))

    with raw_server(answer) as server:
        assert kind_of(await log_in(endpoint, server.url)) is kind


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", Kind.UNCERTAIN),
        (b"\x16\x03\x01rubbish\r\n\r\n", Kind.UNCERTAIN),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", Kind.UNCERTAIN),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Kind.UNCERTAIN),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000, Kind.UNCERTAIN),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Kind.UNCERTAIN),
        (response("400 Bad Request", b"<html>"), Kind.UNCLEAR),
        (response("400 Bad Request", b'{"error": "invalid_grant"}'), Kind.GRANT_REJECTED),
        (response("401 Unauthorized", b'{"error": 7}'), Kind.UNCLEAR),
        (response("408 Timeout"), Kind.TRANSIENT),
        (response("418 Teapot"), Kind.UNCLEAR),
        (response("599 Odd"), Kind.UNCERTAIN),
        (response("204 No Content"), Kind.UNCERTAIN),
        (response("201 Created", GRANTED), None),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else str(value),
)
async def test_odd_bytes_have_their_meaning(
    answer: bytes, kind: Kind | None, endpoint: Endpoint
) -> None:
    with raw_server(sending(answer)) as server:
        assert kind_of(await log_in(endpoint, server.url)) is kind


async def test_a_server_that_is_not_there_was_surely_not_reached(endpoint: Endpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    reply = await log_in(endpoint, f"http://127.0.0.1:{port}")

    assert kind_of(reply) is Kind.UNSENT
    assert message_of(reply) == (
        "the token server can't be reached: Connection refused"
        " (check environment, id_server or token_url, and the network; behind a proxy: HTTPS_PROXY of the"
        " daemon)"
    )


@pytest.mark.parametrize(
    "url", ["https://x.invalid", "https://" + "x" * 300, "https://\xff.example"]
)
async def test_a_name_that_leads_nowhere_was_surely_not_reached(
    url: str, endpoint: Endpoint
) -> None:
    assert kind_of(await log_in(endpoint, url)) is Kind.UNSENT


async def test_no_failure_tells_the_password_or_the_token(endpoint: Endpoint) -> None:
    def echo(connection: socket.socket, request: bytes) -> None:
        body = b'{"error": "invalid_grant", "error_description": "%s"}' % request[-60:]
        connection.sendall(response("400 Bad Request", body))

    with raw_server(echo) as server:
        told = repr(await log_in(endpoint, server.url)) + repr(await refresh(endpoint, server.url))

    assert "horse" not in told
    assert "r1" not in told


# TLS, proxies


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\0\xff"])
async def test_a_bad_ca_file_is_said_and_nothing_is_sent(
    content: bytes | None, tmp_path: Path, endpoint: Endpoint
) -> None:
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_bytes(content)

    reply = await log_in(endpoint, "https://127.0.0.1:9", ca_file=str(ca_file))

    assert kind_of(reply) is Kind.UNSENT
    reason = "does not exist" if content is None else "has no certificate in it"
    assert f"ca_file {ca_file}: {reason} (" in message_of(reply)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_plain_http_to_loopback_never_goes_over_a_proxy(
    variable: str, monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint
) -> None:
    with raw_server(sending(response("200 OK", GRANTED))) as proxy, running_emulator() as emulator:
        monkeypatch.setenv(variable, proxy.url)

        assert isinstance((await log_in(endpoint, emulator.url)).meaning, Grant)
        assert proxy.requests == []


@pytest.mark.parametrize("place", [b"[2001:db8::1]:8443", b"ids.example.org:443"])
async def test_a_proxy_is_told_the_place_and_the_password_that_it_wants(
    place: bytes, monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with raw_server(sending(response("403 Forbidden"))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//me:p%40ss@"))

        await log_in(endpoint, f"https://{place.decode()}".removesuffix(":443"))

    first, *lines = proxy.requests[0].split(b"\r\n")
    assert first == b"CONNECT %s HTTP/1.1" % place
    assert b"proxy-authorization: basic bwu6cebzcw==" in [line.lower() for line in lines]


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:9", "http://", "http://[", "127.0.0.1:port"])
async def test_a_proxy_that_cannot_be_used_is_said_and_not_gone_round(
    url: str, monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)

    reply = await log_in(endpoint, "https://ids.example.org")

    assert kind_of(reply) is Kind.UNSENT
    assert "the proxy's URL is invalid (check HTTPS_PROXY" in message_of(reply)


# Turns, and who may cancel what


class Held:
    """A server that answers a request only when it is told so."""

    def __init__(self) -> None:
        self.release = threading.Semaphore(0)

    def __call__(self, connection: socket.socket, _: bytes) -> None:
        if self.release.acquire(timeout=20):
            connection.sendall(response("200 OK", GRANTED))


async def arrived(server: RawServer, count: int) -> None:
    for _ in range(count):
        assert await to_thread.run_sync(server.arrived.acquire, True, 20)  # noqa: FBT003 -- acquire(blocking, timeout)


async def ask(endpoint: Endpoint, server: RawServer, name: str, deadline: float) -> None:
    request = Refresh(Secret(name))
    await endpoint.request(order(profile(server.url), request, deadline))


def names(server: RawServer) -> list[str]:
    """Return the refresh tokens of all requests, in the order in which they came."""
    return [body.split(b"refresh_token=")[1].split(b"&")[0].decode() for body in server.requests]


async def test_at_most_16_requests_are_under_way_and_the_soonest_deadline_goes_first(
    endpoint: Endpoint,
) -> None:
    held = Held()
    with raw_server(held) as server, anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for number in range(MAX_REQUESTS):
                tasks.start_soon(ask, endpoint, server, f"first-{number}", 1000.0)
            await arrived(server, MAX_REQUESTS)
            for name, deadline in (("late", 300.0), ("soon", 100.0), ("middle", 200.0)):
                tasks.start_soon(ask, endpoint, server, name, deadline)
            await anyio.wait_all_tasks_blocked()
            assert len(server.requests) == MAX_REQUESTS

            for _ in range(3):
                held.release.release()
                await arrived(server, 1)
            held.release.release(MAX_REQUESTS)

    assert names(server)[MAX_REQUESTS:] == ["soon", "middle", "late"]


async def test_another_server_has_16_turns_of_its_own(endpoint: Endpoint) -> None:
    held = Held()
    with raw_server(held) as server, running_emulator() as other, anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for number in range(MAX_REQUESTS + 1):
                tasks.start_soon(ask, endpoint, server, str(number), 0.0)
            await arrived(server, MAX_REQUESTS)

            assert isinstance((await log_in(endpoint, other.url)).meaning, Grant)

            held.release.release(MAX_REQUESTS + 1)


async def test_a_request_that_was_sent_is_not_cancelled_with_its_tasks(
    endpoint: Endpoint,
) -> None:
    with running_emulator("slow=0.5@login:1") as emulator:
        replies: list[Reply] = []

        async def request() -> None:
            replies.append(await log_in_shielded(endpoint, emulator))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(request)
            await to_thread.run_sync(await_that, lambda: emulator.state().login_requests == 1)
            tasks.cancel_scope.cancel()

        assert [type(reply.meaning) for reply in replies] == [Grant]
        assert emulator.state().logins == 1


async def log_in_shielded(endpoint: Endpoint, emulator: RunningEmulator) -> Reply:
    return await endpoint.request(order(profile(emulator.url), Login()))


async def test_a_request_that_waits_for_its_turn_is_cancelled_and_takes_none(
    endpoint: Endpoint,
) -> None:
    held = Held()
    with raw_server(held) as server, anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for number in range(MAX_REQUESTS):
                tasks.start_soon(ask, endpoint, server, str(number), 0.0)
            await arrived(server, MAX_REQUESTS)
            async with anyio.create_task_group() as cancelled:
                cancelled.start_soon(ask, endpoint, server, "never", 0.0)
                await anyio.wait_all_tasks_blocked()
                cancelled.cancel_scope.cancel()
            tasks.start_soon(ask, endpoint, server, "next", 1.0)
            await anyio.wait_all_tasks_blocked()

            held.release.release()

            await arrived(server, 1)
            held.release.release(MAX_REQUESTS)
    assert names(server)[-1] == "next"


async def test_abandoning_ends_what_is_under_way_as_uncertain(endpoint: Endpoint) -> None:
    with running_emulator("hang@*") as emulator:
        replies: list[Reply] = []

        async def request() -> None:
            replies.append(await log_in_shielded(endpoint, emulator))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(request)
                await to_thread.run_sync(await_that, lambda: emulator.state().login_requests == 1)
                endpoint.abandon()

    assert [kind_of(reply) for reply in replies] == [Kind.UNCERTAIN]


async def test_a_revocation_is_best_effort_and_never_raises(endpoint: Endpoint) -> None:
    with running_emulator() as emulator:
        reply = await log_in(endpoint, emulator.url)
        assert isinstance(reply.meaning, Grant)
        assert reply.meaning.refresh_token is not None

        await endpoint.revoke(profile(emulator.url), reply.meaning.refresh_token)

        assert emulator.state().revocations == 1
    await endpoint.revoke(profile(emulator.url), reply.meaning.refresh_token)
    await endpoint.revoke(profile("https://127.0.0.1:9", "/nonexistent"), Secret("r1"))


# A fleet's claims


async def test_a_request_asks_for_its_claim_once_its_turn_is_there(endpoint: Endpoint) -> None:
    claims: list[int] = []

    async def claim() -> float:
        claims.append(len(server.requests))
        await checkpoint()
        return clock.boot() + 10.0

    with raw_server(sending(response("200 OK", GRANTED))) as server:
        asked = replace(order(profile(server.url), Refresh(Secret("r1"))), claim=claim)
        reply = await endpoint.request(asked)

    assert kind_of(reply) is None
    assert (claims, len(server.requests)) == ([0], 1)


async def test_nothing_goes_out_after_its_claims_moment(endpoint: Endpoint) -> None:
    async def claim() -> float:
        await checkpoint()
        return clock.boot() - 0.001  # the process stood still since

    with raw_server(sending(response("200 OK", GRANTED))) as server:
        asked = replace(order(profile(server.url), Refresh(Secret("r1"))), claim=claim)
        reply = await endpoint.request(asked)

    assert kind_of(reply) is Kind.UNSENT
    assert "too late for it" in message_of(reply)
    assert b"".join(server.requests) == b""


async def test_nothing_goes_out_that_became_void_while_it_was_connected(endpoint: Endpoint) -> None:
    asked_for: list[str] = []

    def is_void() -> bool:
        asked_for.append("")
        return len(asked_for) > 1  # but when its turn came it was wanted

    with raw_server(sending(response("200 OK", GRANTED))) as server:
        refresh_order = order(profile(server.url), Refresh(Secret("r1")))
        reply = await endpoint.request(replace(refresh_order, is_void=is_void))

    assert kind_of(reply) is Kind.UNSENT
    assert b"".join(server.requests) == b""


async def test_a_request_without_a_claim_is_not_sent(endpoint: Endpoint) -> None:
    failed = Failed(1, Kind.UNSENT, not_needed(clock.boot()))

    async def claim() -> float:
        await checkpoint()
        raise NotClaimed(failed)

    with raw_server(sending(response("200 OK", GRANTED))) as server:
        asked = replace(order(profile(server.url), Refresh(Secret("r1"))), claim=claim)
        with pytest.raises(NotClaimed):
            await endpoint.request(asked)

    assert server.requests == []
