"""Many daemons and one session, on a real PostgreSQL and a real etcd."""

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from statistics import median
from typing import Final, TypeVar

import anyio
import pytest

from daemons import PATIENCE, RunningDaemon, await_that
from emulators import CLIENT_ID, PASSWORD, USERNAME, RunningEmulator, running_emulator
from openfit_emulator.identity import Rules
from openfit_token import TokenError
from openfit_token.errors import Unavailable
from openfit_tokend.core.fleet.row import TERM
from openfit_tokend.fleet.store import Said, Store
from openfit_tokend.host import clock
from openfit_tokend.serving.driver import ServingLoop
from stores.connected import connected
from stores.engines import ENGINES, running
from stores.hosts import KEY, OTHER_KEY, Hosts, at_once, hosts, token_id
from stores.server import PASSWORD as STORE_PASSWORD
from stores.server import StoreServer
from stores.watched import watched

pytestmark = [pytest.mark.system, pytest.mark.slow]

T = TypeVar("T")

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
NO_UPLINK: Final = """
from openfit_tokend.keeping import connecting, http_exchange
async def refused(*_):
    raise connecting.NotSent("there is no uplink", None)
http_exchange.Network.connect_tcp = refused
"""
"""For a daemon: it reaches no token server."""
_tables: Final = count(1)


@pytest.fixture(scope="module", params=ENGINES)
def server(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    """A store that is never killed."""
    with running(request.param) as server:
        yield server


@pytest.fixture(params=ENGINES)
def own_server(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    """A store of a test's own, which it may kill."""
    with running(request.param) as server:
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


def await_refreshes(emulator: RunningEmulator, number: int, patience: float = PATIENCE) -> None:
    await_that(lambda: emulator.state().refreshes >= number, patience=patience)


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


def test_a_token_is_replaced_once_a_period_and_all_have_it_at_once(
    server: StoreServer, table: str
) -> None:
    lifetime, periods = 12, 3
    with (
        running_emulator(rules=Rules(token_lifetime=lifetime)) as emulator,
        hosts(server, emulator, table, 8) as fleet,
    ):
        fleet.start()
        fleet.await_one_token()
        with watched(fleet.all) as seen:
            for number in range(1, periods + 1):
                await_refreshes(emulator, number)

        state = emulator.state()
        assert (state.login_requests, state.max_concurrent) == (1, {USERNAME: 1})
        assert state.refresh_requests <= state.uptime / (lifetime / 2)
        assert seen.gaps == []
        assert median(seen.delays()) < 1.0


@pytest.mark.long
def test_who_reaches_no_token_server_keeps_no_token_from_others(
    server: StoreServer, table: str
) -> None:
    periods = 20
    with (
        running_emulator(rules=Rules(token_lifetime=8)) as emulator,
        hosts(server, emulator, table, 1) as fleet,
    ):
        fleet.start(NO_UPLINK)  # so it tries before all others
        fleet.add(2)
        fleet.start(beginning_with=1)
        fleet.await_one_token()
        with watched(fleet.all) as seen:
            await_refreshes(emulator, periods, 40 * periods)

        assert seen.gaps == []
        assert emulator.state().login_requests == 1


def test_a_token_that_all_refuse_at_once_is_replaced_once(
    fleet: Hosts, emulator: RunningEmulator
) -> None:
    fleet.add(8)
    fleet.start()
    old = fleet.await_one_token()

    at_once(fleet.all, lambda host: host.call("refuse", id=old, wait=60))

    fleet.await_one_token(other_than=old)
    assert emulator.state().refresh_requests == 1


def test_six_refreshes_that_are_wanted_at_different_hosts_cost_six_requests(
    fleet: Hosts, emulator: RunningEmulator
) -> None:
    fleet.add(6)
    fleet.start()
    tokens = [fleet.await_one_token()]

    for number in range(6):
        tokens.append(fleet.replace_token(tokens[-1], number))

    assert len(set(tokens)) == 7
    state = emulator.state()
    assert (state.login_requests, state.refresh_requests) == (1, 6)


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


def test_login_and_logout_at_any_host_are_everybodys(
    fleet: Hosts, emulator: RunningEmulator
) -> None:
    fleet.add(3)
    fleet.start()
    fleet.await_one_token()
    first, second, third = fleet.all

    first.call("logout")
    for each in fleet.all:
        each.await_state("logged_out")
    second.kill()
    second.start()
    second.await_state("logged_out")
    third.call("login")
    for each in fleet.all:
        each.await_state("fresh")  # until it hears of the login, it says that it is logged out

    fleet.await_one_token()
    assert emulator.state().login_requests == 2
    assert emulator.state().revocations == 1


# Hosts that end, or stand still


def test_a_host_that_is_killed_in_a_refresh_holds_the_others_up_for_its_claim_alone(
    fleet: Hosts, emulator: RunningEmulator
) -> None:
    fleet.add(3)
    fleet.start(SHORT_CLAIMS)
    old = fleet.await_one_token()
    owner, *others = fleet.all
    emulator.fault("hang@refresh:1")
    with watched(others) as seen:
        refuse_without_waiting(owner, old)
        await_that(lambda: emulator.state().refresh_requests == 1)
        owner.kill()
        fleet.all.remove(owner)

        await_that(lambda: emulator.state().refreshes == 1)
        fleet.await_one_token(other_than=old)

    state = emulator.state()
    assert (state.login_requests, state.refresh_requests) == (1, 2)
    assert seen.gaps == []
    await_that(lambda: any("fleet_request_given_up" in each.log() for each in others))


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


def kill(store: StoreServer) -> Callable[[], None]:
    store.kill()
    return store.start


def stand_still(store: StoreServer) -> Callable[[], None]:
    store.stand_still()
    return store.go_on


@pytest.mark.parametrize("break_it", [kill, stand_still])
def test_without_its_store_a_fleet_serves_what_lives_and_says_what_is_wrong(
    own_server: StoreServer,
    emulator: RunningEmulator,
    break_it: Callable[[StoreServer], Callable[[], None]],
) -> None:
    with hosts(own_server, emulator, OWN_TABLE, 5) as fleet:
        fleet.start()
        old = fleet.await_one_token()

        mend = break_it(own_server)
        for each in fleet.all:
            refuse_without_waiting(each, old)
        for each in fleet.all:
            await_trouble(each, "the fleet's store can't be reached")
            assert token_id(each, wait=0) == old
        assert emulator.state().token_requests == 1
        begun = clock.boot()
        mend()

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


def test_hosts_whose_connections_an_administrator_ends_go_on(
    fleet: Hosts, emulator: RunningEmulator, server: StoreServer
) -> None:
    fleet.add(3)
    fleet.start()
    old = fleet.await_one_token()

    server.end_connections()

    at_once(fleet.all, lambda host: host.call("refuse", id=old, wait=60))
    fleet.await_one_token(other_than=old)
    state = emulator.state()
    assert (state.login_requests, state.refresh_requests) == (1, 1)


# Passwords


def test_a_wrong_password_at_all_hosts_costs_three_rejections_at_most(
    fleet: Hosts, emulator: RunningEmulator
) -> None:
    fleet.add(MANY, password=WRONG)
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

    at_once(fleet.all[::4], restart_and_insist)

    for each in fleet.all:
        each.await_state("locked")
    assert emulator.state().token_requests <= 3


def test_different_wrong_passwords_cost_three_rejections_at_most(
    fleet: Hosts, emulator: RunningEmulator
) -> None:
    for number in range(8):
        fleet.add(password=f"{WRONG} {number}")

    fleet.start()

    for each in fleet.all:
        each.await_log("login_failed")  # it was rejected, or isn't sent
    assert emulator.state().token_requests == 3


def test_a_host_whose_password_is_stale_does_not_lock_the_others(
    fleet: Hosts, emulator: RunningEmulator
) -> None:
    fleet.add(1, password=WRONG)
    fleet.start()
    stale = fleet.all[0]
    stale.await_state("locked")

    fleet.add(3)
    fleet.start(beginning_with=1)
    for host in fleet.all[1:]:  # who asks before one has logged in is told of the rejection
        host.await_state("fresh")

    stale.await_state("fresh")
    token = fleet.await_one_token()
    assert emulator.state().users[USERNAME].failed == 0  # reset by the login
    assert emulator.state().login_requests == 2
    assert await_one_token_after_refusing(fleet, token) != token
    assert emulator.state().logins_rejected == 1


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


def flipped(row: Said) -> tuple[bytes, bytes]:
    assert row.tag is not None
    assert row.data is not None
    middle = len(row.data) // 2
    changed = bytes([row.data[middle] ^ 1])
    return b"n" * 16, row.data[:middle] + changed + row.data[middle + 1 :]


def of_another_write(row: Said) -> tuple[bytes, bytes]:
    assert row.data is not None
    return b"n" * 16, row.data


@pytest.mark.parametrize("tamper", [flipped, of_another_write])
def test_a_row_that_was_tampered_with_is_neither_used_nor_written_over(
    fleet: Hosts,
    emulator: RunningEmulator,
    server: StoreServer,
    table: str,
    tamper: Callable[[Said], tuple[bytes, bytes]],
) -> None:
    fleet.add(2)
    key = in_store(server, table, lambda store: key_of_first_row(store, fleet))
    token = fleet.await_one_token()

    async def tampered(store: Store) -> tuple[Said, Said]:
        row = await store.read(key)
        said = await store.write(key, row.tag, *tamper(row))
        assert said is not None
        return row, said

    before, after = in_store(server, table, tampered)
    for each in fleet.all:
        each.await_log("fleet_row_unreadable")
        refuse_without_waiting(each, token)
        with pytest.raises(Unavailable):
            each.call("login", wait=5)
        assert token_id(each, wait=0) == token

    async def mend(store: Store) -> Said:
        row = await store.read(key)
        assert before.tag is not None
        assert before.data is not None
        await store.write(key, row.tag, before.tag, before.data)
        return row

    found = in_store(server, table, mend)
    assert (found.tag, found.data) == (after.tag, after.data)
    fleet.await_one_token(other_than=token)
    assert emulator.state().logins_rejected == 0


def test_a_host_with_another_key_stays_away_from_the_row(
    fleet: Hosts, emulator: RunningEmulator, server: StoreServer, table: str
) -> None:
    fleet.add(2)
    key = in_store(server, table, lambda store: key_of_first_row(store, fleet))
    fleet.await_one_token()
    before = in_store(server, table, lambda store: store.read(key))

    fleet.add(1, key=OTHER_KEY)
    stranger = fleet.all[2]
    stranger.start()
    stranger.await_log("fleet_row_unreadable")

    with pytest.raises(Unavailable):
        stranger.call("login", wait=5)
    after = in_store(server, table, lambda store: store.read(key))
    assert (after.tag, after.data) == (before.tag, before.data)
    assert emulator.state().login_requests == 1


def in_store(server: StoreServer, table: str, do: Callable[[Store], Awaitable[T]]) -> T:
    """Do something with the rows of a table."""

    async def connect_and_do() -> T:
        async with connected(server, table) as store:
            return await do(store)

    return anyio.run(
        connect_and_do, backend="asyncio", backend_options={"loop_factory": ServingLoop}
    )


async def key_of_first_row(store: Store, fleet: Hosts) -> str:
    """Start a fleet, and return the key of the first row that it writes."""
    await anyio.to_thread.run_sync(fleet.start)
    with anyio.fail_after(20):
        return (await store.news(20))[0].key
