"""OpenFitAuth, for httpx and its successor, blocking and async, and for requests: what the API and the daemon see."""

import ssl
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

import httpx
import pytest
import requests
from anyio.from_thread import start_blocking_portal

from api import Api, Seen, running_api, tls
from fake_daemon import FakeDaemon, always, failing, silent, token_fields
from openfit_token import httpx_auth, requests_auth
from openfit_token._client.held import Get, Held, Refuse
from openfit_token._client.token import Token
from openfit_token.errors import (
    DaemonUnreachable,
    ForeignOrigin,
    LoggedOut,
    TimedOut,
    TokenError,
    Unavailable,
)
from openfit_token.testing import Daemon, Emulator
from waited import Waited

A: Final = "token-a"
B: Final = "token-b"
THREADS: Final = 50
DUE: Final = token_fields("a", refresh_at=1893456000.5 - 3600)
"""A token that is to be replaced as soon as it has come."""
LIVE_BUT_ALONE: Final = (always(token_fields("a")), failing(TimedOut("replaced a moment ago")))


class Session(requests.Session):
    """Calls a body what httpx calls it."""

    def post(self, url: Any, content: Any = None, **options: Any) -> requests.Response:  # type: ignore[override]  # noqa: ANN401 -- requests' own, passed on
        return super().post(url, data=content, **options)


@contextmanager
def by_httpx(
    trusted: Path | None = None,
    library: Callable[[], ModuleType] = lambda: httpx,
    **about: Any,  # noqa: ANN401 -- passed on
) -> Generator[httpx.Client]:
    with library().Client(**_options(trusted, about)) as client:
        yield client


@contextmanager
def by_async_httpx(
    backend: str,
    trusted: Path | None = None,
    library: Callable[[], ModuleType] = lambda: httpx,
    **about: Any,  # noqa: ANN401 -- passed on
) -> Generator[httpx.Client]:
    with start_blocking_portal(backend) as portal:
        client = library().AsyncClient(**_options(trusted, about))
        yield cast("httpx.Client", Waited(portal, client))
        portal.call(client.aclose)


def successor() -> ModuleType:
    """Return httpx's successor, whose names are the same; skip the test where it isn't installed."""
    return cast("ModuleType", pytest.importorskip("httpx2", reason="needs the package httpx2"))


def _options(trusted: Path | None, about: dict[str, Any]) -> dict[str, Any]:
    return {
        "auth": httpx_auth.OpenFitAuth(**about),
        "verify": trusted is None or ssl.create_default_context(cafile=trusted),
        "trust_env": False,
        "follow_redirects": True,
    }


@contextmanager
def by_requests(trusted: Path | None = None, **about: Any) -> Generator[httpx.Client]:  # noqa: ANN401 -- passed on
    with Session() as session:
        session.auth = requests_auth.OpenFitAuth(**about)
        session.trust_env = False
        session.verify = trusted is None or str(trusted)
        yield cast("httpx.Client", session)


Kind = Callable[..., AbstractContextManager[httpx.Client]]
KINDS: Final[dict[str, Kind]] = {
    "httpx": by_httpx,
    "asyncio": partial(by_async_httpx, "asyncio"),
    "trio": partial(by_async_httpx, "trio"),
    "httpx2": partial(by_httpx, library=successor),
    "httpx2, asyncio": partial(by_async_httpx, "asyncio", library=successor),
    "requests": by_requests,
}
each_auth = pytest.mark.parametrize(
    "auth", [httpx_auth.OpenFitAuth, requests_auth.OpenFitAuth], ids=["httpx", "requests"]
)
Auth = type[httpx_auth.OpenFitAuth | requests_auth.OpenFitAuth]


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return cast("Kind", request.param)


@pytest.fixture
def client(kind: Kind, daemon: FakeDaemon, api: Api) -> Iterator[httpx.Client]:
    with kind(socket=daemon.path, origins=[api.url]) as client:
        yield client


# The token


def test_each_request_has_the_token_and_the_daemon_is_asked_once(
    daemon: FakeDaemon, api: Api, client: httpx.Client
) -> None:
    answers = [client.get(f"{api.url}/echo").status_code for _ in range(5)]

    assert answers == [200] * 5
    assert api.tokens == [A] * 5
    assert daemon.calls == [("get_token", {"wait": 30.0})]


def test_a_token_past_its_refresh_at_is_asked_for_again(
    daemon: FakeDaemon, api: Api, client: httpx.Client
) -> None:
    daemon.behaviour, daemon.script = always(token_fields("b")), [always(DUE)]
    for _ in range(3):
        client.get(f"{api.url}/echo")

    assert api.tokens == [A, B, B]
    assert daemon.calls == [("get_token", {"wait": 30.0}), ("get_token", {"wait": 0.0})]


@pytest.mark.parametrize("trouble", ["no daemon", "not now"])
def test_a_token_that_is_due_is_used_while_no_other_can_be_had(
    daemon: FakeDaemon, api: Api, client: httpx.Client, trouble: str
) -> None:
    daemon.script = [always(DUE)]
    client.get(f"{api.url}/echo")
    daemon.behaviour = failing(Unavailable("the token server is down"))
    if trouble == "no daemon":
        daemon.stop()
    client.get(f"{api.url}/echo")

    assert api.tokens == [A, A]


@each_auth
def test_the_api_url_is_the_tokens_and_the_profile_and_the_wait_are_passed_on(
    daemon: FakeDaemon, auth: Auth
) -> None:
    assert auth("import", socket=daemon.path, wait=5).api_url() == "https://api.openfit.care"

    assert daemon.calls == [("get_token", {"profile": "import", "wait": 5})]


@pytest.mark.parametrize("error", [LoggedOut, DaemonUnreachable])
def test_an_error_is_raised_as_what_it_is_and_nothing_is_sent(
    daemon: FakeDaemon, api: Api, client: httpx.Client, error: type[TokenError]
) -> None:
    daemon.behaviour = failing(LoggedOut("an operator logged main out"))
    if error is DaemonUnreachable:
        daemon.remove()
    with pytest.raises(error):
        client.get(f"{api.url}/echo")

    assert api.seen == []


# A 401


def test_a_401_has_the_very_token_replaced_and_the_request_repeated_once(
    daemon: FakeDaemon, api: Api, client: httpx.Client
) -> None:
    api.refused = {A}
    answer = client.post(f"{api.url}/echo", content=b"whole")

    assert (answer.status_code, answer.content) == (200, b"whole")
    assert [each.status_code for each in answer.history] == [401]
    assert api.seen == [Seen("POST", "/echo", A, b"whole"), Seen("POST", "/echo", B, b"whole")]
    assert daemon.calls[1:] == [("refuse", {"id": "id-a", "wait": 30.0})]
    assert api.connections == 1


def test_a_second_401_is_the_answer(daemon: FakeDaemon, api: Api, client: httpx.Client) -> None:
    assert client.get(f"{api.url}/refuse").status_code == 401

    assert api.tokens == [A, B]
    assert [method for method, _ in daemon.calls] == ["get_token", "refuse"]


def test_a_401_is_the_answer_if_there_is_no_other_token_and_the_live_one_goes_on(
    daemon: FakeDaemon, api: Api, client: httpx.Client
) -> None:
    """As in programs that have one path which always answers 401."""
    daemon.script = [*LIVE_BUT_ALONE]

    assert client.get(f"{api.url}/refuse").content == b"no"
    assert client.get(f"{api.url}/echo").status_code == 200

    assert api.tokens == [A, A]
    assert [method for method, _ in daemon.calls] == ["get_token", "refuse"]


def test_nobody_waits_for_another_requests_401(
    daemon: FakeDaemon, api: Api, client: httpx.Client
) -> None:
    """While the daemon takes its time for a token in place of the one that the API refused."""
    daemon.script = [always(token_fields("a")), silent]
    with ThreadPoolExecutor(1) as other:
        refused = other.submit(client.get, f"{api.url}/refuse")
        daemon.next_request()
        asked = daemon.next_request()

        assert client.get(f"{api.url}/echo").status_code == 200
        assert [method for method, _ in daemon.calls] == ["get_token", "refuse"]

        asked.result(token_fields("b"))
        assert refused.result(20).status_code == 401


# Redirects


def test_a_redirect_on_the_same_host_keeps_the_token(api: Api, client: httpx.Client) -> None:
    client.get(f"{api.url}/hop", params={"to": "/echo"})

    assert api.tokens == [A, A]


def test_a_redirect_to_another_host_goes_without_the_token_and_its_401_is_not_ours(
    daemon: FakeDaemon, api: Api, client: httpx.Client
) -> None:
    with running_api() as other:
        answer = client.get(f"{api.url}/hop", params={"to": f"{other.url}/refuse"})

    assert answer.status_code == 401
    assert (api.tokens, other.tokens) == ([A], [None])
    assert [method for method, _ in daemon.calls] == ["get_token"]


def test_a_redirect_from_https_to_http_goes_without_the_token(
    daemon: FakeDaemon, api: Api, kind: Kind, tmp_path: Path
) -> None:
    served, trusted = tls(tmp_path)
    with (
        running_api(served) as secure,
        kind(trusted, socket=daemon.path, origins=[secure.url]) as client,
    ):
        client.get(f"{secure.url}/hop", params={"to": f"{api.url}/echo"})

    assert (secure.tokens, api.tokens) == ([A], [None])


def test_what_was_done_before_a_redirect_is_not_repeated(api: Api, client: httpx.Client) -> None:
    """POST, then 303 to a GET that answers 401: it's the GET that is repeated."""
    client.post(f"{api.url}/hop", params={"to": "/refuse", "status": "303"}, content=b"once")

    assert [(each.method, each.token) for each in api.seen] == [
        ("POST", A),
        ("GET", A),
        ("GET", B),
    ]


def test_a_redirect_of_a_repeated_request_has_the_new_token(
    daemon: FakeDaemon, api: Api, client: httpx.Client
) -> None:
    """And so has a redirect of that: the refused one is never sent again."""
    api.refused = {A}
    answer = client.get(f"{api.url}/hop", params={"to": "/hop?to=/echo"})

    assert answer.status_code == 200
    assert api.tokens == [A, B, B, B]
    assert [method for method, _ in daemon.calls] == ["get_token", "refuse"]


def test_a_redirect_of_a_repeated_request_to_another_host_goes_without_the_token_too(
    api: Api, client: httpx.Client
) -> None:
    api.refused = {A}
    with running_api() as other:
        client.get(f"{api.url}/hop", params={"to": f"{other.url}/echo"})

    assert (api.tokens, other.tokens) == ([A, B], [None])


# Where a token may go


def test_who_asks_another_origin_is_told_so_and_nothing_is_sent(client: httpx.Client) -> None:
    with running_api() as other, pytest.raises(ForeignOrigin, match="this request goes to http"):
        client.get(f"{other.url}/echo")

    assert other.seen == []


def test_a_token_goes_to_the_origin_of_its_api_url_and_its_successor_to_no_other(
    daemon: FakeDaemon, api: Api, kind: Kind
) -> None:
    """The profile was given another environment meanwhile."""
    daemon.script = [always(token_fields("a", api_url=f"{api.url}/base"))]
    daemon.behaviour = always(token_fields("b"))
    with kind(socket=daemon.path) as client:
        assert client.get(f"{api.url}/echo").status_code == 200

        api.refused = {A}
        with pytest.raises(ForeignOrigin):
            client.get(f"{api.url}/echo")

    assert api.tokens == [A, A]


# Secrets, crowds


def test_the_token_shows_in_no_text(api: Api, client: httpx.Client) -> None:
    answer = client.get(f"{api.url}/echo")

    assert api.tokens == [A]
    assert A not in f"{answer!r} {answer.request!r}"


@each_auth
def test_the_token_shows_in_no_text_of_what_holds_it(daemon: FakeDaemon, auth: Auth) -> None:
    holding = auth(socket=daemon.path)
    holding.api_url()

    assert A not in f"{holding} {vars(holding)} {vars(vars(holding)['_held'])}"


@pytest.mark.system
@pytest.mark.parametrize("threaded", [by_httpx, by_requests])
def test_fifty_threads_that_get_a_401_with_one_token_cause_one_refresh_and_all_succeed(
    threaded: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real daemon, and the emulator's API."""
    refused = threading.Barrier(THREADS, timeout=20)
    look = Held.look

    def look_together(
        held: Held, now: float, rejected: Token | None = None
    ) -> Token | Get | Refuse:
        if rejected is not None:
            refused.wait()
        return look(held, now, rejected)

    monkeypatch.setattr(Held, "look", look_together)
    with Emulator() as emulator, Daemon(emulator) as daemon:
        with threaded(socket=str(daemon.socket)) as client, ThreadPoolExecutor(THREADS) as threads:
            client.get(f"{emulator.api_url}/first")
            emulator.revoke_access_tokens()
            urls = [f"{emulator.api_url}/{number}" for number in range(THREADS)]
            answers = [each.status_code for each in threads.map(client.get, urls)]
        told = emulator.state()

    assert answers == [200] * THREADS
    assert (told.api_refused, told.logins, told.refreshes) == (THREADS, 1, 1)
