"""An emulator for tests: real HTTP on loopback, in a thread with its own event loop.

with running_emulator("lost-answer@2", rules=Rules(token_lifetime=8)) as emulator:
    ... emulator.url, emulator.state().logins, emulator.fault("hang@refresh:1") ...
"""

from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import Final

import httpx
from anyio.abc import TaskStatus
from anyio.from_thread import BlockingPortal, start_blocking_portal

from openfit_emulator.admin import obey
from openfit_emulator.emulated import Emulator
from openfit_emulator.identity import Rules
from openfit_emulator.journal import State
from openfit_emulator.server import Address, serve
from openfit_token.testing._emulator import Orders

USERNAME: Final = "demo@example.org"
PASSWORD: Final = "right horse"
CLIENT_ID: Final = "openfit-emulator"
SCOPE: Final = "OpenFitApi offline_access"
INVALID_GRANT: Final = {
    "error": "invalid_grant",
    "error_description": "invalid_username_or_password",
}
"""The response to a wrong password."""


def login_form(**changes: str) -> dict[str, str]:
    """Return the form of a valid login with these changes; "" omits a field."""
    form = {
        "grant_type": "password",
        "scope": SCOPE,
        "client_id": CLIENT_ID,
        "username": USERNAME,
        "password": PASSWORD,
    }
    return {name: value for name, value in (form | changes).items() if value}


def refresh_form(refresh_token: str) -> dict[str, str]:
    return {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
        "client_id": CLIENT_ID,
    }


def post(web: httpx.Client, form: dict[str, str]) -> httpx.Response:
    return web.post("/connect/token", data=form)


def login(web: httpx.Client) -> dict[str, str]:
    """Log in, and return what was granted."""
    answer = post(web, login_form())
    assert answer.status_code == 200
    fields: dict[str, str] = answer.json()
    return fields


def api(web: httpx.Client, token: str) -> int:
    """Return the status of an API call with this token."""
    return web.get("/api/me", headers={"Authorization": f"Bearer {token}"}).status_code


class RunningEmulator(Orders):
    """An emulator and its thread. All methods may be called from any thread but its own."""

    def __init__(self, portal: BlockingPortal, emulator: Emulator, address: Address) -> None:
        self._portal = portal
        self._emulator = emulator
        self._address = address
        self._served: Future[None] | None = None
        self._ended = Event()
        self.url = ""

    def start(self) -> None:
        """Listen; after a `stop`, at the same address again."""
        self._served, self.url = self._portal.start_task(self._serve)
        self._address = replace(self._address, port=int(self.url.rpartition(":")[2]))

    def stop(self) -> None:
        """Stop listening: connections are refused. The server's state is kept."""
        if self._served is not None:
            self._served.cancel()
            self._ended.wait()
            self._served = None

    async def _serve(self, *, task_status: TaskStatus[str]) -> None:
        self._ended.clear()
        try:
            await serve(self._emulator, self._address, task_status=task_status)
        finally:
            self._ended.set()

    def state(self) -> State:
        return self._portal.call(self._emulator.state)

    revoke_refresh = Orders.revoke_refresh_tokens
    set_lifetime = Orders.set_token_lifetime

    def _order(self, name: str, **fields: object) -> None:
        self._portal.call(obey, self._emulator, name, fields)


def answers_of_init(url: str, api_url: str | None = None) -> tuple[str, ...]:
    """Return the options with which `openfit-tokend init` asks nothing; it reads the password from its input."""
    return (
        *("--environment", "custom", "--id-server", url, "--api-url", api_url or url),
        *("--client-id", CLIENT_ID, "--username", USERNAME, "--password-file", "-"),
    )


@contextmanager
def running_emulator(
    *faults: str,
    rules: Rules | None = None,
    users: Mapping[str, str] | None = None,
    address: Address | None = None,
    enter: Callable[[], object] = str,
) -> Generator[RunningEmulator]:
    """Run an emulator at a free port; by default with one user, USERNAME.

    `enter` is called in its thread first: it may take that to another network.
    """
    emulator = Emulator(users or {USERNAME: PASSWORD}, rules, faults)
    with start_blocking_portal("asyncio") as portal:
        portal.call(enter)
        running = RunningEmulator(portal, emulator, address or Address())
        running.start()
        try:
            yield running
        finally:
            running.stop()


def one_emulator() -> Generator[RunningEmulator]:
    """Run an emulator, as a fixture of any scope does."""
    with running_emulator() as emulator:
        yield emulator


def client(emulator: RunningEmulator) -> httpx.Client:
    """Return a client of this emulator that ignores proxies."""
    return httpx.Client(base_url=emulator.url, trust_env=False, verify=False, timeout=20)  # noqa: S501 -- loopback
