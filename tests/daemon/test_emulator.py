"""The emulator over real HTTP on loopback: what it answers, and how it fails on the wire."""

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from emulators import (
    CLIENT_ID,
    PASSWORD,
    USERNAME,
    RunningEmulator,
    login_form,
    refresh_form,
    running_emulator,
)
from openfit_tokend.emulator.identity import Rules
from openfit_tokend.emulator.journal import Account
from openfit_tokend.emulator.server import Place, loopback
from openfit_tokend.emulator.wire import HUGE
from openfit_tokend.io import clock

OPENSSL = shutil.which("openssl")
SELF_SIGNED = (
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=emulator "
    "-addext subjectAltName=IP:127.0.0.1 -out cert.pem -keyout key.pem"
)
INVALID_GRANT = {
    "error": "invalid_grant",
    "error_description": "invalid_username_or_password",
}


@pytest.fixture
def emulator() -> Generator[RunningEmulator]:
    with running_emulator() as running:
        yield running


@pytest.fixture
def web(emulator: RunningEmulator) -> Generator[httpx.Client]:
    with client(emulator) as made:
        yield made


def client(emulator: RunningEmulator) -> httpx.Client:
    return httpx.Client(base_url=emulator.url, trust_env=False, verify=False, timeout=20)  # noqa: S501 -- loopback


def post(web: httpx.Client, form: dict[str, str]) -> httpx.Response:
    return web.post("/connect/token", data=form)


def login(web: httpx.Client) -> dict[str, str]:
    answer = post(web, login_form())
    assert answer.status_code == 200
    fields: dict[str, str] = answer.json()
    return fields


def api(web: httpx.Client, token: str) -> int:
    return web.get("/api/me", headers={"Authorization": f"Bearer {token}"}).status_code


def raw_login(emulator: RunningEmulator) -> socket.socket:
    """Send a login over a socket of one's own, to see what really comes back."""
    place = urlsplit(emulator.url)
    body = urlencode(login_form())
    connection = socket.create_connection((place.hostname or "", place.port or 0), timeout=20)
    connection.sendall(
        f"POST /connect/token HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}".encode()
    )
    return connection


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65_536), b""))


# --- tokens -------------------------------------------------------------------------------------


def test_a_login_is_answered_like_identity_server_does(web: httpx.Client) -> None:
    answer = post(web, login_form())

    fields = answer.json()
    assert set(fields) == {"access_token", "refresh_token", "expires_in", "token_type", "scope"}
    assert (fields["expires_in"], fields["token_type"]) == (3600, "Bearer")
    assert fields["scope"] == "OpenFitApi offline_access"
    assert "no-store" in answer.headers["Cache-Control"]
    assert abs(parsedate_to_datetime(answer.headers["Date"]).timestamp() - clock.wall()) < 5


def test_a_refresh_spends_the_old_token_and_brings_a_new_one(web: httpx.Client) -> None:
    first = login(web)

    second = post(web, refresh_form(first["refresh_token"])).json()
    again = post(web, refresh_form(first["refresh_token"]))

    assert second["refresh_token"] != first["refresh_token"]
    assert (again.status_code, again.json()) == (400, {"error": "invalid_grant"})


def test_a_wrong_password_and_a_locked_account_get_the_same_answer(
    emulator: RunningEmulator, web: httpx.Client
) -> None:
    wrong = [post(web, login_form(password="wrong")) for _ in range(5)]
    locked = post(web, login_form())

    assert {answer.status_code for answer in (*wrong, locked)} == {400}
    assert [answer.json() for answer in (*wrong, locked)] == [INVALID_GRANT] * 6
    assert [entry.cause for entry in emulator.state().log] == ["wrong_password"] * 5 + ["locked"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": "nobody"}, "invalid_client"),
        ({"client_id": "emulated-portal"}, "unauthorized_client"),
        ({"scope": "secrets"}, "invalid_scope"),
        ({"grant_type": "magic"}, "unsupported_grant_type"),
    ],
)
def test_oauth_errors_are_400_with_their_word(
    web: httpx.Client, changes: dict[str, str], error: str
) -> None:
    answer = post(web, login_form(**changes))

    assert (answer.status_code, answer.json()) == (400, {"error": error})


def test_only_a_posted_form_is_understood(web: httpx.Client) -> None:
    form = login_form()
    answers = [
        web.post("/connect/token", json=form),
        web.post("/connect/token", content=urlencode(form), headers={"Content-Type": "text/plain"}),
        web.post("/connect/token", data={**form, "scope": ["OpenFitApi", "offline_access"]}),
        web.post("/connect/token", data={**form, "password": "x" * 70_000}),
        web.get("/connect/token", params=form),
    ]

    assert [answer.status_code for answer in answers] == [400] * 5
    assert [answer.json() for answer in answers] == [{"error": "invalid_request"}] * 5


# --- the other pages ----------------------------------------------------------------------------


def test_the_api_answers_a_live_token_and_refuses_any_other(
    emulator: RunningEmulator, web: httpx.Client
) -> None:
    token = login(web)["access_token"]

    good = web.put("/api/any/thing", headers={"Authorization": f"bearer {token}"}, json={})
    bad = web.get("/api/any/thing", headers={"Authorization": f"Bearer {token}x"})
    none = web.get("/api/any/thing")

    assert (good.status_code, good.json()) == (200, {"user": USERNAME, "path": "/api/any/thing"})
    assert (bad.status_code, none.status_code) == (401, 401)
    assert bad.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    state = emulator.state()
    assert (state.api_ok, state.api_refused) == (1, 2)


def test_revocation_ends_a_token_and_is_content_with_an_unknown_one(
    emulator: RunningEmulator, web: httpx.Client
) -> None:
    tokens = login(web)

    def revoke(token: str, client_id: str = CLIENT_ID) -> int:
        form = {"token": token, "token_type_hint": "refresh_token", "client_id": client_id}
        return web.post("/connect/revocation", data=form).status_code

    assert revoke(tokens["refresh_token"], "nobody") == 400
    assert revoke(tokens["refresh_token"]) == 200
    assert revoke("unknown") == 200
    assert revoke("") == 400
    assert post(web, refresh_form(tokens["refresh_token"])).json() == {"error": "invalid_grant"}
    assert api(web, tokens["access_token"]) == 200
    assert revoke(tokens["access_token"]) == 200
    assert api(web, tokens["access_token"]) == 401
    assert emulator.state().revocations == 3


def test_discovery_names_the_endpoints(emulator: RunningEmulator, web: httpx.Client) -> None:
    found = web.get("/.well-known/openid-configuration").json()

    assert found["issuer"] == emulator.url
    assert found["token_endpoint"] == f"{emulator.url}/connect/token"
    assert found["revocation_endpoint"] == f"{emulator.url}/connect/revocation"
    assert found["grant_types_supported"] == ["password", "refresh_token"]


# --- faults -------------------------------------------------------------------------------------


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
        ("client-rejected", 400, "application/json"),
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
    assert post(web, login_form()).text == "[" * 60_000 + "]" * 60_000


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


# --- orders and state ---------------------------------------------------------------------------


def test_the_state_counts_and_never_tells_a_secret(
    emulator: RunningEmulator, web: httpx.Client
) -> None:
    tokens = login(web)
    more = post(web, refresh_form(tokens["refresh_token"])).json()
    post(web, refresh_form("spent"))
    post(web, login_form(password="wrong"))

    shown = web.get("/admin/state")

    state = emulator.state()
    assert (state.token_requests, state.login_requests, state.refresh_requests) == (4, 2, 2)
    assert (state.logins, state.refreshes) == (1, 1)
    assert (state.logins_rejected, state.refreshes_rejected, state.faulted) == (1, 1, 0)
    assert state.users == {USERNAME: Account(failed=1, locked_for=0.0, sessions=1)}
    assert [entry.user for entry in state.log] == [USERNAME, USERNAME, "", USERNAME]
    assert [entry["at"] for entry in shown.json()["log"]] == [entry.at for entry in state.log]
    for secret in (PASSWORD, *tokens.values(), *more.values()):
        assert str(secret) not in shown.text or secret in (3600, "Bearer", tokens["scope"])


def test_requests_under_way_at_once_are_counted_per_user(emulator: RunningEmulator) -> None:
    emulator.fault("slow=0.3@*")

    with client(emulator) as web, ThreadPoolExecutor(3) as threads:
        for answer in [threads.submit(post, web, login_form()) for _ in range(3)]:
            assert answer.result().status_code == 200

    assert emulator.state().max_concurrent == {USERNAME: 3}


def test_orders_are_given_as_json(emulator: RunningEmulator, web: httpx.Client) -> None:
    tokens = login(web)

    def order(name: str, **fields: object) -> int:
        return web.post(f"/admin/{name}", json=fields).status_code

    assert order("lifetime", seconds=7) == 204
    assert order("password", username=USERNAME, password="another") == 204
    assert post(web, login_form(password="another")).json()["expires_in"] == 7
    assert order("lock", username=USERNAME) == 204
    assert post(web, login_form(password="another")).status_code == 400
    assert order("unlock") == 204
    assert order("revoke", username=USERNAME) == 204
    assert post(web, refresh_form(tokens["refresh_token"])).status_code == 400
    assert order("revoke", kind="access") == 204
    assert api(web, tokens["access_token"]) == 401
    assert order("faults", fault="404@*") == 204
    assert post(web, login_form()).status_code == 404
    assert web.delete("/admin/faults").status_code == 204
    assert emulator.state().faults == ()


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("faults", b'{"fault": "rest"}', "did you mean reset?"),
        ("faults", b"[]", "this isn't a JSON object"),
        ("faults", b"{", "this isn't JSON"),
        ("faults", b"{}", "fault: a text is needed"),
        ("unlock", b'{"username": "nobody"}', "no user 'nobody'"),
        ("lifetime", b'{"seconds": true}', "seconds: a whole number"),
        ("revoke", b'{"kind": "all"}', "kind: refresh or access"),
    ],
)
def test_a_wrong_order_is_refused_with_its_reason(
    web: httpx.Client, name: str, body: bytes, said: str
) -> None:
    answer = web.post(f"/admin/{name}", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_an_order_must_say_that_it_is_json(web: httpx.Client) -> None:
    answer = web.post("/admin/faults", content=b'{"fault": "reset"}')

    assert answer.status_code == 400


# --- serving ------------------------------------------------------------------------------------


def test_a_stopped_emulator_refuses_connections_and_comes_back_with_all_it_knew(
    emulator: RunningEmulator,
) -> None:
    with client(emulator) as web:
        refresh = login(web)["refresh_token"]
    url = emulator.url
    emulator.stop()

    with client(emulator) as web, pytest.raises(httpx.ConnectError):
        login(web)

    emulator.start()
    assert emulator.url == url
    with client(emulator) as web:
        assert post(web, refresh_form(refresh)).status_code == 200


def test_it_stops_though_a_client_is_kept_waiting(emulator: RunningEmulator) -> None:
    emulator.fault("hang@1")
    emulator.fault("slow=1000@2")
    with raw_login(emulator) as hanging, raw_login(emulator) as waiting:
        while emulator.state().token_requests < 2:
            pass

        emulator.stop()

        assert (read_all(hanging), read_all(waiting)) == (b"", b"")


def test_a_thousand_logins_take_a_few_seconds() -> None:
    users = {f"user{number}": "word" for number in range(1000)}
    with running_emulator(users=users) as emulator, client(emulator) as web:
        began = clock.boot()
        for user in users:
            assert post(web, login_form(username=user, password="word")).status_code == 200
        assert clock.boot() - began < 20

        assert emulator.state().logins == 1000


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])  # noqa: S104 -- refused
def test_it_shows_itself_to_no_network(host: str) -> None:
    with pytest.raises(ValueError, match="no loopback address"):
        loopback(host)


@pytest.mark.skipif(OPENSSL is None, reason="openssl makes the certificate")
def test_it_serves_https_with_a_certificate(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [OPENSSL or "", *SELF_SIGNED.split()],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    place = Place(tls_cert=certificate, tls_key=key)
    trusting = ssl.create_default_context(cafile=str(certificate))

    with (
        running_emulator("lost-answer@2", "reset@3", place=place) as emulator,
        httpx.Client(base_url=emulator.url, trust_env=False, verify=trusting) as web,
    ):
        assert emulator.url.startswith("https://127.0.0.1:")
        login(web)
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                post(web, login_form())


def test_old_access_tokens_die_at_a_refresh_where_the_rules_say_so() -> None:
    with (
        running_emulator(rules=Rules(old_access_dies=True)) as emulator,
        client(emulator) as web,
    ):
        first = login(web)
        second = post(web, refresh_form(first["refresh_token"])).json()

        assert api(web, first["access_token"]) == 401
        assert api(web, second["access_token"]) == 200
