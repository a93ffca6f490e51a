"""No setting and no variable lets the daemon talk to a server that it can't verify."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from emulators import CLIENT_ID, PASSWORD, SCOPE, USERNAME, RunningEmulator, running_emulator
from openfit_emulator.server import Address
from openfit_token._shared.secret import Secret
from openfit_tokend.config.passwords import Passwords
from openfit_tokend.core.events import Grant
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import Login
from openfit_tokend.core.settings.values import Identity, Profile
from openfit_tokend.keeping.endpoint import Endpoint, Order, Reply

SWITCHES = {
    "PYTHONHTTPSVERIFY": "0",
    "CURL_INSECURE": "1",
    "GIT_SSL_NO_VERIFY": "1",
    "NODE_TLS_REJECT_UNAUTHORIZED": "0",
    "REQUESTS_CA_BUNDLE": "",
    "CURL_CA_BUNDLE": "",
    "SSL_VERIFY": "false",
}
"""What switches verification off in other programs, or did once."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = tmp_path_factory.mktemp("tls") / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(key))
    return key


@pytest.fixture
def emulator(server: Path) -> Iterator[RunningEmulator]:
    with running_emulator(address=Address(tls_cert=server)) as emulator:
        yield emulator


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint(Passwords())


async def log_in(endpoint: Endpoint, url: str) -> Reply:
    identity = Identity(url, CLIENT_ID, SCOPE, USERNAME)
    profile = Profile(
        name="main", environment="custom", identity=identity, api_url=url, policy=Policy()
    )
    order = Order(
        profile=profile,
        request=Login(),
        password=Secret(PASSWORD),
        deadline=0.0,
        is_void=lambda: False,
    )
    return await endpoint.request(order)


async def test_nothing_in_the_environment_switches_verification_off(
    endpoint: Endpoint, emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SWITCHES.items():
        monkeypatch.setenv(name, value)

    reply = await log_in(endpoint, emulator.url)

    assert "from a CA that isn't trusted" in str(reply.meaning)
    assert emulator.state().token_requests == 0


async def test_the_environment_can_name_whom_to_trust_instead(
    endpoint: Endpoint,
    emulator: RunningEmulator,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    reply = await log_in(endpoint, emulator.url)

    assert isinstance(reply.meaning, Grant)


async def test_a_certificate_of_another_name_is_refused_also_by_who_signed_it(
    endpoint: Endpoint,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, file = tmp_path / "other.pem", tmp_path / "ca.pem"
    authority.issue_cert("ids.example.org").private_key_and_cert_chain_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))

    with running_emulator(address=Address(tls_cert=key)) as other:
        reply = await log_in(endpoint, other.url)

        assert "certificate is for another name" in str(reply.meaning)
        assert other.state().token_requests == 0
