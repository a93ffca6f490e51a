"""Many daemons and one session, each a process, on a real store."""

import signal
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from statistics import median
from typing import Final

import pytest

from daemons import RunningDaemon, await_that
from emulators import CLIENT_ID, PASSWORD, USERNAME, RunningEmulator, running_emulator
from openfit_emulator.identity import Rules
from openfit_token import TokenError
from openfit_tokend.core.fleet.row import TERM
from openfit_tokend.host import clock
from stores.engines import running
from stores.hosts import KEY, Hosts, at_once, hosts, token_id
from stores.server import PASSWORD as STORE_PASSWORD
from stores.server import StoreServer
from stores.watched import watched

pytestmark = [pytest.mark.system, pytest.mark.slow]

MANY: Final = 20
WRONG: Final = "wrong horse"
OWN_TABLE: Final = "openfit_fleet"
SHORT_CLAIMS: Final = """
from openfit_tokend.core.fleet import row, writing
writing.SEND_BY, row.Claim.__init__.__defaults__ = 2.0, (6.0, None)
"""
"""For a daemon: its claims stand for six seconds, and not for a minute and a quarter."""
STOPS_BEFORE_ITS_FORM: Final = """
import os, signal
from openfit_tokend.keeping import http_exchange
send = http_exchange._Form.__anext__
async def stop_and_send(form):
    if os.path.exists({flag!r}):
        os.unlink({flag!r})
        os.kill(os.getpid(), signal.SIGSTOP)
    return await send(form)
http_exchange._Form.__anext__ = stop_and_send
"""
"""For a daemon: it stops once, between its claim and its form."""
_tables: Final = count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[StoreServer]:
    """A store that is never killed."""
    with running("postgresql") as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[StoreServer]:
    """A store of a test's own, which it may kill."""
    with running("etcd") as server:
        server.make_table(OWN_TABLE)
        yield server


@pytest.fixture
def table(server: StoreServer) -> str:
    name = f"fleet_{next(_tables)}"
    server.make_table(name)
    return name


@pytest.fixture
def fleet(server: StoreServer, emulator: RunningEmulator, table: str) -> Iterator[Hosts]:
    """A fleet without hosts as yet."""
    with hosts(server, emulator, table) as fleet:
        yield fleet


def refuse_without_waiting(host: RunningDaemon, token: str) -> None:
    with suppress(TokenError):
        host.call("refuse", id=token, wait=0)


# In fine weather


def test_twenty_that_start_together_log_in_once(fleet: Hosts, emulator: RunningEmulator) -> None:
    fleet.add(MANY)

    begun = clock.boot()
    fleet.start()
    at_once(fleet.all, token_id)
    took = clock.boot() - begun

    state = emulator.state()
    assert (state.login_requests, state.refresh_requests) == (1, 0)
    assert len({token_id(each) for each in fleet.all}) == 1
    assert took < TERM  # and 15 s where nothing else runs; a claim that is lost costs all of it


def test_a_token_is_replaced_once_and_all_have_the_next_at_once(
    server: StoreServer, table: str
) -> None:
    with (
        running_emulator(rules=Rules(token_lifetime=12)) as emulator,
        hosts(server, emulator, table, 8) as fleet,
    ):
        fleet.start()
        fleet.await_one_token()
        with watched(fleet.all) as seen:
            await_that(lambda: len(seen.delays()) == len(fleet.all) - 1)

        state = emulator.state()
        assert (state.login_requests, state.refresh_requests) == (1, 1)
        assert seen.gaps == []
        assert median(seen.delays()) < 1.0


def test_a_host_that_comes_later_or_again_takes_the_session_that_is_there(
    fleet: Hosts, emulator: RunningEmulator
) -> None:
    fleet.add(2)
    fleet.start()
    token = fleet.await_one_token()

    fleet.all[0].stop()
    fleet.all[1].kill()
    fleet.add(1)
    fleet.start()

    assert fleet.await_one_token() == token
    assert emulator.state().token_requests == 1


# A host that stands still


def test_a_host_that_stood_still_before_its_form_sends_nothing_when_it_wakes(
    fleet: Hosts, emulator: RunningEmulator, tmp_path: Path
) -> None:
    flag = tmp_path / "stop"
    fleet.add(3)
    fleet.start(SHORT_CLAIMS + STOPS_BEFORE_ITS_FORM.format(flag=str(flag)))
    old = fleet.await_one_token()
    owner, *others = fleet.all
    flag.touch()

    refuse_without_waiting(owner, old)
    await_that(lambda: is_stopped(owner))
    fleet.all = others
    new = await_one_token_after_refusing(fleet, old)
    owner.signal(signal.SIGCONT)

    fleet.all = [owner, *others]
    assert fleet.await_one_token(other_than=old) == new
    owner.await_state("fresh")
    assert emulator.state().refresh_requests == 1
    assert emulator.state().login_requests == 1


def is_stopped(daemon: RunningDaemon) -> bool:
    return Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def await_one_token_after_refusing(fleet: Hosts, old: str) -> str:
    """Let all refuse a token, and return the next."""
    at_once(fleet.all, lambda host: host.call("refuse", id=old, wait=60))
    return fleet.await_one_token(other_than=old)


# The store


def test_without_its_store_a_fleet_serves_what_lives_and_says_what_is_wrong(
    own_server: StoreServer, emulator: RunningEmulator
) -> None:
    with hosts(own_server, emulator, OWN_TABLE, 5) as fleet:
        fleet.start()
        old = fleet.await_one_token()

        own_server.stand_still()
        for each in fleet.all:
            refuse_without_waiting(each, old)
        for each in fleet.all:
            await_trouble(each, "the fleet's store can't be reached")
            assert token_id(each, wait=0) == old
        assert emulator.state().token_requests == 1
        begun = clock.boot()
        own_server.go_on()

        fleet.await_one_token(other_than=old)
        took = clock.boot() - begun
        for each in fleet.all:
            each.await_state("fresh")
        state = emulator.state()
        assert (state.login_requests, state.refresh_requests) == (1, 1)
        assert took < 15  # on a machine that does nothing else, less than 10


def await_trouble(daemon: RunningDaemon, words: str) -> None:
    """Wait until a daemon says with these words why it doesn't replace a token that was refused."""
    await_that(lambda: words in str(daemon.profile_status()["last_error"]), daemon.log)


def test_a_store_that_ends_in_a_refresh_is_told_of_its_outcome_when_it_is_back(
    own_server: StoreServer, emulator: RunningEmulator
) -> None:
    with hosts(own_server, emulator, OWN_TABLE, 3) as fleet:
        fleet.start()
        old = fleet.await_one_token()
        emulator.fault("slow=2@refresh:1")
        owner = fleet.all[0]

        refuse_without_waiting(owner, old)
        await_that(lambda: emulator.state().refresh_requests == 1)
        own_server.kill()
        new = owner.call("refuse", id=old, wait=30)["id"]
        own_server.start()

        assert fleet.await_one_token(other_than=old) == new
        assert emulator.state().token_requests == 2


# Passwords


def test_a_wrong_password_at_all_hosts_costs_three_rejections_at_most(
    fleet: Hosts, emulator: RunningEmulator
) -> None:
    fleet.add(8, password=WRONG)
    fleet.start()
    for each in fleet.all:
        each.await_state("locked")
    assert emulator.state().token_requests == 1

    def restart_and_insist(host: RunningDaemon) -> None:
        host.kill()
        host.start()
        host.await_state("locked")
        with suppress(TokenError):
            host.call("login", wait=10)
        host.call("reload")

    at_once(fleet.all[::2], restart_and_insist)

    for each in fleet.all:
        each.await_state("locked")
    assert emulator.state().token_requests <= 3


# What lies in the store


def test_nothing_lies_in_the_clear_in_the_store_or_beside_a_daemon(
    own_server: StoreServer, emulator: RunningEmulator
) -> None:
    with hosts(own_server, emulator, OWN_TABLE, 2) as fleet:
        fleet.start()
        old = fleet.await_one_token()
        await_one_token_after_refusing(fleet, old)
        token = str(fleet.all[0].call("get_token")["access_token"])

        stored = own_server.content()
        beside = b"".join(
            path.read_bytes()
            for each in fleet.all
            for path in each.directory.rglob("*")
            if path.is_file() and path.name not in {"password", "store.password", "fleet.key"}
        )

    for secret in (token, PASSWORD, KEY):
        assert secret.encode() not in stored
        assert secret.encode() not in beside
    assert bytes.fromhex(KEY) not in stored
    assert STORE_PASSWORD.encode() not in beside
    for name in (USERNAME, CLIENT_ID):
        assert name.encode() not in stored
