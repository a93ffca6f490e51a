"""The shipped proxies: each is in docs/proxy/, and run by the program that Debian has."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

import proxies
from api import running_api, tls
from daemons import profile
from emulators import running_emulator
from fake_http_daemon import FakeHttpDaemon
from healing import World, running_world
from proxies import API_HOST, PROXIES, Between, Restarted
from service_managers import managed_daemon


@pytest.fixture(params=PROXIES)
def program(request: pytest.FixtureRequest) -> str:
    """Return which of the proxies is run."""
    return str(request.param)


@pytest.fixture
def world(program: str) -> Generator[World]:
    """Run a proxy with the real daemon."""
    with running_world(program=program) as running:
        yield running


@pytest.fixture
def between(program: str, tmp_path: Path) -> Generator[Between]:
    """Run a proxy with a daemon that answers what it is told to."""
    with _between(program, tmp_path) as running:
        yield running


@pytest.fixture
def on_loopback(program: str, tmp_path: Path) -> Generator[Between]:
    """Run the same proxy, which listens on loopback too, as docs/proxy.md says."""
    with _between(program, tmp_path, *proxies.on_loopback(program)) as running:
        yield running


@contextmanager
def _between(program: str, tmp_path: Path, *changes: tuple[str, str]) -> Generator[Between]:
    secured, trusted = tls(tmp_path, API_HOST)
    with (
        FakeHttpDaemon(tmp_path / "http.socket") as daemon,
        running_api(secured) as api,
        PROXIES[program](tmp_path / "http.socket", api.url, trusted, *changes) as proxy,
    ):
        yield Between(daemon, proxy, api)


@pytest.fixture
def restarted(program: str, tmp_path: Path) -> Generator[Restarted]:
    """Run a proxy with a daemon whose sockets outlive it, as those of systemd do."""
    secured, trusted = tls(tmp_path, API_HOST)
    with (
        running_emulator() as emulator,
        running_api(secured) as api,
        managed_daemon(profile(emulator.url)) as (manager, daemon),
    ):
        manager.pass_socket(daemon.socket)
        http = daemon.socket.with_name("http.socket")
        manager.pass_socket(http, "http")
        daemon.start()
        daemon.await_state("fresh")
        with PROXIES[program](http, api.url, trusted) as proxy:
            yield Restarted(daemon, proxy)
