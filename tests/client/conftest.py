"""What the client's tests share: a place for sockets, and both event loops."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from api import Api, running_api
from fake_daemon import FakeDaemon
from replacing import Replacing


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of a short name: a socket's path has 107 bytes at most."""
    with TemporaryDirectory(prefix="oft-") as directory:
        yield Path(directory)


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as api:
        yield api


@pytest.fixture
def daemon(place: Path) -> Iterator[FakeDaemon]:
    """A daemon that replaces its token when that is refused."""
    with FakeDaemon(place / "s", Replacing()) as daemon:
        yield daemon


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's own daemon and profile are none of the tests' business."""
    for name in ("OPENFIT_TOKEN_SOCKET", "OPENFIT_PROFILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
