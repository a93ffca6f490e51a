"""The ledgers of all accounts: asked before a login is sent, written down before it is sent."""

import logging
import shutil
import threading
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from daemons import await_that
from disks import FOR_EVERYBODY, FOR_ITSELF, MOUNTED, broken
from hung_disk import hung_disk
from openfit_token._shared.secret import Secret
from openfit_tokend.core.budget import Attempt, Entry, Ledger, Unwritten, logins_left
from openfit_tokend.core.events import Kind, OverBudget
from openfit_tokend.core.settings.values import Account
from openfit_tokend.host import clock
from openfit_tokend.storage.accounts import Accounts
from openfit_tokend.storage.ledger_file import LedgerFile, Ledgers

ACCOUNT = Account("https://ids.example.org", "service@example.org")
OTHER = Account("https://ids.example.org", "other@example.org")
PASSWORD = Secret("right horse")
WRONG = Secret("wrong horse")


async def admitted(accounts: Accounts, password: Secret = PASSWORD) -> Attempt:
    attempt = await accounts.admit(ACCOUNT, password, insisted=False)
    assert isinstance(attempt, Attempt)
    return attempt


async def logged_in(accounts: Accounts, kind: Kind | None, password: Secret = PASSWORD) -> None:
    accounts.settle(ACCOUNT, await admitted(accounts, password), kind)
    await accounts.write()


async def ordered(accounts: Accounts, kind: Kind | None) -> None:
    """Log in at an operator's word."""
    attempt = await accounts.admit(ACCOUNT, WRONG, insisted=True)
    assert isinstance(attempt, Attempt)
    accounts.settle(ACCOUNT, attempt, kind)
    await accounts.write()


class CountedSaves(LedgerFile):
    """The ledger file, and how often a save was begun."""

    saves = 0

    def save(self, ledgers: Ledgers) -> None:
        self.saves += 1
        super().save(ledgers)


def saving() -> set[threading.Thread]:
    """Return the threads that save a ledger. Of an earlier test, one may wait for a loop that has ended."""
    return {each for each in threading.enumerate() if each.name == "ledger"}


def left(accounts: Accounts) -> int:
    return logins_left(accounts.ledger(ACCOUNT), clock.boot())


async def test_a_login_is_on_disk_before_it_is_sent(file: LedgerFile) -> None:
    await admitted(Accounts(file))

    lost = file.load().by_account[ACCOUNT].entries

    assert len(lost) == 1
    assert lost[0].at > clock.boot()


async def test_a_rejected_password_is_not_sent_again_after_a_restart(file: LedgerFile) -> None:
    await logged_in(Accounts(file), Kind.GRANT_REJECTED, WRONG)

    again = Accounts(file)

    refused = await again.admit(ACCOUNT, WRONG, insisted=False)
    assert isinstance(refused, OverBudget)
    assert refused.known
    assert isinstance(await again.admit(ACCOUNT, PASSWORD, insisted=False), Attempt)


async def test_one_password_has_another_fingerprint_for_each_account_and_each_salt(
    file: LedgerFile, tmp_path: Path
) -> None:
    accounts, another = Accounts(file), Accounts(LedgerFile(tmp_path / "another"))
    found = set[object]()

    for ledgers, account in ((accounts, ACCOUNT), (accounts, OTHER), (another, ACCOUNT)):
        attempt = await ledgers.admit(account, WRONG, insisted=False)
        assert isinstance(attempt, Attempt)
        found.add(attempt.fingerprint)

    assert len(found) == 3


async def test_the_fingerprint_of_one_account_says_nothing_of_another(file: LedgerFile) -> None:
    accounts = Accounts(file)
    await logged_in(accounts, Kind.GRANT_REJECTED, WRONG)

    assert isinstance(await accounts.admit(OTHER, WRONG, insisted=False), Attempt)


async def test_an_operator_may_insist_until_three_are_spent_over_restarts_too(
    file: LedgerFile,
) -> None:
    for _ in range(3):
        accounts = Accounts(file)
        attempt = await accounts.admit(ACCOUNT, WRONG, insisted=True)
        assert isinstance(attempt, Attempt)
        accounts.settle(ACCOUNT, attempt, Kind.GRANT_REJECTED)
        await accounts.write()

    refused = await Accounts(file).admit(ACCOUNT, WRONG, insisted=True)

    assert isinstance(refused, OverBudget)
    assert refused.until == pytest.approx(clock.boot() + 900, abs=20)


async def test_lost_answers_count_over_restarts(file: LedgerFile) -> None:
    for _ in range(3):
        await logged_in(Accounts(file), Kind.UNCERTAIN)

    assert left(Accounts(file)) == 0
    assert isinstance(await Accounts(file).admit(ACCOUNT, PASSWORD, insisted=True), OverBudget)


async def test_three_crashes_during_a_login_spend_the_budget(file: LedgerFile) -> None:
    for _ in range(3):
        await admitted(Accounts(file))

    assert left(Accounts(file)) == 0


async def test_a_damaged_file_leaves_one_login_of_each_account(file: LedgerFile) -> None:
    file.path.parent.mkdir()
    file.path.write_text("rubbish")

    accounts = Accounts(file)

    assert left(accounts) == 1
    await logged_in(accounts, Kind.UNCLEAR)
    assert left(accounts) == 0
    assert left(Accounts(file)) == 0


async def test_two_logins_with_an_unproven_password_go_one_after_the_other(
    file: LedgerFile,
) -> None:
    accounts = Accounts(file)
    first, order = await admitted(accounts), list[str]()

    async def second() -> None:
        await admitted(accounts)
        order.append("second sent")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(second)
        for _ in range(50):
            await anyio.wait_all_tasks_blocked()
        order.append("first settled")
        accounts.settle(ACCOUNT, first, None)

    assert order == ["first settled", "second sent"]


async def test_who_waited_behind_a_rejected_login_does_not_send_the_same_password(
    file: LedgerFile,
) -> None:
    accounts = Accounts(file)
    first, outcomes = await admitted(accounts), list[object]()

    async def second() -> None:
        outcomes.append(await accounts.admit(ACCOUNT, PASSWORD, insisted=False))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        accounts.settle(ACCOUNT, first, Kind.GRANT_REJECTED)

    assert [isinstance(each, OverBudget) and each.known for each in outcomes] == [True] * 5


async def test_who_waited_while_another_secret_was_announced_is_to_read_it_anew(
    file: LedgerFile,
) -> None:
    accounts = Accounts(file)
    first, outcomes = await admitted(accounts), list[object]()

    async def second() -> None:
        outcomes.append(await accounts.admit(ACCOUNT, PASSWORD, insisted=False))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        accounts.announce(ACCOUNT)
        accounts.settle(ACCOUNT, first, Kind.GRANT_REJECTED)

    assert outcomes == [None]


async def test_a_proven_password_goes_side_by_side_while_three_could_be_lost(
    file: LedgerFile,
) -> None:
    accounts = Accounts(file)
    await logged_in(accounts, None)
    under_way = [await admitted(accounts) for _ in range(3)]
    order = list[str]()

    async def fourth() -> None:
        await admitted(accounts)
        order.append("fourth sent")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fourth)
        await anyio.wait_all_tasks_blocked()
        order.append("one settled")
        accounts.settle(ACCOUNT, under_way[0], None)

    assert order == ["one settled", "fourth sent"]


async def test_logged_out_profiles_are_remembered(file: LedgerFile) -> None:
    accounts = Accounts(file)
    assert accounts.mark("main", logged_out=True)
    assert not accounts.mark("main", logged_out=True), "it is no news"
    await accounts.write()

    again = Accounts(file)

    assert again.is_logged_out("main")
    assert not again.is_logged_out("other")
    again.mark("main", logged_out=False)
    await again.write()
    assert not Accounts(file).is_logged_out("main")


@pytest.mark.parametrize("what", FOR_EVERYBODY + MOUNTED + FOR_ITSELF)
async def test_while_nothing_can_be_written_only_an_operator_sends_a_password_that_may_be_wrong(
    what: str, file: LedgerFile, warnings: pytest.LogCaptureFixture
) -> None:
    accounts = Accounts(file)
    with broken(what, file.path) as mend:
        held = await accounts.admit(ACCOUNT, PASSWORD, insisted=False)
        nothing = accounts.ledger(ACCOUNT)
        await ordered(accounts, Kind.GRANT_REJECTED)

        assert held == Unwritten()
        assert nothing == Ledger()
        assert left(accounts) == 2
        assert accounts.is_behind(ACCOUNT)
        assert [record.getMessage() for record in warnings.records] == ["state_not_written"]

        mend()

        assert await accounts.write()
        assert not accounts.is_behind(ACCOUNT)
        refused = await Accounts(file).admit(ACCOUNT, WRONG, insisted=False)
        assert isinstance(refused, OverBudget)
        assert refused.known


async def test_while_nothing_can_be_written_a_password_that_was_accepted_is_sent(
    file: LedgerFile,
) -> None:
    accounts = Accounts(file)
    await logged_in(accounts, None)

    with broken("a directory for the file", file.path):
        await admitted(accounts)


async def test_an_account_of_which_a_rejection_was_forgotten_is_left_to_an_operator(
    file: LedgerFile, warnings: pytest.LogCaptureFixture
) -> None:
    accounts = Accounts(file)

    accounts.doubt(ACCOUNT)
    await accounts.write()

    again = Accounts(file)
    assert isinstance(await again.admit(ACCOUNT, PASSWORD, insisted=False), OverBudget)
    assert isinstance(await again.admit(ACCOUNT, PASSWORD, insisted=True), Attempt)
    assert isinstance(await again.admit(OTHER, PASSWORD, insisted=False), Attempt)
    assert [record.getMessage() for record in warnings.records] == ["rejections_forgotten"]


async def test_what_could_not_be_written_is_written_as_soon_as_it_can_be(
    file: LedgerFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("openfit_tokend.storage.accounts.RETRY", 0.05)
    monkeypatch.setattr(logging.getLogger("openfit_tokend"), "propagate", True)
    caplog.set_level(logging.INFO, "openfit_tokend")
    accounts = Accounts(file)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accounts.keep_trying)
        for _ in range(2):  # it stays awake for the next time
            with broken("a directory for the file", file.path):
                await ordered(accounts, Kind.UNCLEAR)
            await to_thread.run_sync(await_that, lambda: not accounts.is_behind(ACCOUNT))
        tasks.cancel_scope.cancel()

    assert left(Accounts(file)) == 1
    said = [record.getMessage() for record in caplog.records]
    assert said == ["state_not_written", "state_written"] * 2


async def test_a_disk_that_hangs_is_waited_for_once_and_what_came_meanwhile_is_written_too(
    file: LedgerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openfit_tokend.storage.accounts.WRITE_TIME", 0.2)
    accounts = Accounts(file)
    earlier = saving()
    with hung_disk("ledger.new") as disk:
        accounts.mark("one", logged_out=True)
        assert not await accounts.write()
        accounts.mark("other", logged_out=True)
        monkeypatch.setattr("openfit_tokend.storage.accounts.WRITE_TIME", 60.0)
        with anyio.fail_after(5):
            assert not await accounts.write()
        disk.mend()
        await to_thread.run_sync(await_that, file.path.exists)

    await to_thread.run_sync(await_that, lambda: not saving() - earlier)
    assert await accounts.write()

    assert Accounts(file).is_logged_out("other")


async def test_what_changes_during_a_save_is_written_by_the_next(file: LedgerFile) -> None:
    accounts = Accounts(file)
    earlier = saving()
    with hung_disk("ledger.new") as disk:
        async with anyio.create_task_group() as tasks:
            accounts.mark("one", logged_out=True)
            tasks.start_soon(accounts.write)
            await to_thread.run_sync(await_that, lambda: bool(saving() - earlier))
            accounts.mark("other", logged_out=True)
            disk.mend()
        await accounts.write()

    assert Accounts(file).is_logged_out("other")


async def test_many_who_wait_for_a_failing_disk_share_one_try(file: LedgerFile) -> None:
    counted = CountedSaves(file.path)
    accounts = Accounts(counted)
    with broken("a directory for the file", file.path):
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                accounts.mark(f"p{number}", logged_out=True)
                tasks.start_soon(accounts.write)

    assert counted.saves <= 2


async def test_of_daemons_that_could_not_lock_the_file_at_their_start_the_first_to_write_has_it(
    file: LedgerFile, warnings: pytest.LogCaptureFixture
) -> None:
    (obstacle := file.path.with_suffix(".lock")).mkdir(parents=True)
    files = [file, LedgerFile(file.path)]
    assert all(each.lock() for each in files)
    first, second = (Accounts(each) for each in files)
    assert await second.admit(ACCOUNT, PASSWORD, insisted=False) == Unwritten()

    obstacle.rmdir()
    await logged_in(first, Kind.GRANT_REJECTED, WRONG)

    assert await second.admit(ACCOUNT, WRONG, insisted=False) == Unwritten()
    assert "another daemon uses it" in warnings.records[-1].__dict__["fields"]["reason"]
    assert not LedgerFile(file.path).lock()


async def test_a_file_that_another_daemon_wrote_since_the_start_is_not_written_over(
    file: LedgerFile, warnings: pytest.LogCaptureFixture
) -> None:
    (obstacle := file.path.with_suffix(".lock")).mkdir(parents=True)
    assert file.lock()
    accounts = Accounts(file)
    obstacle.rmdir()
    file.path.write_text("another daemon's, which has ended")

    assert await accounts.admit(ACCOUNT, PASSWORD, insisted=False) == Unwritten()

    assert file.path.read_text() == "another daemon's, which has ended"
    assert "restart the daemon" in warnings.records[-1].__dict__["fields"]["reason"]
    assert LedgerFile(file.path).lock(), "nor does it keep the next one out"


async def test_a_state_directory_that_vanishes_is_made_anew(file: LedgerFile) -> None:
    accounts = Accounts(file)
    await logged_in(accounts, Kind.UNCLEAR)
    shutil.rmtree(file.path.parent)

    await logged_in(accounts, Kind.UNCLEAR)

    assert left(Accounts(file)) == 1


async def test_a_login_that_is_cancelled_before_it_is_sent_is_not_counted(
    file: LedgerFile,
) -> None:
    """The daemon stops while the disk is slow."""
    accounts = Accounts(file)

    with hung_disk("ledger.new") as disk:
        async with anyio.create_task_group() as logins:
            logins.start_soon(admitted, accounts)
            await to_thread.run_sync(await_that, lambda: disk.asked == 1)
            assert accounts.ledger(ACCOUNT).under_way
            logins.cancel_scope.cancel()

    assert accounts.ledger(ACCOUNT) == Ledger()


async def test_an_order_of_an_operator_is_written_down(file: LedgerFile) -> None:
    accounts = Accounts(file)
    await logged_in(accounts, Kind.GRANT_REJECTED, WRONG)

    accounts.announce(ACCOUNT)
    await accounts.write()

    assert Accounts(file).ledger(ACCOUNT).announced == pytest.approx(clock.boot(), abs=20)


async def test_a_stop_in_the_midst_of_a_write_loses_no_later_change(file: LedgerFile) -> None:
    accounts = Accounts(file)
    accounts.mark("main", logged_out=True)

    with hung_disk("ledger.new") as disk:
        async with anyio.create_task_group() as writing:
            writing.start_soon(accounts.write)
            await to_thread.run_sync(await_that, lambda: disk.asked == 1)
            writing.cancel_scope.cancel()
        accounts.mark("other", logged_out=True)
        async with anyio.create_task_group() as stopping:
            stopping.start_soon(accounts.write)
            disk.mend()

    assert Accounts(file).is_logged_out("other")


@pytest.mark.parametrize("turns", range(10))
async def test_a_write_that_is_cancelled_before_its_thread_began_stops_no_later_one(
    file: LedgerFile, turns: int
) -> None:
    accounts = Accounts(file)
    accounts.mark("main", logged_out=True)
    async with anyio.create_task_group() as writing:
        writing.start_soon(accounts.write)
        for _ in range(turns):
            await checkpoint()
        writing.cancel_scope.cancel()

    with anyio.fail_after(2):
        await accounts.write()

    assert Accounts(file).is_logged_out("main")


async def test_many_changes_at_once_share_a_write(file: LedgerFile) -> None:
    counted = CountedSaves(file.path)
    accounts = Accounts(counted)

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            accounts.mark(f"p{number}", logged_out=True)
            tasks.start_soon(accounts.write)

    again = Accounts(file)
    assert all(again.is_logged_out(f"p{number}") for number in range(100))
    assert counted.saves == 1


async def test_an_entry_of_another_account_costs_nothing_here(file: LedgerFile) -> None:
    accounts = Accounts(file)
    attempt = await accounts.admit(OTHER, WRONG, insisted=False)
    assert isinstance(attempt, Attempt)

    accounts.settle(OTHER, attempt, Kind.UNCLEAR)

    assert [type(each) for each in accounts.ledger(OTHER).entries] == [Entry]
    assert left(accounts) == 3


# A fleet's ledger


async def test_a_fleets_ledger_is_this_hosts_too_and_outlives_the_fleet(file: LedgerFile) -> None:
    fleet, host = Accounts(LedgerFile(file.path.with_name("other.json"))), Accounts(file)
    await logged_in(fleet, Kind.GRANT_REJECTED)

    assert host.mirror(ACCOUNT, fleet.salt(ACCOUNT), fleet.ledger(ACCOUNT))
    assert await host.write()

    after = Accounts(file)
    assert left(after) == 2
    assert isinstance(await after.admit(ACCOUNT, PASSWORD, insisted=False), OverBudget)
    assert isinstance(await after.admit(ACCOUNT, WRONG, insisted=False), Attempt)


def test_what_was_announced_on_this_host_stays_in_a_fleets_ledger(file: LedgerFile) -> None:
    accounts = Accounts(file)
    accounts.announce(ACCOUNT)
    announced = accounts.ledger(ACCOUNT).announced

    accounts.mirror(ACCOUNT, bytes(16), Ledger(announced=announced - 1))

    assert accounts.ledger(ACCOUNT).announced == announced


def test_the_same_ledger_again_changes_nothing(file: LedgerFile) -> None:
    accounts, ledger = Accounts(file), Ledger(entries=(Entry(1.0),))
    accounts.mirror(ACCOUNT, bytes(16), ledger)

    assert not accounts.mirror(ACCOUNT, bytes(16), ledger)
