"""Several hosts with one session: what operators order, and passwords that differ."""

import gc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest

from emulators import PASSWORD, RunningEmulator, login
from fleets import Host, fleet_of, refuse, stopped
from inside import async_await_that
from openfit_token._shared.secret import Secret
from openfit_token.errors import LoginRejected
from openfit_tokend.core.events import NewTokenWanted
from openfit_tokend.core.session import Requesting, Stopped, is_logged_out, last_error
from openfit_tokend.fleet.row_form import Keys, Unreadable, opened
from openfit_tokend.keeping.endpoint import Order, Reply
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.keeping.record import token_id

pytestmark = pytest.mark.usefixtures("unpaced")


async def out(*hosts: Host) -> None:
    """Wait until hosts are logged out."""
    await async_await_that(lambda: all(is_logged_out(host.keeper.session) for host in hosts))


# Orders


async def test_a_logout_anywhere_is_everybodys_and_so_is_a_login(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    told: list[bool] = []
    async with fleet_of(3, tmp_path, emulator.url) as fleet:
        await fleet.agreed()
        first, second, third = fleet.hosts

        first.keeper.order_logout(told.append)
        await out(first, second, third)
        await async_await_that(lambda: bool(told) and emulator.state().revocations == 1)
        third.keeper.order_login(None)
        await fleet.agreed()

    assert told == [True]
    assert emulator.state().login_requests == 2


async def test_a_logout_that_the_store_does_not_hear_of_is_told_to_the_operator(
    tmp_path: Path, emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openfit_tokend.fleet.replication.LOGOUT_TIME", 0.1)
    told: list[bool] = []
    async with fleet_of(2, tmp_path, emulator.url) as fleet:
        await fleet.agreed()
        first, second = fleet.hosts
        first.store.cut = True

        first.keeper.order_logout(told.append)
        await async_await_that(lambda: told == [False])
        assert emulator.state().revocations == 0
        second.keeper.order_login(None)  # others go on meanwhile
        await async_await_that(lambda: emulator.state().logins == 2)

        first.store.cut = False
        await out(second)
        await async_await_that(lambda: emulator.state().revocations == 2)  # the new login's, too


async def test_a_login_that_was_ordered_is_answered_with_its_outcome(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    async with fleet_of(2, tmp_path, emulator.url) as fleet:
        await fleet.agreed()
        first, _ = fleet.hosts
        emulator.set_password("another horse")

        first.keeper.order_login(Secret("another horse"))
        await async_await_that(lambda: bool(first.ended))

        assert {ended.error for ended in first.ended} == {None}
    assert emulator.state().logins_rejected == 0


async def test_a_refresh_token_that_was_given_to_one_is_everybodys_session(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    """It takes this host's turn, and no place in the ledger; a rejected one leaves no trace."""
    with httpx.Client(base_url=emulator.url, trust_env=False) as web:
        token = login(web)["refresh_token"]
    async with fleet_of(2, tmp_path, emulator.url) as fleet:
        await fleet.agreed()
        first, second = fleet.hosts
        before = token_id(second.keeper.session)
        first.ended.clear()
        second.ended.clear()

        first.keeper.order_login(None, Secret("never issued"))
        await async_await_that(lambda: bool(first.ended))
        await fleet.agreed()
        assert [each.error and each.error.raises for each in first.ended] == [LoginRejected]
        assert token_id(second.keeper.session) == before

        second.keeper.order_login(None, Secret(token))
        await async_await_that(lambda: bool(second.ended))
        await fleet.agreed()
        assert [each.error for each in second.ended] == [None]
        assert token_id(first.keeper.session) != before
    assert emulator.state().logins_rejected == 0
    assert emulator.state().logins == 2


async def test_a_password_that_was_given_is_kept_while_another_host_asks(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    async with fleet_of(2, tmp_path, emulator.url) as fleet:
        await fleet.agreed()
        first, second = fleet.hosts
        second.password.write_text("wrong horse")
        second.store.gate = anyio.Event()
        before = fleet.database.writes
        second.keeper.order_login(Secret(PASSWORD))
        first.keeper.order_login(None)
        await async_await_that(lambda: fleet.database.writes == before + 2)  # claimed, and brought

        second.store.gate.set()
        await async_await_that(lambda: emulator.state().logins == 3)
        await fleet.agreed()

    assert emulator.state().logins_rejected == 0


async def test_a_password_given_for_a_login_that_another_host_did_is_not_kept(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    async with fleet_of(0, tmp_path, emulator.url) as fleet:
        emulator.fault("slow=0.5@login:1")
        first = await fleet.add()
        await async_await_that(lambda: emulator.state().login_requests == 1)
        second = await fleet.add()
        await async_await_that(lambda: isinstance(second.keeper.session.doing, Requesting))
        second.keeper.order_login(Secret("a wrong horse"))
        old = await fleet.agreed()

        emulator.revoke_refresh()
        first.store.cut = True
        refuse(second)
        await async_await_that(lambda: second.token not in {None, old})

    state = emulator.state()
    assert (state.logins, state.logins_rejected) == (2, 0)


async def test_nothing_of_a_profile_that_left_in_a_login_is_kept_with_its_account(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    def keepers() -> list[object]:
        gc.collect()
        return [each for each in gc.get_objects() if isinstance(each, Keeper)]

    others = keepers()  # of tests that failed, say
    async with fleet_of(1, tmp_path, emulator.url) as fleet:
        await fleet.agreed()
        (host,) = fleet.hosts
        stays = fleet.add_profile(host)
        await async_await_that(lambda: stays.session.access is not None)
        emulator.fault("slow=0.3")
        leaver, begun = host.keepers.pop(0), emulator.state().login_requests

        leaver.order_login(Secret(PASSWORD))
        await async_await_that(lambda: emulator.state().login_requests > begun)
        leaver.remove()
        del leaver

        def kept() -> list[object]:
            return [each for each in keepers() if each not in others]

        await async_await_that(lambda: kept() == [stays], lambda: repr(kept()))


async def test_a_row_that_nothing_else_writes_is_sealed_anew_when_a_key_takes_the_place_of_another(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    old, new = bytes(32), bytes([1]) * 32
    async with fleet_of(2, tmp_path, emulator.url) as fleet:
        await fleet.agreed()
        fleet.hosts[0].keeper.order_logout(lambda _: None)
        await out(*fleet.hosts)
        for keys in ((old, new), (new, old)):
            for host in fleet.hosts:
                host.keys = keys
                host.fleet.reload()

        def sealed_by_the_new_key() -> bool:
            ((key, (tag, data)),) = fleet.database.rows.items()
            with suppress(Unreadable):
                return bool(opened(Keys([new]), key, tag, data).sessions)
            return False

        await async_await_that(sealed_by_the_new_key)


# Passwords that aren't the same everywhere


async def test_no_password_is_sent_again_that_any_host_sent_before(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    emulator.set_password("another horse")
    async with fleet_of(5, tmp_path, emulator.url) as fleet:
        await stopped(*fleet.hosts)
        for host in fleet.hosts:
            host.keeper.reconfigure(host.keeper.profile, host.keeper.rights)
        await stopped(*fleet.hosts)
        kinds = {error.raises for host in fleet.hosts if (error := last_error(host.keeper.session))}

    assert kinds == {LoginRejected}
    assert emulator.state().logins_rejected == 1


async def test_different_wrong_passwords_cost_three_rejections_at_most(
    tmp_path: Path, emulator: RunningEmulator, warnings: pytest.LogCaptureFixture
) -> None:
    async with fleet_of(0, tmp_path, emulator.url) as fleet:
        for number in range(5):
            host = await fleet.add()
            host.password.write_text(f"wrong horse {number}")

        await async_await_that(lambda: warnings.text.count("login_failed") == 5)

    assert emulator.state().token_requests == 3


async def test_a_stale_password_of_one_host_does_not_lock_the_others(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    async with fleet_of(3, tmp_path, emulator.url) as fleet:
        await fleet.agreed()
        first, *others = fleet.hosts
        emulator.set_password("another horse")
        emulator.revoke_refresh()
        for host in others:
            host.password.write_text("another horse")

        refuse(first)
        await async_await_that(lambda: emulator.state().logins == 2)
        await fleet.agreed()

    assert emulator.state().logins_rejected <= 1


async def test_a_secret_that_one_host_lacks_is_written_nowhere(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    async with fleet_of(0, tmp_path, emulator.url) as fleet:
        host = await fleet.add()
        host.password.unlink()
        await async_await_that(lambda: last_error(host.keeper.session) is not None)

        assert fleet.database.writes == 0
        await fleet.add()
        await fleet.agreed()


async def test_a_login_is_void_once_its_password_was_rejected_after_it_was_claimed(
    tmp_path: Path, emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was claimed beside another, since the password was proven, and its connection takes long."""
    async with fleet_of(1, tmp_path, emulator.url) as fleet:
        (host,) = fleet.hosts
        await fleet.agreed()
        second = fleet.add_profile(host, scope="offline_access OpenFitApi")
        await async_await_that(lambda: token_id(second.session) is not None)
        request, connects, claimed = host.tools.endpoint.request, anyio.Event(), anyio.Event()

        async def slowly(order: Order) -> Reply:
            claim = order.claim
            if claim is None or order.profile is not second.profile or order.password is None:
                return await request(order)

            async def then_wait() -> float:
                not_after = await claim()
                claimed.set()
                await connects.wait()
                return not_after

            return await request(replace(order, claim=then_wait))

        monkeypatch.setattr(host.tools.endpoint, "request", slowly)
        emulator.revoke_refresh_tokens()
        second.feed(NewTokenWanted())
        await claimed.wait()
        emulator.set_password("another horse")
        host.keeper.order_login(None)
        await async_await_that(lambda: emulator.state().logins_rejected == 1)
        await async_await_that(lambda: bool(host.keeper.ledger.rejected))

        connects.set()

        await async_await_that(lambda: isinstance(second.session.doing, Stopped))
        assert emulator.state().logins_rejected == 1
