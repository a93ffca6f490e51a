"""A daemon whose fleet's store can't be reached, or can't even be talked to."""

import os
from pathlib import Path

import pytest

from daemons import prepared_daemon, profile
from emulators import running_emulator
from name_server import needs_another_name_server, silent_name_server
from openfit_tokend.host import clock, package
from stores.hosts import fleet_table, write_secrets
from stores.server import PASSWORD as STORE_PASSWORD

pytestmark = pytest.mark.system

POSTGRESQL = "postgresql://openfit@silent.example/fleet"
ETCD = "etcd://openfit@silent.example"


@pytest.mark.slow
@needs_another_name_server
@pytest.mark.parametrize("url", [POSTGRESQL, ETCD])
def test_a_store_whose_name_cannot_be_looked_up_holds_up_nobody(url: str, tmp_path: Path) -> None:
    with (
        running_emulator() as emulator,
        silent_name_server(tmp_path) as launcher,
        prepared_daemon(fleet_table(url), profile(emulator.url)) as daemon,
    ):
        write_secrets(daemon)
        daemon.launcher = launcher
        daemon.start()
        daemon.await_log("fleet_not_reached", "silent.example:", "no answer within 5.0 s")

        longest = 0.0
        for _ in range(100):
            begun = clock.boot()
            daemon.call("status")
            longest = max(longest, clock.boot() - begun)

        assert longest < 1.0
        assert emulator.state().token_requests == 0
        assert STORE_PASSWORD not in daemon.log()
        assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("url", "missing", "extra"),
    [
        (POSTGRESQL, "psycopg", "fleet-postgres"),
        (POSTGRESQL, "cryptography", "fleet-postgres"),
        (ETCD, "cryptography", "fleet"),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(
    url: str, missing: str, extra: str
) -> None:
    with prepared_daemon(fleet_table(url), profile("http://127.0.0.1:9")) as daemon:
        write_secrets(daemon)

        daemon.begin(without=(missing,))

        assert daemon.wait() == os.EX_CONFIG
        assert f"a Python package for [fleet] is missing: {missing}" in daemon.log()
        assert package.again(extra) in daemon.log()
