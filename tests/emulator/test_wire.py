"""How the emulator fails on the wire: each fault, over real HTTP or a raw socket."""

import json
import socket
from email.utils import parsedate_to_datetime
from itertools import islice
from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from emulators import (
    INVALID_GRANT,
    USERNAME,
    RunningEmulator,
    api,
    client,
    login,
    login_form,
    post,
    refresh_form,
)
from openfit_emulator.wire import HUGE
from openfit_tokend.host import clock


def raw(emulator: RunningEmulator, request: bytes) -> socket.socket:
    """Send bytes over a socket of one's own, to see what really comes back."""
    place = urlsplit(emulator.url)
    connection = socket.create_connection((place.hostname or "", place.port or 0), timeout=20)
    connection.sendall(request)
    return connection


def raw_login(emulator: RunningEmulator) -> socket.socket:
    body = urlencode(login_form())
    return raw(
        emulator,
        f"POST /connect/token HTTP/1.1\r\nHost: emulator\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}".encode(),
    )


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_a_lost_answer_has_done_its_work(emulator: RunningEmulator, web: httpx.Client) -> None:
    refresh = login(web)["refresh_token"]
    emulator.fault("lost-answer@refresh:1")

    with pytest.raises(httpx.RemoteProtocolError):
        post(web, refresh_form(refresh))

    assert post(web, refresh_form(refresh)).json() == {"error": "invalid_grant"}
    lost = emulator.state().log[1]
    assert (lost.outcome, lost.faults) == ("issued", ("lost-answer@refresh:1",))


def test_a_reset_comes_before_any_work(emulator: RunningEmulator) -> None:
    emulator.fault("reset")

    with raw_login(emulator) as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)

    assert [entry.outcome for entry in emulator.state().log] == ["not_acted"]


def test_half_an_answer_announces_more_than_it_sends(emulator: RunningEmulator) -> None:
    emulator.fault("half-answer")

    with raw_login(emulator) as connection:
        header, _, body = read_all(connection).partition(b"\r\n\r\n")

    announced = int(header.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert announced // 2 == len(body)
    assert emulator.state().logins == 1


@pytest.mark.parametrize(
    ("fault", "begins", "acted"),
    [
        ("hang", b"", 0),
        ("stall-header", b"HTTP/1.1 200 OK\r\nCon", 1),
        ("stall-body", b"HTTP/1.", 1),
    ],
)
def test_who_waits_for_a_stalled_answer_waits_until_it_leaves(
    emulator: RunningEmulator, web: httpx.Client, fault: str, begins: bytes, acted: int
) -> None:
    emulator.fault(fault)

    with raw_login(emulator) as connection:
        if begins:
            assert connection.recv(65_536).startswith(begins)
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            read_all(connection)
        waiting = emulator.state()

    login(web)  # served all the same
    assert (waiting.logins, waiting.log[0].ended) == (acted, None)


def test_a_stall_with_seconds_is_broken_off_after_them(emulator: RunningEmulator) -> None:
    emulator.fault("hang=0.05")

    with raw_login(emulator) as connection:
        assert read_all(connection) == b""

    assert emulator.state().log[0].outcome == "not_acted"


def test_a_slow_server_acts_though_its_client_has_left(emulator: RunningEmulator) -> None:
    emulator.fault("slow=0.2")
    with client(emulator) as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.post("/connect/token", data=login_form(), timeout=0.05)
    emulator.fault("slow=0.4")  # so this one is answered later than the first is done

    with client(emulator) as patient:
        login(patient)

    state = emulator.state()
    assert [entry.outcome for entry in state.log] == ["issued", "issued"]
    assert state.max_concurrent == {USERNAME: 1}


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("error-500", 500, "text/html"),
        ("error-502", 502, "text/html"),
        ("error-503", 503, "text/html"),
        ("error-504", 504, "text/html"),
        ("404", 404, "text/html"),
        ("429=7", 429, "text/html"),
        ("503=7", 503, "text/html"),
        ("html", 200, "text/html"),
        ("redirect", 302, None),
        ("unclear", 403, None),
        ("unclear=401", 401, None),
        ("invalid_client", 400, "application/json"),
        ("slow_down=401", 401, "application/json"),
    ],
)
def test_what_answers_in_the_servers_stead_lets_nothing_happen(
    emulator: RunningEmulator, web: httpx.Client, fault: str, status: int, kind: str | None
) -> None:
    emulator.fault(fault)

    answer = post(web, login_form())

    seen = answer.headers.get("Content-Type")
    assert (answer.status_code, seen and seen.partition(";")[0]) == (status, kind)
    assert answer.headers.get("Retry-After") == ("7" if fault.endswith("=7") else None)
    assert [entry.outcome for entry in emulator.state().log] == ["not_acted"]


def test_a_gateways_error_may_come_after_the_work_was_done(
    emulator: RunningEmulator, web: httpx.Client
) -> None:
    emulator.fault("error-504=acted")

    assert post(web, login_form()).status_code == 504
    assert emulator.state().logins == 1


@pytest.mark.parametrize("word", ["server_error", "temporarily_unavailable", "invalid_grant"])
def test_an_oauth_word_can_be_answered_unasked(
    emulator: RunningEmulator, web: httpx.Client, word: str
) -> None:
    emulator.fault(word)

    assert post(web, login_form()).json() == {"error": word}


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("list", ["access_token", "expires_in"]),
        ("null-token", {"access_token": None}),
        ("number-token", {"access_token": 12_345}),
    ],
)
def test_rubbish_is_json_of_an_odd_shape(
    emulator: RunningEmulator, web: httpx.Client, kind: str, shape: object
) -> None:
    emulator.fault(f"rubbish={kind}")

    answer = post(web, login_form())

    seen = answer.json()
    assert (answer.status_code, emulator.state().logins) == (200, 1)
    assert seen == (seen | shape if isinstance(shape, dict) else shape)


def test_rubbish_may_be_no_json_at_all(emulator: RunningEmulator, web: httpx.Client) -> None:
    emulator.fault("rubbish")

    with pytest.raises(json.JSONDecodeError):
        post(web, login_form()).json()


def test_rubbish_may_lack_a_token_or_break_its_line_or_be_nested_deeply(
    emulator: RunningEmulator, web: httpx.Client
) -> None:
    for kind in ("no-token", "crlf-token", "nested"):
        emulator.fault(f"rubbish={kind}")

    assert "access_token" not in post(web, login_form()).json()
    assert "\r\n" in post(web, login_form()).json()["access_token"]
    assert post(web, login_form()).text == "[" * 60_000


def test_a_huge_body_flows_and_may_be_left(emulator: RunningEmulator, web: httpx.Client) -> None:
    emulator.fault("rubbish=huge")

    with web.stream("POST", "/connect/token", data=login_form()) as answer:
        first = b"".join(islice(answer.iter_bytes(), 3))

    assert first.startswith(b'{"access_token": "aaa')
    assert HUGE == 256 * 2**20
    login(web)


@pytest.mark.parametrize(
    ("value", "seen"),
    [("soon", "soon"), ("0", 0), ('"60"', "60"), ("60.5", 60.5), ("1e12", 1e12), ("absent", None)],
)
def test_expires_in_may_be_anything(
    emulator: RunningEmulator, web: httpx.Client, value: str, seen: object
) -> None:
    emulator.fault(f"expires-in={value}")

    fields = login(web)

    assert fields.get("expires_in") == seen
    assert ("expires_in" in fields) == (value != "absent")
    assert api(web, fields["access_token"]) == 200


def test_a_lockout_by_fault_meets_the_login_itself(
    emulator: RunningEmulator, web: httpx.Client
) -> None:
    emulator.fault("lockout")

    assert post(web, login_form()).json() == INVALID_GRANT
    assert emulator.state().users[USERNAME].locked_for > 290


def test_revoked_ends_all_refresh_tokens_from_then_on(
    emulator: RunningEmulator, web: httpx.Client
) -> None:
    refresh = login(web)["refresh_token"]
    emulator.fault("revoked")

    assert post(web, refresh_form(refresh)).json() == {"error": "invalid_grant"}
    assert post(web, refresh_form(login(web)["refresh_token"])).status_code == 200


def test_a_skewed_clock_shows_in_the_date_of_every_answer(
    emulator: RunningEmulator, web: httpx.Client
) -> None:
    emulator.fault("clock-skew=-86400@*")

    for answer in (post(web, login_form()), web.get("/.well-known/openid-configuration")):
        skew = parsedate_to_datetime(answer.headers["Date"]).timestamp() - clock.wall()
        assert abs(skew + 86_400) < 5


def test_an_outage_meets_discovery_too_but_not_the_api(
    emulator: RunningEmulator, web: httpx.Client
) -> None:
    token = login(web)["access_token"]
    emulator.fault("error-503@0s-1000s")

    assert web.get("/.well-known/openid-configuration").status_code == 503
    assert web.get("/connect/token").status_code == 503
    assert api(web, token) == 200


def test_faults_that_meet_one_request_are_played_together(
    emulator: RunningEmulator, web: httpx.Client
) -> None:
    emulator.fault("clock-skew=-86400@1")
    emulator.fault("slow=0.05@1")
    emulator.fault("lost-answer@1")

    with pytest.raises(httpx.RemoteProtocolError):
        post(web, login_form())

    (entry,) = emulator.state().log
    assert entry.outcome == "issued"
    assert entry.ended is not None
    assert entry.ended - entry.at >= 0.05


def test_of_faults_that_replace_or_spoil_an_answer_the_first_is_played(
    emulator: RunningEmulator, web: httpx.Client
) -> None:
    emulator.fault("expires-in=soon@1")
    emulator.fault("half-answer@1")
    emulator.fault("rubbish=list@1")
    emulator.fault("reset@1")

    with raw_login(emulator) as connection:
        body = read_all(connection).partition(b"\r\n\r\n")[2]

    assert body.startswith(b'{"access_token"')
    login(web)


GET = b"GET /.well-known/openid-configuration HTTP/1.1\r\nHost: emulator\r\n"
LAST = b"Connection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        pytest.param(GET + b"\r\n" + GET + LAST, [b"200", b"200"], id="pipelined"),
        pytest.param(GET.replace(b"/1.1", b"/1.0") + b"\r\n", [b"200"], id="1.0"),
        pytest.param(
            b"POST /nowhere HTTP/1.1\r\nHost: emulator\r\n" + LAST, [b"404"], id="unknown"
        ),
        pytest.param(b"nonsense\r\n\r\n", [b"400"], id="nonsense"),
        pytest.param(GET + b"X: " + b"x" * 70_000, [b"431"], id="endless"),
    ],
)
def test_each_request_is_answered_and_what_is_none_ends_the_connection(
    emulator: RunningEmulator, sent: bytes, statuses: list[bytes]
) -> None:
    with raw(emulator, sent) as connection:
        answers = read_all(connection).split(b"HTTP/1.1 ")

    assert [each[:3] for each in answers[1:]] == statuses


def test_to_head_nothing_but_the_header_is_sent(emulator: RunningEmulator) -> None:
    with raw(emulator, b"HEAD" + GET[3:] + LAST) as connection:
        header, _, body = read_all(connection).partition(b"\r\n\r\n")

    assert int(header.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) > 0
    assert body == b""


def test_a_client_that_asks_first_is_told_to_send_its_body(emulator: RunningEmulator) -> None:
    body = urlencode(login_form()).encode()
    header = b"POST /connect/token HTTP/1.1\r\nHost: emulator\r\nContent-Length: %d\r\n" % len(body)
    kind = b"Content-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\n"
    with raw(emulator, header + kind + LAST) as connection:
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)

        assert read_all(connection).startswith(b"HTTP/1.1 200 ")


def test_what_a_client_sends_while_it_is_kept_waiting_is_bounded(
    emulator: RunningEmulator,
) -> None:
    emulator.fault("hang")

    with raw_login(emulator) as connection:
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.sendall(bytes(32 * 2**20))
        waiting = emulator.state().log[0]

    assert waiting.ended is None
