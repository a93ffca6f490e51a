"""The wire as docs/protocol.md has it: methods, shapes, errors, bad input. A real daemon, raw sockets."""

import math
import os
import socket
from collections.abc import Iterator
from hashlib import sha256

import pytest

from daemons import (
    Fields,
    RunningDaemon,
    Wire,
    pack,
    prepared_daemon,
    profile,
    request,
    running_daemon,
)
from emulators import RunningEmulator, one_emulator
from openfit_token import __version__
from openfit_token._shared.protocol import MAX_REQUEST
from openfit_token.errors import MinTtl, NoSuchProfile
from openfit_tokend.host import clock

pytestmark = pytest.mark.system

EMPTY = list[object]()
FIELDS = dict[str, object]()

TOKEN = {
    "profile": str,
    "access_token": str,
    "token_type": str,
    "id": str,
    "scope": str,
    "api_url": str,
    "obtained_at": float,
    "expires_at": float,
    "expires_in": float,
    "refresh_at": float,
    "degraded": type(None),
}


def shape(fields: Fields) -> dict[str, type]:
    return {name: type(value) for name, value in fields.items()}


emulator = pytest.fixture(one_emulator, scope="module")


@pytest.fixture(scope="module")
def daemon(emulator: RunningEmulator) -> Iterator[RunningDaemon]:
    """A daemon whose token lives for an hour, for tests that do it no harm."""
    with running_daemon(profile(emulator.url)) as daemon:
        daemon.await_state("fresh")
        yield daemon


@pytest.fixture
def wire(daemon: RunningDaemon) -> Iterator[Wire]:
    with daemon.wire() as wire:
        yield wire
    assert daemon.call("hello")["name"] == "openfit-tokend", "whatever a client sends"


# The answers


def test_hello_tells_who_answers(daemon: RunningDaemon) -> None:
    answer = daemon.call("hello")

    assert answer.pop("uptime") > 0
    assert answer == {
        "name": "openfit-tokend",
        "version": __version__,
        "protocol": 1,
        "pid": daemon.pid,
        "profiles": ["main"],
    }


def test_a_token_has_exactly_the_fields_of_the_protocol(
    daemon: RunningDaemon, emulator: RunningEmulator
) -> None:
    now = clock.wall()

    token = daemon.call("get_token")

    assert shape(token) == TOKEN
    assert (token["profile"], token["token_type"]) == ("main", "Bearer")
    assert token["api_url"] == f"{emulator.url}/api"
    assert 3500 < token["expires_in"] < 3600
    assert token["expires_at"] == pytest.approx(now + token["expires_in"], abs=30)
    assert token["obtained_at"] < token["refresh_at"] < token["expires_at"]


def test_the_id_is_sixteen_digits_of_the_tokens_hash(daemon: RunningDaemon) -> None:
    token = daemon.call("get_token")

    assert token["id"] == sha256(token["access_token"].encode()).hexdigest()[:16]


def test_status_tells_all_of_a_profile(daemon: RunningDaemon, emulator: RunningEmulator) -> None:
    status = daemon.call("status")

    main = status["profiles"].pop("main")
    clients = status.pop("clients")
    assert shape(status) == {
        "v": int,
        "version": str,
        "pid": int,
        "started_at": float,
        "socket": str,
        "http_socket": type(None),
        "connections": int,
        "requests": int,
        "config_error": type(None),
        "profiles": dict,
    }
    assert clients[str(os.geteuid())].keys() == {"connections", "requests", "refused"}
    assert main.pop("counters").keys() == {
        "tokens",
        "logins",
        "refreshes",
        "rejected_refreshes",
        "uncertain",
        "failures",
        "served",
        "waiting",
    }
    assert main.pop("health") == {"condition": "well", "ready": True, "problems": []}
    assert shape(main) == {
        "state": str,
        "environment": str,
        "id_server": str,
        "api_url": str,
        "id": str,
        "obtained_at": float,
        "expires_at": float,
        "expires_in": float,
        "refresh_at": float,
        "session_began_at": float,
        "session_ends_at": float,
        "last_success_at": float,
        "degraded": type(None),
        "last_error": type(None),
        "logins_left": int,
        "login_possible_at": type(None),
        "username": str,
    }
    assert (main["state"], main["id_server"]) == ("fresh", emulator.url)
    assert main["session_ends_at"] - main["session_began_at"] == pytest.approx(30 * 86400)


def test_no_status_has_a_token_in_it(daemon: RunningDaemon) -> None:
    token = daemon.call("get_token")["access_token"]

    assert token not in repr(daemon.call("status"))


def test_a_refresh_within_ten_seconds_of_the_token_gives_that_token(
    emulator: RunningEmulator,
) -> None:
    with running_daemon(profile(emulator.url)) as daemon:
        token = daemon.call("get_token")

        assert daemon.call("refresh", wait=0)["id"] == token["id"]


def test_a_refused_token_that_is_not_the_current_one_is_answered_at_once(
    daemon: RunningDaemon,
) -> None:
    token = daemon.call("get_token")

    assert daemon.call("refuse", id="0" * 16, wait=0)["id"] == token["id"]


def test_reload_and_logout_answer_with_an_empty_map(emulator: RunningEmulator) -> None:
    with running_daemon(profile(emulator.url)) as daemon, daemon.wire() as wire:
        assert wire.call("reload").result == {}
        assert wire.call("logout").result == {}


def test_a_logout_that_cant_be_written_down_is_said_until_it_is(emulator: RunningEmulator) -> None:
    with prepared_daemon(profile(emulator.url)) as daemon:
        daemon.state.parent.write_text("a file, where a directory should be")
        daemon.start()
        with daemon.wire() as wire:
            for _ in range(2):
                error = wire.call("logout").error
                assert error is not None
                assert error["code"] == "INTERNAL"
                assert error["message"].startswith("main is logged out, but that can't be written")
            assert daemon.profile_status()["state"] == "logged_out"

            daemon.state.parent.unlink()

            assert wire.call("logout").result == {}
        daemon.kill()
        daemon.start()
        assert daemon.profile_status()["state"] == "logged_out"


def test_login_answers_with_a_new_token(emulator: RunningEmulator) -> None:
    with running_daemon(profile(emulator.url)) as daemon:
        old = daemon.call("get_token")

        new = daemon.call("login")

        assert shape(new) == TOKEN
        assert new["id"] != old["id"]


# Parameters


@pytest.mark.parametrize("method", ["get_token", "refresh", "refuse", "login", "status"])
def test_nil_parameters_are_absent_ones(method: str, wire: Wire) -> None:
    given: Fields = {"profile": None} | ({"wait": None} if method != "status" else {})
    if method == "refuse":
        given["id"] = "0" * 16

    assert wire.call(method, **given).error is None


@pytest.mark.parametrize(
    "method", ["hello", "get_token", "refresh", "refuse", "login", "logout", "reload", "status"]
)
def test_an_unknown_parameter_is_an_error_and_the_connection_stays(method: str, wire: Wire) -> None:
    answer = wire.call(method, proflie="main")

    assert answer.code == "BAD_REQUEST"
    assert "'proflie'" in str(answer.error)
    assert wire.call("hello").error is None


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("get_token", {"profile": 1}),
        ("get_token", {"profile": ["main"]}),
        ("get_token", {"wait": "1"}),
        ("get_token", {"wait": True}),
        ("get_token", {"wait": -1}),
        ("get_token", {"wait": 300.1}),
        ("get_token", {"wait": 2**63}),
        ("get_token", {"wait": math.nan}),
        ("get_token", {"wait": math.inf}),
        ("get_token", {"wait": {}}),
        ("get_token", {"min_ttl": False}),
        ("get_token", {"min_ttl": -0.1}),
        ("get_token", {"min_ttl": math.nan}),
        ("get_token", {"min_ttl": math.inf}),
        ("get_token", {"min_ttl": b"1"}),
        ("refresh", {"wait": 301}),
        ("refuse", {}),
        ("refuse", {"id": None}),
        ("refuse", {"id": 7}),
        ("refuse", {"id": "0", "wait": -1}),
        ("login", {"password": ""}),
        ("login", {"password": 7}),
        ("login", {"password": "x" * 101}),
        ("login", {"password": "x\n"}),
        ("login", {"wait": math.nan}),
        ("login", {"refresh_token": ""}),
        ("login", {"refresh_token": 7}),
        ("login", {"refresh_token": "x\n"}),
        ("login", {"refresh_token": "x" * 8193}),
        ("login", {"refresh_token": "x", "password": "x"}),
        ("logout", {"profile": False}),
        ("status", {"profile": 0}),
    ],
)
def test_a_wrong_parameter_is_an_error_and_the_connection_stays(
    method: str, params: Fields, wire: Wire
) -> None:
    answer = wire.call(method, **params)

    assert answer.code == "BAD_REQUEST"
    assert wire.call("hello").error is None


def test_an_error_has_exactly_the_fields_of_the_protocol(wire: Wire) -> None:
    assert wire.call("get_tokn").error == {
        "code": "NO_SUCH_METHOD",
        "message": "there is no method 'get_tokn'",
        "hint": "there are get_token, hello, login, logout, refresh, refuse, reload, status,"
        " subscribe",
        "retry_after": None,
    }


def test_the_hint_for_an_unknown_profile_lists_the_known_ones(wire: Wire) -> None:
    assert wire.call("get_token", profile="mian").error == {
        "code": "NO_SUCH_PROFILE",
        "message": "there is no profile 'mian'",
        "hint": "there are: main",
        "retry_after": None,
    }


def test_a_min_ttl_that_no_token_has_is_answered_at_once_and_sends_nothing(
    daemon: RunningDaemon, emulator: RunningEmulator
) -> None:
    before = emulator.state().token_requests

    with pytest.raises(MinTtl):
        daemon.call("get_token", min_ttl=3601, wait=0)
    with pytest.raises(MinTtl):
        daemon.call("get_token", min_ttl=2**64 - 1)

    assert emulator.state().token_requests == before


def test_a_min_ttl_that_the_token_has_is_answered_at_once(daemon: RunningDaemon) -> None:
    assert daemon.call("get_token", min_ttl=60, wait=0)["expires_in"] >= 60
    assert daemon.call("get_token", min_ttl=0, wait=0)["expires_in"] >= 0


def test_several_profiles_need_a_name_or_a_default(emulator: RunningEmulator) -> None:
    two = profile(emulator.url, "a"), profile(emulator.url, "b")
    with running_daemon(*two) as daemon:
        with pytest.raises(NoSuchProfile, match="there are several profiles"):
            daemon.call("get_token")
        assert daemon.call("get_token", profile="b")["profile"] == "b"
        assert list(daemon.call("status")["profiles"]) == ["a", "b"]
        assert list(daemon.call("status", profile="b")["profiles"]) == ["b"]

        daemon.write_config('default_profile = "a"', *two)
        daemon.call("reload")

        assert daemon.call("get_token")["profile"] == "a"


# Strings of old, pipelining, notifications


def test_the_old_strings_are_taken_for_methods_keys_and_values(wire: Wire) -> None:
    wire.send(pack([0, 1, b"get_token", [{b"profile": b"main"}]]))

    answer = wire.answer()

    assert answer.result is not None
    assert answer.result["profile"] == "main"


def test_requests_may_be_pipelined_and_are_matched_by_their_msgid(wire: Wire) -> None:
    msgids = [7, 0, 2**32 - 1, 300]

    wire.send(b"".join(request(msgid, "hello") for msgid in msgids))

    assert [wire.answer().msgid for _ in msgids] == msgids


def test_ten_thousand_requests_may_be_pipelined(wire: Wire) -> None:
    count = 10_000
    for _ in range(count // 100):
        wire.send(request(1, "get_token") * 100)
        assert all(wire.answer().error is None for _ in range(100))


def test_a_notification_is_ignored(wire: Wire) -> None:
    wire.send(pack([2, "get_token", EMPTY]) + pack([2, "nonsense", [1, 2, 3]]))

    assert wire.call("hello").error is None


@pytest.mark.parametrize("params", [EMPTY, [FIELDS]])
def test_params_are_empty_or_one_map(params: object, wire: Wire) -> None:
    wire.send(pack([0, 9, "get_token", params]))

    assert wire.answer().error is None


@pytest.mark.parametrize(
    "params",
    [None, {}, "main", [1], ["main"], [{}, {}], [None], [[]], 0],
)
def test_other_params_are_an_error_and_the_connection_stays(params: object, wire: Wire) -> None:
    wire.send(pack([0, 9, "get_token", params]))

    answer = wire.answer()

    assert (answer.msgid, answer.code) == (9, "BAD_REQUEST")
    assert wire.call("hello").error is None


def test_a_key_that_is_no_string_is_an_error_and_the_connection_stays(wire: Wire) -> None:
    wire.send(pack([0, 9, "get_token", [{1: "main"}]]))

    answer = wire.answer()

    assert (answer.msgid, answer.code) == (9, "BAD_REQUEST")
    assert wire.call("hello").error is None


# Rubbish


def test_a_request_may_be_cut_at_every_byte(wire: Wire) -> None:
    whole = request(5, "get_token", profile="main", wait=1.5)

    for cut in range(1, len(whole)):
        wire.send(whole[:cut])
        wire.send(whole[cut:])
        answer = wire.answer()
        assert (answer.msgid, answer.code) == (5, None)


def test_a_request_may_come_byte_by_byte(wire: Wire) -> None:
    for byte in request(5, "get_token", profile="main") * 2:
        wire.send(bytes([byte]))

    assert [wire.answer().msgid for _ in range(2)] == [5, 5]


@pytest.mark.parametrize(
    ("data", "msgid"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 0),
        (b"\xc1", 0),  # MessagePack never uses it
        (b"\x00", 0),
        (pack(None), 0),
        (pack("hello"), 0),
        (pack(FIELDS), 0),
        (pack(EMPTY), 0),
        (pack([0]), 0),
        (pack([0, 7]), 7),
        (pack([0, 7, "hello"]), 7),
        (pack([0, 7, "hello", EMPTY, EMPTY]), 7),
        (pack([0, 7, 8, EMPTY]), 7),
        (pack([0, 7, None, EMPTY]), 7),
        (pack([0, -1, "hello", EMPTY]), 0),
        (pack([0, 2**32, "hello", EMPTY]), 0),
        (pack([0, "7", "hello", EMPTY]), 0),
        (pack([0, True, "hello", EMPTY]), 0),
        (pack([0, 1.0, "hello", EMPTY]), 0),
        (pack([False, 7, "hello", EMPTY]), 0),
        (pack([1, 7, None, FIELDS]), 0),
        (pack([3, 7, "hello", EMPTY]), 0),
        (pack([2, "hello"]), 0),
        (b"\x94\x00\x07\xa5hello\xdd\xff\xff\xff\xff", 0),  # an array of four billion
        (b"\x94\x00\x07\xa5hello\x91\xdf\xff\xff\xff\xff", 0),  # a map of as many
        (b"\xdd\xff\xff\xff\xff", 0),
        (b"\x91" * 2000, 0),
        (pack([0, 7, "hello", [{"a": [EMPTY]}]]), 7),
        (pack([0, 7, "hello", [[[[EMPTY]]]]]), 7),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else str(value),
)
def test_what_is_no_request_is_answered_once_and_closed(
    data: bytes, msgid: int, wire: Wire
) -> None:
    wire.send(data)

    answer = wire.answer()

    assert (answer.msgid, answer.code) == (msgid, "BAD_REQUEST")
    assert wire.has_ended()


def test_what_was_asked_before_the_rubbish_is_answered(wire: Wire) -> None:
    wire.send(request(1, "hello") + request(2, "hello") + b"\xc1" + request(3, "hello"))

    answers = [wire.answer() for _ in range(3)]

    assert [(each.msgid, each.code) for each in answers] == [
        (1, None),
        (2, None),
        (0, "BAD_REQUEST"),
    ]
    assert wire.has_ended()


def padded(size: int) -> bytes:
    """Return a request of exactly this size, for a profile of a very long name."""
    bare = len(pack([0, 1, "get_token", [{"profile": "x" * 70_000}]])) - 70_000
    data = pack([0, 1, "get_token", [{"profile": "x" * (size - bare + 2)}]])
    return data if len(data) == size else pack([0, 1, "get_token", [{"profile": "x" * size}]])


def test_a_request_of_the_largest_size_is_answered(wire: Wire) -> None:
    data = padded(MAX_REQUEST)
    assert len(data) == MAX_REQUEST

    wire.send(data + request(2, "hello"))

    assert wire.answer().code == "NO_SUCH_PROFILE"
    assert wire.answer().code is None


def test_a_request_one_byte_larger_is_refused(wire: Wire) -> None:
    data = padded(MAX_REQUEST + 1)
    assert len(data) == MAX_REQUEST + 1

    wire.send(data)

    answer = wire.answer()
    assert (answer.code, "longer than 16384 bytes" in str(answer.error)) == ("BAD_REQUEST", True)
    assert wire.has_ended()


def test_a_request_without_end_is_refused_without_being_kept(
    wire: Wire, daemon: RunningDaemon
) -> None:
    before = daemon.memory()
    wire.send(b"\xc6\x40\x00\x00\x00")  # a gigabyte is announced

    flood = b"\0" * 2**26

    with pytest.raises(OSError, match=r"."):  # EPIPE, or ECONNRESET
        wire.send(flood)

    assert daemon.memory() - before < 4 * 2**20


# Greedy and silent clients


def test_a_half_closed_connection_still_gets_its_answers(wire: Wire) -> None:
    wire.send(request(1, "hello") * 200)
    wire.socket.shutdown(socket.SHUT_WR)

    assert [wire.answer().msgid for _ in range(200)] == [1] * 200
    assert wire.has_ended()
