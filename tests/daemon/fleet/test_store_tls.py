"""A store that isn't on this machine is talked to by TLS alone, and its certificate is verified."""

from pathlib import Path

import pytest
import trustme

from openfit_tokend.core.settings.store import Host
from openfit_tokend.fleet.store import Unreached
from stores.connected import listening
from stores.server import StoreServer

KEY = "ab" * 32
TAG = b"A" * 16


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(new_server: StoreServer, authority: trustme.CA, table: str) -> StoreServer:
    """A server with a certificate for localhost, and for no address."""
    new_server.talk_tls(authority.issue_cert("localhost"))
    new_server.set_up()
    new_server.make_table(table)
    return new_server


def file_of(authority: trustme.CA, directory: Path) -> Path:
    path = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


async def test_a_store_whose_certificate_is_right_is_used(
    server: StoreServer, authority: trustme.CA, table: str, tmp_path: Path
) -> None:
    hosts = [Host("localhost", server.host.port)]
    store = server.store(table, hosts=hosts, ca_file=file_of(authority, tmp_path))

    async with listening(store):
        assert await store.write(KEY, None, TAG, b"data") is not None
        assert (await store.read(KEY)).data == b"data"
        assert await store.news(10) == [(KEY, TAG)]


async def test_a_certificate_of_another_authority_is_refused(
    server: StoreServer, table: str, tmp_path: Path
) -> None:
    hosts = [Host("localhost", server.host.port)]
    store = server.store(table, hosts=hosts, ca_file=file_of(trustme.CA(), tmp_path))

    with pytest.raises(Unreached, match="its TLS certificate can't be trusted"):
        await store.connect()


async def test_a_certificate_for_another_name_is_refused(
    server: StoreServer, authority: trustme.CA, table: str, tmp_path: Path
) -> None:
    store = server.store(table, ca_file=file_of(authority, tmp_path))  # by its address

    with pytest.raises(Unreached, match="its TLS certificate can't be trusted"):
        await store.connect()


async def test_a_server_without_tls_is_refused(
    shared_server: StoreServer, authority: trustme.CA, table: str, tmp_path: Path
) -> None:
    store = shared_server.store(table, ca_file=file_of(authority, tmp_path))

    with pytest.raises(Unreached, match="TLS failed"):
        await store.connect()


async def test_a_file_of_authorities_that_is_missing_is_named(
    shared_server: StoreServer, table: str, tmp_path: Path
) -> None:
    store = shared_server.store(table, ca_file=tmp_path / "none.pem")

    with pytest.raises(Unreached, match=r"none\.pem"):
        await store.connect()


async def test_a_file_of_authorities_that_others_can_write_is_refused(
    server: StoreServer, authority: trustme.CA, table: str, tmp_path: Path
) -> None:
    file = file_of(authority, tmp_path)
    file.chmod(0o666)
    store = server.store(table, hosts=[Host("localhost", server.host.port)], ca_file=file)

    with pytest.raises(Unreached, match="can be written by everybody"):
        await store.connect()
