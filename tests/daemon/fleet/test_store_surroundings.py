"""What libpq is told is what the configuration says: no variable and no file of the home changes it."""

import os
from pathlib import Path

import pytest
import trustme

from openfit_tokend.core.settings.store import Host
from stores.engines import prepared

pq = pytest.importorskip("psycopg").pq

UNLISTED = ("PGDATESTYLE", "PGGEQO", "PGTZ")
"""Variables that belong to no option."""


def strange_home(authority: trustme.CA, home: Path) -> Path:
    """Make a home directory of which libpq would use nothing, or would refuse to go on."""
    own, files = authority.issue_cert("somebody"), home / ".postgresql"
    files.mkdir(parents=True)
    own.private_key_pem.write_to_path(str(files / "postgresql.key"))
    (files / "postgresql.key").chmod(0o644)
    own.cert_chain_pems[0].write_to_path(str(files / "postgresql.crt"))
    for name in ("root.crt", "root.crl"):
        (files / name).write_text("nothing of use")
    return home


@pytest.mark.parametrize("by", ["TLS", "a Unix socket"])
async def test_neither_variables_nor_files_of_the_home_change_the_connection(
    by: str, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with prepared("postgresql") as server:
        server.talk_tls(authority.issue_cert("localhost"))
        server.set_up()
        server.make_table(table)
        if by == "TLS":
            host, ca_file = Host("localhost", server.host.port), tmp_path / "ca.pem"
        else:
            host, ca_file = Host(str(server.directory), server.host.port), None
        store = server.store(table, hosts=[host], ca_file=ca_file)
        with monkeypatch.context() as surroundings:
            surroundings.setenv("HOME", str(strange_home(authority, tmp_path / "home")))
            known = {each.envvar.decode() for each in pq.Conninfo.get_defaults() if each.envvar}
            for name in known.union(UNLISTED):
                surroundings.setenv(name, "nonsense")

            await store.connect()

            assert os.environ["PGPASSWORD"] == "nonsense"  # for a command that is given it
            assert await store.write("ab" * 32, None, b"A" * 16, b"data") is not None
        await store.close()
