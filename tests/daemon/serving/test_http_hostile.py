"""HTTP that means harm, or isn't HTTP: 400 or a closed connection, and nobody else notices."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemons import RunningDaemon, needs_root, profile
from emulators import RunningEmulator, one_emulator
from fuzz.http import HttpAttack
from http_wire import HttpAnswer, HttpWire, http_daemon, http_request, wire_of
from inside import daemon_inside
from openfit_tokend.serving import prepared
from openfit_tokend.serving.http.request import (
    MAX_BODY,
    MAX_FIELDS,
    MAX_HEAD,
    Malformed,
    Reader,
    Request,
)

pytestmark = pytest.mark.system

CROWD = 2000
GROWTH = 30 * 2**20
"""Bytes that the daemon may grow beside a crowd."""


emulator = pytest.fixture(one_emulator, scope="module")


@pytest.fixture(scope="module")
def daemon(emulator: RunningEmulator) -> Iterator[RunningDaemon]:
    with http_daemon(profile(emulator.url)) as daemon:
        daemon.await_state("fresh")
        yield daemon


def head(*lines: str) -> bytes:
    return "\r\n".join(("GET /v1/auth HTTP/1.1", "Host: a", *lines, "", "")).encode("latin-1")


NOT_HTTP = {
    "bare_lf": b"GET /v1/auth HTTP/1.1\nHost: a\n\n",
    "one_bare_lf": b"GET /v1/auth HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "bare_cr": b"GET /v1/auth HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
    "nul_in_target": b"GET /v1/\x00auth HTTP/1.1\r\nHost: a\r\n\r\n",
    "nul_in_field": head("X: a\x00b"),
    "http_0_9": b"GET /v1/auth\r\n\r\n",
    "http_2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http_3_0": b"GET /v1/auth HTTP/3.0\r\nHost: a\r\n\r\n",
    "no_version": b"GET /v1/auth HTTP/\r\nHost: a\r\n\r\n",
    "empty_lines": b"\r\n\r\n\r\n\r\n",
    "no_host": b"GET /v1/auth HTTP/1.1\r\n\r\n",
    "two_hosts": head("Host: b"),
    "space_before_colon": head("X-OpenFit-Refused : 1"),
    "space_in_name": head("X OpenFit: 1"),
    "field_without_colon": head("nothing"),
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "message_pack": b"\x94\x00\x01\xa9get_token\x90",
    "noise": bytes(range(256)),
    "two_lengths": head("Content-Length: 1", "Content-Length: 2"),
    "length_and_chunked": head("Content-Length: 5", "Transfer-Encoding: chunked"),
    "chunked_in_1_0": b"POST /v1/auth HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown_coding": head("Transfer-Encoding: gzip, chunked"),
    "two_codings": head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "length_plus": head("Content-Length: +1"),
    "length_minus": head("Content-Length: -1"),
    "length_hex": head("Content-Length: 0x1"),
    "length_huge": head("Content-Length: " + "9" * 5000),
    "length_too_large": head(f"Content-Length: {MAX_BODY + 1}"),
    "chunk_huge": head("Transfer-Encoding: chunked") + b"f" * 21 + b"\r\n",
    "chunk_rubbish": head("Transfer-Encoding: chunked") + b"zz\r\n",
    "chunk_end_wrong": head("Transfer-Encoding: chunked") + b"1\r\naXX0\r\n\r\n",
    "chunks_too_many": head("Transfer-Encoding: chunked") + b"1\r\na\r\n" * (MAX_BODY + 1),
    "head_huge": head(*(f"X-{n}: {'x' * 1000}" for n in range(20))),
    "fields_too_many": head("Content-Length: 0", *["a:"] * MAX_FIELDS),
    "target_huge": b"GET /" + b"x" * MAX_HEAD + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "line_endless": b"G" * (2 * MAX_HEAD),
    "refused_twice": head("X-OpenFit-Refused: 1", "X-OpenFit-Refused: 2"),
    "target_no_url": b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n",
    "expects_too_much": head("Expect: 100-continue", "Content-Length: 100000"),
}


@pytest.mark.parametrize("name", NOT_HTTP)
def test_what_is_no_request_is_refused_and_the_connection_closed(
    daemon: RunningDaemon, name: str
) -> None:
    with wire_of(daemon) as wire:
        with suppress(BrokenPipeError, ConnectionResetError):  # it needn't be read to the end
            wire.send(NOT_HTTP[name] + http_request("GET", "/v1/auth"))

        answer = wire.answer()
        assert 400 <= answer.status <= 505, answer
        assert answer.status != 404
        assert answer.fields["connection"] == "close"
        assert answer.json["code"] == "BAD_REQUEST"
        assert wire.is_closed()


@pytest.mark.parametrize("name", NOT_HTTP)
def test_it_is_refused_however_it_is_cut(name: str) -> None:
    data = NOT_HTTP[name]
    for size in (1, 2, 7, 100):
        reader = Reader()
        with pytest.raises(Malformed):  # noqa: PT012 -- at one of the parts
            for start in range(0, len(data), size):
                reader.feed(data[start : start + size])
                assert reader.next() is None
            reader.feed(http_request("GET", "/v1/auth"))
            reader.next()


@given(st.lists(st.integers(0, 400), max_size=8))
def test_a_request_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    data = (
        http_request("GET", "/v1/token?profile=a")
        + http_request("POST", "/v1/refuse?id=1", "X-OpenFit-Refused: 7", body=b"x" * 50)
        + head("Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n"
        + http_request("HEAD", "/healthz", "Connection: close")
    )  # fmt: skip
    reader, whole = Reader(), Reader()
    whole.feed(data)
    expected = [whole.next() for _ in range(4)]
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})

    found: list[Request] = []
    for start, end in pairwise(places):
        reader.feed(data[start:end])
        while (request := reader.next()) is not None:
            found.append(request)
    assert found == expected
    assert reader.is_empty
    assert [each.keeps for each in found] == [True, True, True, False]


@settings(max_examples=3 * settings().max_examples)
@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from(sorted(NOT_HTTP.values()))), max_size=4
    )
)
def test_bytes_of_any_kind_raise_nothing_but_malformed(parts: list[bytes]) -> None:
    reader = Reader()
    with suppress(Malformed):
        for part in parts:
            reader.feed(part)
            while reader.next() is not None:
                pass


def test_a_client_that_waits_to_be_told_is_told_to_send_its_body(daemon: RunningDaemon) -> None:
    with wire_of(daemon) as wire:
        wire.send(
            b"PUT /v1/auth HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        assert wire.socket.recv(100).startswith(b"HTTP/1.1 100 ")
        wire.send(b"abc")
        assert wire.answer().status == 200


def test_a_request_that_doesnt_come_whole_is_ended(
    emulator: RunningEmulator,
) -> None:
    soon = "import openfit_tokend.serving.http.dialect as dialect; dialect.REQUEST_TIME = 0.5"
    with http_daemon(profile(emulator.url), first=soon) as daemon, ExitStack() as stack:
        slow = [stack.enter_context(wire_of(daemon)) for _ in range(3)]
        slow[0].send(b"GET /v1/auth HTTP/1.1\r\nHo")
        slow[1].send(head("Content-Length: 3"))
        slow[2].send(http_request("GET", "/healthz") + b"GET ")
        assert slow[2].answer().status == 200
        for wire in slow:
            answer = wire.answer()
            assert (answer.status, answer.fields["connection"]) == (408, "close")
            assert wire.is_closed()


def test_a_request_that_comes_in_two_pieces_is_all_that_its_client_is_answered(
    emulator: RunningEmulator,
) -> None:
    soon = "import openfit_tokend.serving.http.dialect as dialect; dialect.REQUEST_TIME = 0.5"
    request = http_request("GET", "/v1/auth")
    with http_daemon(profile(emulator.url), first=soon) as daemon, ExitStack() as stack:
        daemon.await_state("fresh")
        ours, slow = (stack.enter_context(wire_of(daemon)) for _ in range(2))
        for piece in (
            request + request[:9],
            request[9:],
        ):  # one that is remembered, and the same in two
            ours.send(piece)
            assert ours.answer().status == 200

        slow.send(request[:9])

        assert slow.answer().status == 408  # so the time of ours would be over too
        assert ours.ask("GET", "/v1/auth").status == 200


def test_a_crowd_of_slow_clients_takes_little_memory(daemon: RunningDaemon) -> None:
    before = daemon.memory()
    with ExitStack() as stack:
        for number in range(CROWD):
            wire = stack.enter_context(wire_of(daemon))
            wire.send(head("X: " + "x" * 1000)[: 200 + number % 800])

        with wire_of(daemon) as ours:
            assert ours.ask("GET", "/v1/auth").status == 200
        assert daemon.call("get_token")["profile"] == "main"
        assert daemon.memory() - before < GROWTH


def test_a_request_that_isnt_whole_takes_64_kib_at_most(emulator: RunningEmulator) -> None:
    """As many fields as may be, as long as they may be, and a trailer that doesn't end."""
    most, value = 200, "v" * (MAX_HEAD // MAX_FIELDS - 12)
    fields = [f"X{n:03}: {value}" for n in range(MAX_FIELDS - 3)]
    begun = head("Transfer-Encoding: chunked", "Expect: 100-continue", *fields)
    with http_daemon(profile(emulator.url)) as daemon, ExitStack() as stack:
        daemon.await_state("fresh")
        before = daemon.memory()
        for _ in range(most):
            wire = stack.enter_context(wire_of(daemon))
            wire.send(begun)
            assert wire.socket.recv(100).startswith(b"HTTP/1.1 100 ")
            wire.send(b"0\r\na: " + b"b" * 16_000)

        with wire_of(daemon) as ours:
            assert ours.ask("GET", "/v1/auth").status == 200
        assert daemon.memory() - before < most * 64 * 1024


def test_a_request_may_have_a_hundred_fields_and_no_more(daemon: RunningDaemon) -> None:
    for fields, status in ((100, 200), (101, 431)):
        with wire_of(daemon) as wire:
            wire.send(head(*["a:"] * (fields - 1)))
            assert wire.answer().status == status


def test_an_answer_that_isnt_read_stops_the_reading(daemon: RunningDaemon) -> None:
    with wire_of(daemon) as wire:
        wire.socket.settimeout(1)
        with pytest.raises(TimeoutError):  # noqa: PT012 -- some time
            while True:
                wire.send(http_request("GET", "/v1/status") * 50)
        before = daemon.memory()
        assert daemon.call("hello")["name"] == "openfit-tokend"
        assert daemon.memory() - before < GROWTH


def test_the_end_in_the_middle_of_a_request_closes_the_connection(daemon: RunningDaemon) -> None:
    for part in (b"GET /v1/au", head("Content-Length: 3") + b"a"):
        with wire_of(daemon) as wire:
            wire.send(part)
            wire.socket.shutdown(socket.SHUT_WR)
            assert wire.is_closed()


async def test_only_requests_without_fields_of_others_are_remembered(
    emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may pass on what its caller sent: passwords, cookies."""
    monkeypatch.setattr(prepared, "FRESH", 60.0)
    async with daemon_inside(tmp_path, profile(emulator.url), http=True) as daemon:
        _, http = daemon.daemon._faces._by_dialect  # pyright: ignore[reportPrivateUsage] -- no other way tells
        async with daemon.client() as tokens:
            await tokens.get_token()
            named = daemon.newest_connection
            for field, known in (("Accept: */*", True), ("Cookie: id=1", False)):
                asked = http_request("GET", "/v1/auth", field)
                for _ in range(2):
                    answered = await anyio.to_thread.run_sync(
                        _asked, tmp_path / "run" / "http", asked
                    )
                    assert answered.status == 200
                assert (http.prepared(asked, named) is not None) is known


def _asked(path: Path, request: bytes) -> HttpAnswer:
    with HttpWire(path) as wire:
        wire.send(request)
        return wire.answer()


def test_who_has_too_many_connections_is_told_503(emulator: RunningEmulator) -> None:
    few = "import openfit_tokend.serving.users as users; users.MAX_CONNECTIONS_ROOT = users.MAX_CONNECTIONS = 4"
    with http_daemon(profile(emulator.url), first=few) as daemon, ExitStack() as stack:
        for _ in range(4):
            assert stack.enter_context(wire_of(daemon)).ask("GET", "/healthz").status == 200

        with wire_of(daemon) as wire:
            answered = wire.answer()
            assert (answered.status, answered.json["code"]) == (503, "OVERLOADED")
            assert wire.is_closed()


@needs_root
def test_ten_thousand_mutated_requests_leave_it_as_it_was(emulator: RunningEmulator) -> None:
    """`python -m fuzz --http` sends millions."""
    with http_daemon(profile(emulator.url), mode="0666") as daemon:
        daemon.directory.chmod(0o711)
        attack = HttpAttack(daemon, seed=7)

        attack.run(10_000)

        attack.judge()
