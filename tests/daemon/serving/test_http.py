"""The HTTP face, as its clients meet it: a real daemon, real sockets."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import cast

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics import parser

from daemons import (
    NOBODY,
    PREPARED_FOR_LONG,
    UNPACED,
    RunningDaemon,
    await_that,
    needs_root,
    prepared_daemon,
    profile,
    running_daemon,
)
from emulators import RunningEmulator, one_emulator, running_emulator
from http_wire import HttpWire, http_daemon, http_request, place, wire_of
from openfit_tokend.host import clock
from openfit_tokend.serving.http.dialect import MAX_KNOWN_SIZE
from openfit_tokend.serving.prepared import LOOKS
from users import being

pytestmark = pytest.mark.system

NO_ID = "0" * 16
"""The id of no token."""


emulator = pytest.fixture(one_emulator, scope="module")


@pytest.fixture(scope="module")
def daemon(emulator: RunningEmulator) -> Iterator[RunningDaemon]:
    with http_daemon(profile(emulator.url)) as daemon:
        daemon.await_state("fresh")
        yield daemon


@pytest.fixture
def wire(daemon: RunningDaemon) -> Iterator[HttpWire]:
    with wire_of(daemon) as wire:
        yield wire


# Tokens


def test_the_token_is_that_of_the_other_socket(daemon: RunningDaemon, wire: HttpWire) -> None:
    answer = wire.ask("GET", "/v1/token?profile=main")

    given, expected = answer.json, daemon.call("get_token")
    left = given.pop("expires_in")
    assert left == pytest.approx(expected.pop("expires_in"), abs=30)
    for name in ("obtained_at", "expires_at", "refresh_at"):
        assert given.pop(name) == pytest.approx(expected.pop(name), abs=1)
    assert (answer.status, given) == (200, expected)
    assert answer.fields["content-type"] == "application/json"


def test_no_answer_may_be_cached(wire: HttpWire) -> None:
    for method, target in (("GET", "/v1/token"), ("GET", "/v1/auth"), ("GET", "/v1/nothing")):
        assert wire.ask(method, target).fields["cache-control"] == "no-store"


def test_each_answer_has_the_date(wire: HttpWire) -> None:
    for target in ("/v1/token", "/v1/token", "/healthz"):  # the second is a prepared one
        date = parsedate_to_datetime(wire.ask("GET", target).fields["date"]).timestamp()
        assert date == pytest.approx(clock.wall(), abs=5)


def test_the_seconds_left_get_fewer_in_prepared_answers_too(wire: HttpWire) -> None:
    left = [wire.ask("GET", "/v1/token").json["expires_in"] for _ in range(20)]

    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PURGE"])
def test_forward_auth_is_answered_whatever_the_method(wire: HttpWire, method: str) -> None:
    answer = wire.ask(method, "/v1/auth", "X-Forwarded-Uri: /v1/status", body=b"ignored")

    scheme, token = answer.fields["authorization"].split()
    assert (answer.status, scheme, answer.body) == (200, "Bearer", b"")
    assert answer.fields["x-openfit-token-id"] == sha256(token.encode()).hexdigest()[:16]


def test_head_is_answered_as_get_without_the_body(wire: HttpWire) -> None:
    whole, head = (wire.ask(method, "/healthz") for method in ("GET", "HEAD"))

    assert (head.status, head.body) == (200, b"")
    assert head.fields["content-length"] == whole.fields["content-length"]


def test_a_target_may_be_a_whole_url(wire: HttpWire) -> None:
    assert wire.ask("GET", "http://localhost/v1/token?profile=main").status == 200


def test_a_percent_encoded_profile_is_meant(wire: HttpWire) -> None:
    assert wire.ask("GET", "/v1/token?profile=m%61in").status == 200


# Refusing and refreshing


def test_a_refused_token_is_replaced_once_for_all_who_refuse_it() -> None:
    with (
        running_emulator() as emulator,
        http_daemon(profile(emulator.url), first=UNPACED) as daemon,
        wire_of(daemon) as one,
        wire_of(daemon) as another,
        wire_of(daemon) as third,
    ):
        first = one.ask("GET", "/v1/auth").fields["x-openfit-token-id"]
        one.send(http_request("GET", "/v1/auth", f"X-OpenFit-Refused: {first}"))
        another.send(http_request("POST", f"/v1/refuse?id={first}"))
        third.send(http_request("PUT", "/v1/auth?wait=20", f"X-OpenFit-Refused: {first}"))

        news = {
            one.answer().fields["x-openfit-token-id"],
            another.answer().json["id"],
            third.answer().fields["x-openfit-token-id"],
        }
        assert len(news) == 1
        assert first not in news
        assert emulator.state().token_requests == 2


def test_refusing_another_token_changes_nothing(daemon: RunningDaemon, wire: HttpWire) -> None:
    before = daemon.call("get_token")["id"]

    answer = wire.ask("GET", "/v1/auth", f"X-OpenFit-Refused: {NO_ID}")

    assert answer.fields["x-openfit-token-id"] == before


def test_an_empty_field_refuses_nothing(daemon: RunningDaemon, wire: HttpWire) -> None:
    before = daemon.call("get_token")["id"]

    assert wire.ask("GET", "/v1/auth", "X-OpenFit-Refused:").status == 200
    assert daemon.call("get_token")["id"] == before


def test_a_refresh_is_answered_as_at_the_other_socket(wire: HttpWire) -> None:
    assert wire.ask("POST", "/v1/refresh?profile=main&wait=20").json["profile"] == "main"


# Waiting


def test_requests_behind_one_that_waits_are_answered_in_order() -> None:
    with (
        running_emulator("slow=0.5@login:1") as emulator,
        http_daemon(profile(emulator.url)) as daemon,
        wire_of(daemon) as wire,
    ):
        wire.send(
            http_request("GET", "/v1/token")
            + http_request("GET", "/healthz")
            + http_request("POST", "/v1/auth", body=b"some")
        )

        answers = [wire.answer() for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 200]
        assert answers[1].body == b"ok\n"
        assert answers[0].json["id"] == answers[2].fields["x-openfit-token-id"]


def test_a_wait_that_ends_is_503() -> None:
    with (
        running_emulator("hang@login:1") as emulator,
        http_daemon(profile(emulator.url)) as daemon,
        wire_of(daemon) as wire,
    ):
        answer = wire.ask("GET", "/v1/token?wait=0.2")

        assert (answer.status, answer.json["code"]) == (503, "TIMED_OUT")


def test_whoever_hangs_up_is_waited_for_no_more() -> None:
    with (
        running_emulator("hang@login:1") as emulator,
        http_daemon(profile(emulator.url)) as daemon,
    ):
        with wire_of(daemon) as wire:
            wire.send(http_request("GET", "/v1/token?wait=300"))
            daemon.await_waiting(1)

        daemon.await_waiting(0)


# The other requests


def test_status_is_that_of_the_other_socket(daemon: RunningDaemon, wire: HttpWire) -> None:
    status = wire.ask("GET", "/v1/status?profile=main").json

    assert status.keys() == daemon.call("status").keys()
    assert status["http_socket"] == str(place(daemon))
    assert status["profiles"]["main"]["state"] == "fresh"


def test_metrics_are_open_metrics(wire: HttpWire) -> None:
    answer = wire.ask("GET", "/metrics")

    read = cast("Callable[[str], Iterable[Metric]]", parser.text_string_to_metric_families)  # pyright: ignore[reportUnknownMemberType] -- untyped
    parsed = read(answer.body.decode())
    families = {each.name for each in parsed}
    assert answer.fields["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert {"openfit_tokend_build_info", "openfit_token_served"} <= families


def test_ready_names_the_profiles_without_a_token(emulator: RunningEmulator) -> None:
    bad = profile(emulator.url, "bad", username='"nobody@example.org"')
    with http_daemon(profile(emulator.url), bad) as daemon, wire_of(daemon) as wire:
        daemon.await_state("fresh")

        answer = wire.ask("GET", "/readyz")

        assert (answer.status, answer.json["code"]) == (503, "UNAVAILABLE")
        assert answer.json["message"] == "without a live token: bad"
        assert wire.ask("GET", "/healthz").body == b"ok\n"


def test_ready_is_200_when_each_profile_has_a_token(wire: HttpWire) -> None:
    assert wire.ask("GET", "/readyz").json == {"ready": ["main"]}


# Errors


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/v1/token?profile=nobody", 404, "NO_SUCH_PROFILE"),
        ("GET", "/v1/tokens", 404, "NO_SUCH_METHOD"),
        ("GET", "/v1/token/", 404, "NO_SUCH_METHOD"),
        ("GET", "/", 404, "NO_SUCH_METHOD"),
        ("GET", "/v1/token?min_ttl=1000000", 400, "MIN_TTL"),
        ("GET", "/v1/token?ttl=1", 400, "BAD_REQUEST"),
        ("GET", "/v1/token?wait=301", 400, "BAD_REQUEST"),
        ("GET", "/v1/token?wait=-1", 400, "BAD_REQUEST"),
        ("GET", "/v1/token?wait=nan", 400, "BAD_REQUEST"),
        ("GET", "/v1/token?wait=1e2", 400, "BAD_REQUEST"),
        ("GET", "/v1/token?wait", 400, "BAD_REQUEST"),
        ("GET", "/v1/token?profile=main&profile=main", 400, "BAD_REQUEST"),
        ("GET", "/v1/token?profile=%ff", 400, "BAD_REQUEST"),
        ("GET", "/v1/auth?min_ttl=1", 400, "BAD_REQUEST"),
        ("POST", "/v1/refuse", 400, "BAD_REQUEST"),
        ("POST", "/v1/token", 405, "BAD_REQUEST"),
        ("GET", "/v1/refresh", 405, "BAD_REQUEST"),
        ("DELETE", "/v1/status", 405, "BAD_REQUEST"),
        ("POST", "/v1/login", 404, "NO_SUCH_METHOD"),
        ("POST", "/v1/logout", 404, "NO_SUCH_METHOD"),
        ("POST", "/v1/reload", 404, "NO_SUCH_METHOD"),
    ],
)
def test_an_error_is_a_problem_and_the_connection_stays(
    wire: HttpWire, method: str, target: str, status: int, code: str
) -> None:
    answer = wire.ask(method, target)

    assert (answer.status, answer.json["code"], answer.json["status"]) == (status, code, status)
    assert answer.fields["content-type"] == "application/problem+json"
    assert answer.json["message"]
    assert answer.json["detail"] == answer.json["message"]
    assert wire.ask("GET", "/healthz").status == 200


def test_a_wrong_method_is_told_the_right_one(wire: HttpWire) -> None:
    assert wire.ask("GET", "/v1/refuse?id=1").fields["allow"] == "POST"


def test_an_outage_says_when_to_ask_again() -> None:
    with (
        running_emulator() as emulator,
        http_daemon(profile(emulator.url)) as daemon,
        wire_of(daemon) as wire,
    ):
        daemon.await_state("fresh")
        refused = daemon.call("get_token")["id"]
        emulator.stop()

        answer = wire.ask("POST", f"/v1/refuse?id={refused}&wait=0.5")

        assert answer.status == 503
        assert answer.json["code"] in {"UNAVAILABLE", "TIMED_OUT"}
        if answer.json["retry_after"] is not None:
            assert int(answer.fields["retry-after"]) >= answer.json["retry_after"]


# Who may ask


@needs_root
def test_a_stranger_gets_403_and_no_name(emulator: RunningEmulator) -> None:
    with http_daemon(profile(emulator.url, allow_users='["root"]'), mode="0666") as daemon:
        daemon.directory.chmod(0o711)
        with being(NOBODY), wire_of(daemon) as wire:
            for target in ("/v1/token", "/v1/auth", "/v1/status?profile=main", "/readyz"):
                answer = wire.ask("GET", target)
                assert (answer.status, answer.json["code"]) == (403, "NOT_ALLOWED"), target
                assert "main" not in answer.body.decode()
            assert wire.ask("GET", "/v1/status").json["profiles"] == {}
        assert f"uid={NOBODY}" in daemon.log()


@needs_root
def test_a_request_that_root_made_isnt_remembered_for_a_stranger(emulator: RunningEmulator) -> None:
    open_one = profile(emulator.url, "open")
    with http_daemon(
        profile(emulator.url, allow_users='["root"]'),
        open_one,
        mode="0666",
        first=PREPARED_FOR_LONG,
    ) as daemon:
        daemon.directory.chmod(0o711)
        asked = http_request("GET", "/v1/auth?profile=main")
        with wire_of(daemon) as ours:
            for _ in range(3):
                ours.send(asked)
                assert ours.answer().status == 200
            with being(NOBODY), wire_of(daemon) as theirs:
                for _ in range(
                    LOOKS + 2
                ):  # so often that the short way is taken where there is one
                    theirs.send(asked)
                    assert theirs.answer().status == 404


# The short way


def test_a_request_that_is_repeated_is_answered_by_its_bytes_and_counted(
    daemon: RunningDaemon, wire: HttpWire
) -> None:
    before = daemon.profile_status()["counters"]["served"]

    answers = [wire.ask("GET", "/v1/auth").fields for _ in range(50)]

    assert len({each["x-openfit-token-id"] for each in answers}) == 1
    assert daemon.profile_status()["counters"]["served"] == before + 50


def test_a_repeated_request_gets_each_new_token() -> None:
    with (
        running_emulator() as emulator,
        http_daemon(profile(emulator.url), first=UNPACED) as daemon,
        wire_of(daemon) as wire,
    ):
        for _ in range(2):
            old = [wire.ask("GET", "/v1/auth").fields["x-openfit-token-id"] for _ in range(3)][-1]
            new = daemon.call("refuse", id=old, wait=60)["id"]
            assert wire.ask("GET", "/v1/auth").fields["x-openfit-token-id"] == new != old


def test_a_repeated_request_is_answered_anew_after_a_reload(emulator: RunningEmulator) -> None:
    with http_daemon(profile(emulator.url, "old")) as daemon, wire_of(daemon) as wire:
        for _ in range(3):
            assert wire.ask("GET", "/v1/token").json["profile"] == "old"
        daemon.write_config(
            f'http_socket = "{place(daemon)}"', 'socket_mode = "0600"', profile(emulator.url, "new")
        )
        daemon.call("reload")

        assert wire.ask("GET", "/v1/token").json["profile"] == "new"


def test_a_long_request_is_answered_each_time(wire: HttpWire) -> None:
    field = "X-Long: " + "x" * (4 * MAX_KNOWN_SIZE)

    assert [wire.ask("GET", "/v1/auth", field).status for _ in range(5)] == [200] * 5


# The end of a connection


def test_a_connection_ends_when_its_client_wants_that(daemon: RunningDaemon) -> None:
    for request in (
        http_request("GET", "/v1/auth", "Connection: close"),
        b"GET /v1/auth HTTP/1.0\r\n\r\n",
    ):
        with wire_of(daemon) as wire:
            wire.send(request)
            answer = wire.answer()
            assert (answer.status, answer.fields["connection"]) == (200, "close")
            assert wire.is_closed()


def test_a_client_that_closed_its_sending_side_gets_all_answers(daemon: RunningDaemon) -> None:
    with wire_of(daemon) as wire:
        wire.send(http_request("GET", "/healthz") * 30)
        wire.socket.shutdown(1)

        assert [wire.answer().body for _ in range(30)] == [b"ok\n"] * 30
        assert wire.is_closed()


def test_a_stop_answers_who_waits_and_serves_a_live_token_to_the_end() -> None:
    with (
        running_emulator() as emulator,
        http_daemon(profile(emulator.url), first=UNPACED) as daemon,
        wire_of(daemon) as waiting,
        wire_of(daemon) as served,
    ):
        daemon.await_state("fresh")
        emulator.fault("hang@refresh:1")
        assert served.ask("GET", "/v1/auth").status == 200
        waiting.send(http_request("POST", "/v1/refuse?id=" + daemon.call("get_token")["id"]))
        await_that(lambda: emulator.state().refresh_requests == 1)
        daemon.signal(signal.SIGTERM)

        assert waiting.answer("POST").json["code"] == "STOPPING"
        last = served.ask("GET", "/v1/auth")
        assert (last.status, last.fields["connection"]) == (200, "close")
        daemon.signal(signal.SIGTERM)
        daemon.wait()
        assert not place(daemon).exists()


def test_the_face_is_off_without_its_setting(emulator: RunningEmulator) -> None:
    with running_daemon(profile(emulator.url)) as daemon:
        assert daemon.call("status")["http_socket"] is None
        assert not place(daemon).exists()
        loaded = daemon.run("python", "-c", "import sys, openfit_tokend.app; print(*sys.modules)")
        assert "openfit_tokend.serving.rpc" in loaded.stdout.split()
        assert "openfit_tokend.serving.http" not in loaded.stdout.split()


def test_one_socket_isnt_both() -> None:
    with prepared_daemon(profile("http://127.0.0.1:1")) as daemon:
        daemon.write_config(f'http_socket = "{daemon.socket}"', profile("http://127.0.0.1:1"))
        run = ("run", "--config", str(daemon.config), "--socket", str(daemon.socket))

        told = daemon.run("openfit-tokend", *run)

        assert told.returncode == os.EX_CANTCREAT
        assert "HTTP needs a socket of its own" in told.stderr


def test_doctor_and_status_name_the_face(daemon: RunningDaemon) -> None:
    doctor, status = (daemon.run("openfit-token", each).stdout for each in ("doctor", "status"))

    assert f"[ OK ] http           {place(daemon)} answers HTTP\n" in doctor
    assert f"and {place(daemon)} (HTTP), connections" in status


def test_doctor_says_that_the_http_socket_is_gone(emulator: RunningEmulator) -> None:
    with http_daemon(profile(emulator.url)) as daemon:
        daemon.await_state("fresh")
        place(daemon).unlink()

        told = daemon.run("openfit-token", "doctor")

        assert "[WARN] http" in told.stdout
        assert "something removed or replaced it" in told.stdout


def test_another_daemons_http_socket_is_not_taken(daemon: RunningDaemon) -> None:
    with prepared_daemon(
        f'http_socket = "{place(daemon)}"', profile("http://127.0.0.1:1")
    ) as second:
        told = second.run(
            "openfit-tokend", "run", "--config", str(second.config), "--socket", str(second.socket)
        )

        assert told.returncode == os.EX_CANTCREAT
        assert "another daemon" in told.stderr
