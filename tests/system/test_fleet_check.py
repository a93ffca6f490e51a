"""`openfit-tokend check --network` in a fleet: each thing that is wrong with the store is named."""

from collections.abc import Iterator

import pytest

from daemons import RunningDaemon
from emulators import running_emulator
from stores.engines import ENGINES, running
from stores.hosts import OTHER_KEY, Hosts, hosts
from stores.server import PASSWORD as STORE_PASSWORD
from stores.server import StoreServer

pytestmark = [pytest.mark.system, pytest.mark.slow]

TABLE = "openfit_fleet"


@pytest.fixture(params=ENGINES)
def server(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    with running(request.param) as server:
        yield server


@pytest.fixture
def fleet(server: StoreServer) -> Iterator[Hosts]:
    with running_emulator() as emulator, hosts(server, emulator, TABLE, 1) as fleet:
        yield fleet


def check(daemon: RunningDaemon) -> tuple[int, str]:
    """Return the exit status, and the lines about the store."""
    done = daemon.run("openfit-tokend", "check", "--network", "--config", str(daemon.config))
    assert STORE_PASSWORD not in done.stdout + done.stderr
    _, found, rest = done.stdout.partition("] store")
    assert found, done.stdout + done.stderr
    return done.returncode, rest.split("\n[")[0]


def test_what_is_wrong_is_named_one_after_the_other_until_all_is_well(
    server: StoreServer, fleet: Hosts
) -> None:
    (daemon,) = fleet.all
    password = daemon.directory / "store.password"

    status, text = check(daemon)
    assert (status, "no such table" in text or "may not use" in text) == (75, True)

    server.make_table(TABLE)
    password.write_text("wrong")
    status, text = check(daemon)
    assert (status, "it refuses the user or the password" in text) == (75, True)

    password.write_text(STORE_PASSWORD)
    status, text = check(daemon)
    assert (status, "no row of them is there yet" in text) == (0, True)

    fleet.start()
    daemon.await_state("fresh")
    status, text = check(daemon)
    assert (status, "1 can be read" in text) == (0, True)

    fleet.add(key=OTHER_KEY)
    status, text = check(fleet.all[1])
    assert (status, "a key that this host doesn't have" in text) == (78, True)

    server.kill()
    status, text = check(daemon)
    assert (status, "Connection refused" in text) == (75, True)
