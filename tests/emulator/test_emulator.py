"""The emulator over real HTTP on loopback: what it answers, and how it fails on the wire."""

import gc
import shutil
import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from daemons import await_that
from emulators import (
    CLIENT_ID,
    INVALID_GRANT,
    PASSWORD,
    USERNAME,
    RunningEmulator,
    api,
    client,
    login,
    login_form,
    post,
    refresh_form,
    running_emulator,
)
from openfit_emulator.journal import Account
from openfit_emulator.server import Address, loopback
from openfit_tokend.host import clock

NESTED = b'{"fault": "expires-in=%s"}' % (b"[" * 60_000)
"""Beyond the recursion limit of a parser that recurses."""
OPENSSL = shutil.which("openssl")
SELF_SIGNED = (
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=emulator "
    "-addext subjectAltName=IP:127.0.0.1 -out cert.pem -keyout key.pem"
)


def test_a_login_is_answered_like_identity_server_does(web: httpx.Client) -> None:
    answer = post(web, login_form())

    fields = answer.json()
    assert set(fields) == {"access_token", "refresh_token", "expires_in", "token_type", "scope"}
    assert (fields["expires_in"], fields["token_type"]) == (3600, "Bearer")
    assert fields["scope"] == "OpenFitApi offline_access"
    assert "no-store" in answer.headers["Cache-Control"]
    assert abs(parsedate_to_datetime(answer.headers["Date"]).timestamp() - clock.wall()) < 5


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
    [({"scope": "secrets"}, "invalid_scope"), ({"grant_type": "magic"}, "unsupported_grant_type")],
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
        pytest.param("faults", NESTED, "a fault has at most 300 characters", id="nested"),
        ("faults", rb'{"fault": "expires-in=\ud800"}', "is not valid text"),
        ("faults", rb'{"fault": "expires-in=\"\\ud800\""}', "is invalid in expires-in=VALUE"),
        ("password", rb'{"username": "\ud800", "password": "a"}', "is not valid text"),
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
    assert web.get("/admin/state").status_code == 200


def test_an_order_must_say_that_it_is_json(web: httpx.Client) -> None:
    answer = web.post("/admin/faults", content=b'{"fault": "reset"}')

    assert answer.status_code == 400


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
    with client(emulator) as web, ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(post, web, login_form()) for _ in range(2)]
        await_that(lambda: emulator.state().token_requests == 2)

        emulator.stop()

        assert [type(answer.exception()) for answer in answers] == [httpx.RemoteProtocolError] * 2


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
    place = Address(tls_cert=certificate, tls_key=key)
    trusting = ssl.create_default_context(cafile=str(certificate))

    with (
        running_emulator("lost-answer@2", "reset@3", address=place) as emulator,
        httpx.Client(base_url=emulator.url, trust_env=False, verify=trusting) as web,
    ):
        assert emulator.url.startswith("https://127.0.0.1:")
        login(web)
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                post(web, login_form())


def test_a_stop_closes_whom_it_has_just_accepted() -> None:
    """asyncio forgets them. Then a warning about an unclosed socket fails this test."""
    with running_emulator() as emulator:
        host, _, port = emulator.url.removeprefix("http://").partition(":")
        for _ in range(5):
            clients = [socket.create_connection((host, int(port))) for _ in range(20)]
            emulator.stop()
            for each in clients:
                each.close()
            emulator.start()
    gc.collect()
