"""Token servers that others wrote, at their own paths: configuration alone makes them ours.

`.ci/install_peers` installs them.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import await_that
from failures import outcome
from openfit_token.errors import ClientRejected, LoginRejected
from service_managers import managed_daemon
from token_servers import AUTHLIB, NODE, OAUTHLIB, PASSWORD, Kind, TokenServer, token_server

pytestmark = [pytest.mark.system, pytest.mark.slow]

KINDS = {"authlib": AUTHLIB, "oauthlib": OAUTHLIB, "node-oauth2-server": NODE}
CONFIDENTIAL = {name: kind for name, kind in KINDS.items() if kind.secret is not None}
WAYS = ("basic", "post")


@pytest.fixture(scope="module", params=KINDS.values(), ids=list(KINDS))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TokenServer]:
    kind: Kind = request.param
    with token_server(kind, tmp_path_factory.mktemp("server")) as running:
        yield running


def test_a_password_and_what_follows_is_taken_in_each_way_of_proof(
    server: TokenServer, tmp_path: Path
) -> None:
    for way in WAYS if server.kind.secret else ("",):
        auth = f'"{way}"' if way else ""
        table = server.profile(tmp_path, client_auth=auth)
        with managed_daemon(table) as (_, daemon):
            daemon.is_paced = False
            daemon.write_password(PASSWORD)
            daemon.start()
            first = daemon.call("get_token")
            second = daemon.call("refuse", id=first["id"])

            assert second["access_token"] != first["access_token"]
            assert daemon.profile_status()["counters"]["refreshes"] == 1
            daemon.call("logout")
            rejected = outcome(lambda: daemon.call("login", password="wrong horse"))
            assert isinstance(rejected, LoginRejected)
            assert server.kind.secret is None or server.kind.secret not in daemon.log()


def test_a_refresh_token_that_was_obtained_by_hand_starts_it_and_a_restart_keeps_it(
    server: TokenServer, tmp_path: Path
) -> None:
    with managed_daemon(server.profile(tmp_path, password_file="")) as (_, daemon):
        daemon.is_paced = False
        daemon.start()
        given = server.refresh_token()
        done = daemon.run("openfit-token", "login", "--refresh-token", stdin=f"{given}\n")
        assert done.returncode == 0, done.stderr
        token = daemon.call("get_token")

        daemon.restart()

        assert daemon.call("get_token")["id"] == token["id"]
        assert daemon.call("refuse", id=token["id"])["id"] != token["id"]
        assert daemon.profile_status()["counters"]["logins"] == 0
        assert given not in daemon.log()


@pytest.mark.parametrize("server", CONFIDENTIAL.values(), ids=list(CONFIDENTIAL), indirect=True)
def test_a_wrong_secret_of_the_client_is_said_and_counts_for_no_lockout(
    server: TokenServer, tmp_path: Path
) -> None:
    assert server.kind.secret is not None
    for way in WAYS:
        with managed_daemon(server.profile(tmp_path, client_auth=f'"{way}"')) as (_, daemon):
            (tmp_path / "client").write_text("another")
            daemon.write_password(PASSWORD)
            daemon.start()

            refused = outcome(lambda: daemon.call("get_token"))

            assert isinstance(refused, ClientRejected)
            assert daemon.profile_status()["logins_left"] == 3
            (tmp_path / "client").write_text(server.kind.secret)
            daemon.call("reload")
            await_that(lambda: daemon.profile_status()["state"] == "fresh", daemon.log)
