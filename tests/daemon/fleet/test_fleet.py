"""Several hosts with one session: real keepers and requests, over a store in memory."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from emulators import USERNAME, RunningEmulator
from fleets import Host, fleet_of, refuse
from inside import async_await_that
from openfit_tokend.core.fleet.row import Claim
from openfit_tokend.core.session import Requesting, last_error, live
from openfit_tokend.core.settings.values import Account
from openfit_tokend.fleet.row_form import row_key
from openfit_tokend.host import clock
from openfit_tokend.keeping.turns import MAX_REQUESTS
from openfit_tokend.serving.status import status_of

pytestmark = pytest.mark.usefixtures("unpaced")

Row = tuple[bytes | None, bytes | None]
"""A tag, and what it is the tag of."""


def errors(host: Host) -> list[str]:
    """Return what was told of logins that failed."""
    return [ended.error.message for ended in host.ended if ended.error is not None]


async def test_hosts_that_start_together_log_in_once(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    async with fleet_of(5, tmp_path, emulator.url) as fleet:
        await fleet.agreed()

    state = emulator.state()
    assert (state.login_requests, state.refresh_requests) == (1, 0)


async def test_a_token_that_all_hosts_refuse_is_replaced_once(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    async with fleet_of(5, tmp_path, emulator.url) as fleet:
        old = await fleet.agreed()
        for host in fleet.hosts:
            refuse(host)
        await async_await_that(lambda: all(host.token != old for host in fleet.hosts))
        await fleet.agreed()

    assert emulator.state().refresh_requests == 1


async def test_two_profiles_of_an_account_log_in_one_after_the_other(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    async with fleet_of(0, tmp_path, emulator.url) as fleet:
        for _ in range(2):
            await fleet.add(USERNAME, USERNAME)

        await async_await_that(
            lambda: all(live(k.session, clock.boot()) for host in fleet.hosts for k in host.keepers)
        )
    state = emulator.state()
    assert (state.login_requests, state.max_concurrent) == (2, {"demo@example.org": 1})


async def test_a_store_that_is_away_costs_no_login_and_live_tokens_are_served(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    async with fleet_of(3, tmp_path, emulator.url) as fleet:
        token = await fleet.agreed()
        fleet.database.down = True
        for host in fleet.hosts:
            host.store.disturb()
            host.keeper.order_login(None)
        told = "the fleet's store can't be reached: it is down"
        await async_await_that(lambda: all(told in errors(host) for host in fleet.hosts))
        assert await fleet.agreed() == token
        for host in fleet.hosts:
            shown = status_of(host.keeper, clock.boot(), operator=False)["degraded"]
            assert told in repr(shown)

        fleet.database.down = False
        await async_await_that(lambda: all(host.fleet.problem is None for host in fleet.hosts))
        assert await fleet.agreed() == token
        assert {last_error(host.keeper.session) for host in fleet.hosts} == {None}
        assert {host.keeper.blocked for host in fleet.hosts} == {None}
    assert emulator.state().token_requests == 1


async def test_logins_that_wait_for_another_take_no_turn_from_a_refresh(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    others = ["other@example.org"] * (MAX_REQUESTS + 1)
    async with fleet_of(0, tmp_path, emulator.url) as fleet:
        emulator.fault("hang@login:2")
        host = await fleet.add(USERNAME, *others)
        await async_await_that(lambda: emulator.state().login_requests == 2)
        await fleet.agreed()

        old = host.token
        refuse(host)
        await async_await_that(lambda: host.token not in {None, old})
        assert emulator.state().login_requests == 2


# A host that is gone in the middle of a request


@pytest.fixture
def short_term(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let claims end after a second, and lost logins count at once."""
    monkeypatch.setattr("openfit_tokend.core.fleet.writing.Claim", partial(Claim, term=1.0))
    monkeypatch.setattr("openfit_tokend.core.budget.LATE", 0.0)


@pytest.mark.usefixtures("short_term")
async def test_all_hosts_go_on_when_one_of_them_took_over(
    tmp_path: Path, emulator: RunningEmulator, warnings: pytest.LogCaptureFixture
) -> None:
    async with fleet_of(4, tmp_path, emulator.url) as fleet:
        old = await fleet.agreed()
        emulator.fault("hang@refresh:1")
        refuse(fleet.hosts[0])
        await async_await_that(lambda: emulator.state().refresh_requests == 1)
        fleet.hosts.pop(0).kill()

        await async_await_that(lambda: all(host.token not in {None, old} for host in fleet.hosts))
        assert not any(isinstance(host.keeper.session.doing, Requesting) for host in fleet.hosts)
    state = emulator.state()
    assert (state.login_requests, state.refresh_requests) == (1, 2)
    assert "fleet_request_given_up" in warnings.text


def remove(host: Host) -> None:
    """Remove a host's profile, as a reload does."""
    host.keeper.remove()


def change_scope(host: Host) -> None:
    """Let a host's profile have another session, as a reload does."""
    profile = host.keeper.profile
    another = replace(profile.identity, scope="another")
    host.keeper.reconfigure(replace(profile, identity=another), host.keeper.rights)


@pytest.mark.parametrize("leave", [remove, change_scope])
async def test_what_a_refresh_brings_is_the_fleets_though_a_reload_took_its_profile_away(
    tmp_path: Path, emulator: RunningEmulator, leave: Callable[[Host], None]
) -> None:
    async with fleet_of(2, tmp_path, emulator.url) as fleet:
        old = await fleet.agreed()
        first, second = fleet.hosts
        emulator.fault("slow=0.5@refresh:1")
        refuse(first)
        await async_await_that(lambda: emulator.state().refresh_requests == 1)

        leave(first)

        await async_await_that(lambda: second.token not in {None, old})
        refuse(second)
        await async_await_that(lambda: emulator.state().refreshes == 2)
    state = emulator.state()
    assert (state.refreshes_rejected, state.revocations) == (0, 0)


# A row with which something is wrong

OTHER = "other@example.org"


def changed(tag: bytes, data: bytes) -> Row:
    return tag, data[:-1] + bytes([data[-1] ^ 1])


def of_another_write(tag: bytes, data: bytes) -> Row:
    return bytes(len(tag)), data


def without_tag(_: bytes, data: bytes) -> Row:
    return None, data


def without_data(tag: bytes, _: bytes) -> Row:
    return tag, None


@pytest.mark.parametrize("tamper", [changed, of_another_write, without_tag, without_data])
async def test_a_row_that_was_tampered_with_is_neither_used_nor_written_over(
    tmp_path: Path,
    emulator: RunningEmulator,
    warnings: pytest.LogCaptureFixture,
    tamper: Callable[[bytes, bytes], Row],
) -> None:
    async with fleet_of(1, tmp_path, emulator.url) as fleet:
        await fleet.agreed()
        await async_await_that(lambda: fleet.database.writes == 2)  # the claim, what came of it
        ((key, (tag, data)),) = fleet.database.rows.items()
        assert tag is not None
        assert data is not None
        fleet.database.rows[key] = tampered = tamper(tag, data)

        await fleet.add()
        await async_await_that(lambda: "fleet_row_unreadable" in warnings.text)

        assert fleet.database.rows[key] == tampered
    assert emulator.state().token_requests == 1


async def test_a_row_that_the_store_does_not_take_is_its_own_accounts_trouble(
    tmp_path: Path, emulator: RunningEmulator, warnings: pytest.LogCaptureFixture
) -> None:
    async with fleet_of(0, tmp_path, emulator.url) as fleet:
        fleet.database.refused = row_key(Account(emulator.url, USERNAME))
        host = await fleet.add(USERNAME, OTHER)
        ill, _ = host.keepers

        await async_await_that(lambda: emulator.state().login_requests == 1)  # the other's
        await async_await_that(lambda: "fleet_row_refused" in warnings.text)
        await async_await_that(lambda: "isn't taken by the store" in repr(last_error(ill.session)))
        first = fleet.database.exchanges
        await async_await_that(lambda: ill.session.failures > 2)
        assert fleet.database.exchanges - first < 20

        fleet.database.refused = None
        await async_await_that(lambda: host.token is not None)


async def test_a_row_that_another_host_could_write_is_no_trouble_any_more(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    async with fleet_of(2, tmp_path, emulator.url) as fleet:
        old = await fleet.agreed()
        ill, well = fleet.hosts
        fleet.database.refused = row_key(Account(emulator.url, USERNAME))
        refuse(ill)
        await async_await_that(lambda: "isn't taken by the store" in repr(ill.keeper.blocked))
        ill.store.cut = True  # so that it doesn't write itself
        await async_await_that(lambda: ill.fleet.problem is not None)
        fleet.database.refused = None
        refuse(well)
        await async_await_that(lambda: well.token not in {None, old})
        ill.store.cut = False

        await async_await_that(lambda: ill.token == well.token)
        await async_await_that(lambda: ill.keeper.blocked is None)

    assert emulator.state().refresh_requests == 1


async def test_a_row_that_another_key_sealed_is_neither_used_nor_written_over(
    tmp_path: Path, emulator: RunningEmulator, warnings: pytest.LogCaptureFixture
) -> None:
    async with fleet_of(1, tmp_path, emulator.url) as fleet:
        other = await fleet.add()
        token = await fleet.agreed()
        other.keys = (bytes([1]) * 32,)
        other.fleet.reload()
        other.store.cut = True
        await async_await_that(lambda: other.fleet.problem is not None)
        other.store.cut = False
        rows = dict(fleet.database.rows)

        await async_await_that(lambda: "fleet_row_unreadable" in warnings.text)
        assert "a key that this host doesn't have" in repr(other.keeper.blocked)
        refuse(other)
        await async_await_that(lambda: last_error(other.keeper.session) is not None)

        assert fleet.database.rows == rows
        assert (other.token, fleet.hosts[0].token) == (token, token)
        other.keys = (bytes(32),)
        other.fleet.reload()
        await async_await_that(lambda: other.keeper.health(clock.boot()).degraded is None)
