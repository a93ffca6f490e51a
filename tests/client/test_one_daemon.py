"""A client that has talked to one daemon talks to no other: that would be another's login."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_daemon import FakeDaemon, always, token_fields
from openfit_token import AsyncTokenClient, TokenClient
from openfit_token._client import paths
from openfit_token.errors import DaemonUnreachable


@pytest.fixture
def own(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """The user's own daemon; each test takes it away."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    (place / "openfit-tokend").mkdir()
    with FakeDaemon(place / "openfit-tokend/socket", always(token_fields("own"))) as daemon:
        yield daemon


@pytest.fixture
def machines(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """The machine's daemon, which the same client would find if there were no other."""
    monkeypatch.setattr(paths, "SYSTEM_SOCKET", str(place / "system"))
    with FakeDaemon(place / "system", always(token_fields("machines"))) as daemon:
        yield daemon


def test_when_its_own_daemon_is_gone_a_client_does_not_take_the_machines(
    own: FakeDaemon, machines: FakeDaemon
) -> None:
    with TokenClient() as client:
        assert client.get_token().access_token == "token-own"
        own.remove()

        with pytest.raises(DaemonUnreachable, match=own.path):
            client.get_token(wait=0.1)

    assert machines.accepted == 0
    with TokenClient() as another:
        assert another.get_token().access_token == "token-machines"


async def test_nor_does_an_async_client(own: FakeDaemon, machines: FakeDaemon) -> None:
    async with AsyncTokenClient() as client:
        assert (await client.get_token()).access_token == "token-own"
        own.remove()

        with pytest.raises(DaemonUnreachable, match=own.path):
            await client.get_token(wait=0.1)

    assert machines.accepted == 0


def test_a_client_that_never_had_an_answer_still_looks_everywhere(
    own: FakeDaemon, machines: FakeDaemon
) -> None:
    own.stop()
    with TokenClient() as client:
        with pytest.raises(DaemonUnreachable):
            client.get_token(wait=0.1)
        Path(own.path).unlink()

        assert client.get_token().access_token == "token-machines"
    assert machines.accepted == 1


def test_its_own_daemon_that_comes_back_is_taken_up_again(
    own: FakeDaemon, machines: FakeDaemon
) -> None:
    with TokenClient() as client:
        client.get_token()
        own.remove()
        own.start()

        assert client.get_token().access_token == "token-own"
    assert machines.accepted == 0
