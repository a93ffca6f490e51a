"""The ledgers of all accounts: asked before a login is sent, written down before it is sent."""

import os
import shutil

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from daemons import await_that
from openfit_tokend.core.budget import Attempt, Entry, logins_left
from openfit_tokend.core.events import Kind, OverBudget
from openfit_tokend.core.secret import Secret
from openfit_tokend.core.settings import Account, Identity
from openfit_tokend.io import clock
from openfit_tokend.io.accounts import Accounts
from openfit_tokend.io.state import StateFile

ACCOUNT = Account("https://ids.example.org", "service@example.org")
OTHER = Account("https://ids.example.org", "other@example.org")
IDENTITY = Identity("https://ids.example.org", "client", "api", "Service@example.org")
PASSWORD = Secret("right horse")
WRONG = Secret("wrong horse")


async def admitted(accounts: Accounts, password: Secret = PASSWORD) -> Attempt:
    attempt = await accounts.admit(ACCOUNT, password, insisted=False)
    assert isinstance(attempt, Attempt)
    return attempt


async def logged_in(accounts: Accounts, kind: Kind | None, password: Secret = PASSWORD) -> None:
    accounts.settle(ACCOUNT, await admitted(accounts, password), kind)
    await accounts.write()


def left(accounts: Accounts) -> int:
    return logins_left(accounts.ledger(ACCOUNT), clock.boot())


async def test_a_login_is_on_disk_before_it_is_sent(file: StateFile) -> None:
    await admitted(Accounts(file))

    lost = file.load().ledgers[ACCOUNT].entries

    assert len(lost) == 1
    assert lost[0].at > clock.boot()


async def test_a_rejected_password_is_not_sent_again_after_a_restart(file: StateFile) -> None:
    await logged_in(Accounts(file), Kind.GRANT_REJECTED, WRONG)

    again = Accounts(file)

    refused = await again.admit(ACCOUNT, WRONG, insisted=False)
    assert isinstance(refused, OverBudget)
    assert refused.known
    assert isinstance(await again.admit(ACCOUNT, PASSWORD, insisted=False), Attempt)


async def test_the_fingerprint_of_one_account_says_nothing_of_another(file: StateFile) -> None:
    accounts = Accounts(file)
    await logged_in(accounts, Kind.GRANT_REJECTED, WRONG)

    assert isinstance(await accounts.admit(OTHER, WRONG, insisted=False), Attempt)


async def test_an_operator_may_insist_until_three_are_spent_over_restarts_too(
    file: StateFile,
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


async def test_lost_answers_count_over_restarts(file: StateFile) -> None:
    for _ in range(3):
        await logged_in(Accounts(file), Kind.UNCERTAIN)

    assert left(Accounts(file)) == 0
    assert isinstance(await Accounts(file).admit(ACCOUNT, PASSWORD, insisted=True), OverBudget)


async def test_three_crashes_during_a_login_spend_the_budget(file: StateFile) -> None:
    for _ in range(3):
        await admitted(Accounts(file))

    assert left(Accounts(file)) == 0


async def test_a_damaged_file_leaves_one_login_of_each_account(file: StateFile) -> None:
    file.path.parent.mkdir()
    file.path.write_text("rubbish")

    accounts = Accounts(file)

    assert left(accounts) == 1
    await logged_in(accounts, Kind.UNCLEAR)
    assert left(accounts) == 0
    assert left(Accounts(file)) == 0


async def test_two_logins_with_an_unproven_password_go_one_after_the_other(
    file: StateFile,
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
    file: StateFile,
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


async def test_a_proven_password_goes_side_by_side_while_three_could_be_lost(
    file: StateFile,
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


async def test_logged_out_profiles_are_remembered_with_their_identity(file: StateFile) -> None:
    accounts = Accounts(file)
    accounts.mark("main", IDENTITY)
    await accounts.write()

    again = Accounts(file)

    assert again.is_logged_out("main", IDENTITY)
    assert not again.is_logged_out("other", IDENTITY)
    assert not again.is_logged_out("main", Identity("https://x", "client", "api", "y"))
    again.mark("main", None)
    await again.write()
    assert not Accounts(file).is_logged_out("main", IDENTITY)


@pytest.mark.parametrize("trouble", ["a file for the directory", "a directory for the file"])
async def test_a_file_that_cannot_be_written_is_said_once_and_it_goes_on_in_memory(
    trouble: str, file: StateFile, warnings: pytest.LogCaptureFixture
) -> None:
    accounts = Accounts(file)
    if trouble == "a file for the directory":
        file.path.parent.write_text("in the way")
    else:
        file.path.with_suffix(".new").mkdir(parents=True)

    for kind in (Kind.UNCLEAR, Kind.UNCLEAR):
        await logged_in(accounts, kind)

    assert left(accounts) == 1
    assert [record.getMessage() for record in warnings.records] == ["state_not_written"]


async def test_when_there_is_room_again_all_is_written(file: StateFile) -> None:
    accounts = Accounts(file)
    file.path.parent.write_text("in the way")
    await logged_in(accounts, Kind.UNCLEAR)
    file.path.parent.unlink()

    await logged_in(accounts, Kind.UNCLEAR)

    assert left(Accounts(file)) == 1


async def test_a_full_disk_is_said_and_it_goes_on_in_memory(
    file: StateFile, warnings: pytest.LogCaptureFixture
) -> None:
    """/dev/full takes no byte."""
    accounts = Accounts(file)
    file.path.parent.mkdir()
    file.path.with_suffix(".new").symlink_to("/dev/full")

    await logged_in(accounts, Kind.UNCLEAR)

    assert left(accounts) == 2
    assert [record.getMessage() for record in warnings.records] == ["state_not_written"]


async def test_a_state_directory_that_vanishes_is_made_anew(file: StateFile) -> None:
    accounts = Accounts(file)
    await logged_in(accounts, Kind.UNCLEAR)
    shutil.rmtree(file.path.parent)

    await logged_in(accounts, Kind.UNCLEAR)

    assert left(Accounts(file)) == 1


async def test_a_login_that_is_cancelled_before_it_is_sent_is_not_counted(
    file: StateFile,
) -> None:
    """The daemon stops while the disk is slow: a pipe stands for it, which waits for a reader."""
    accounts = Accounts(file)
    file.path.parent.mkdir()
    slow = file.path.with_suffix(".new")
    os.mkfifo(slow)

    async with anyio.create_task_group() as writers:
        accounts.mark("main", IDENTITY)
        writers.start_soon(accounts.write)
        async with anyio.create_task_group() as logins:
            logins.start_soon(admitted, accounts)
            await to_thread.run_sync(await_that, lambda: bool(accounts.ledger(ACCOUNT).under_way))
            for _ in range(5):
                await checkpoint()
            logins.cancel_scope.cancel()
        await to_thread.run_sync(slow.read_bytes)

    assert accounts.ledger(ACCOUNT).under_way == ()
    assert accounts.ledger(ACCOUNT).entries == ()


async def test_an_order_of_an_operator_is_written_down(file: StateFile) -> None:
    accounts = Accounts(file)
    await logged_in(accounts, Kind.GRANT_REJECTED, WRONG)

    accounts.announce(ACCOUNT)
    await accounts.write()

    assert Accounts(file).ledger(ACCOUNT).announced == pytest.approx(clock.boot(), abs=20)


async def test_a_stop_in_the_midst_of_a_write_loses_no_later_change(file: StateFile) -> None:
    accounts = Accounts(file)
    file.path.parent.mkdir()
    slow = file.path.with_suffix(".new")
    os.mkfifo(slow)
    accounts.mark("main", IDENTITY)

    def relieve() -> None:
        with slow.open("rb") as pipe:
            slow.unlink()
            pipe.read()

    async with anyio.create_task_group() as reading:
        async with anyio.create_task_group() as writing:
            writing.start_soon(accounts.write)
            await anyio.wait_all_tasks_blocked()
            reading.start_soon(to_thread.run_sync, relieve)
            writing.cancel_scope.cancel()
        accounts.mark("other", IDENTITY)
        await accounts.write()

    assert Accounts(file).is_logged_out("other", IDENTITY)


@pytest.mark.parametrize("turns", range(10))
async def test_a_write_that_is_cancelled_before_its_thread_began_stops_no_later_one(
    file: StateFile, turns: int
) -> None:
    accounts = Accounts(file)
    accounts.mark("main", IDENTITY)
    async with anyio.create_task_group() as writing:
        writing.start_soon(accounts.write)
        for _ in range(turns):
            await checkpoint()
        writing.cancel_scope.cancel()

    with anyio.fail_after(2):
        await accounts.write()

    assert Accounts(file).is_logged_out("main", IDENTITY)


async def test_many_changes_at_once_share_a_write(file: StateFile) -> None:
    accounts = Accounts(file)

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            accounts.mark(f"p{number}", IDENTITY)
            tasks.start_soon(accounts.write)

    again = Accounts(file)
    assert all(again.is_logged_out(f"p{number}", IDENTITY) for number in range(100))


async def test_an_entry_of_another_account_costs_nothing_here(file: StateFile) -> None:
    accounts = Accounts(file)
    attempt = await accounts.admit(OTHER, WRONG, insisted=False)
    assert isinstance(attempt, Attempt)

    accounts.settle(OTHER, attempt, Kind.UNCLEAR)

    assert [type(each) for each in accounts.ledger(OTHER).entries] == [Entry]
    assert left(accounts) == 3
