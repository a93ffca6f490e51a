"""The sessions outlive the daemon, in the descriptor store of a service manager that the test plays."""

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from daemons import await_that, needs_root_to_look, profile
from disks import broken
from emulators import PASSWORD, RunningEmulator, running_emulator
from failures import outcome
from openfit_emulator.identity import Rules
from openfit_token.errors import BudgetSpent, LoggedOut, LoginRejected
from openfit_tokend.core.session import Idle, Refresh, Requesting, Session
from openfit_tokend.keeping.turns import MAX_REQUESTS
from openfit_tokend.storage.session_form import VERSION, StoredSession, decoded, encoded
from service_managers import Manager, managed_daemon, seals

pytestmark = [pytest.mark.system, pytest.mark.slow]


def damage(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def newer(content: bytes) -> bytes:
    """Return what a daemon of the next version could have stored."""
    body = (VERSION + 1).to_bytes(2) + content[34:]
    return sha256(body).digest() + body


def has_refreshed(emulator: RunningEmulator, times: int) -> bool:
    return emulator.state().refreshes == times


def make_due(manager: Manager) -> None:
    """Let the stored session's token be due."""
    stored = manager.kept()
    manager.replace(encoded(replace(stored, session=replace(stored.session, doing=Idle(0.0)))))


# What stays


def test_the_same_token_is_served_after_a_stop_and_after_a_crash_without_a_request() -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        daemon.start()
        token = daemon.call("get_token")
        status = daemon.profile_status()

        for begin_again in (daemon.restart, daemon.crash, daemon.restart):
            begin_again()

            again, after = daemon.call("get_token", wait=0), daemon.profile_status()
            for same in ("id", "access_token", "expires_at", "refresh_at", "scope"):
                assert again[same] == pytest.approx(token[same], abs=0.1)
            for same in ("session_began_at", "session_ends_at", "last_success_at", "state"):
                assert after[same] == pytest.approx(status[same], abs=0.1)
        assert emulator.state().token_requests == 1
        assert len(manager.names) == 1
        assert "level=warning" not in daemon.log()


def test_the_refresh_token_stays_too_and_goes_on_being_replaced() -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        daemon.start()
        daemon.call("get_token")
        for refreshes in (1, 2, 3):
            await_that(lambda: len(manager.names) == 1)  # the one before is dropped a moment later
            daemon.kill()
            make_due(manager)
            daemon.start()
            await_that(partial(has_refreshed, emulator, refreshes))
            await_that(lambda: isinstance(manager.kept().session.doing, Idle))

        state = emulator.state()
        assert (state.login_requests, state.refreshes_rejected) == (1, 0)
        assert manager.least == 1, "there was a moment without a stored session"


def test_a_session_is_sealed_memory() -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        daemon.start()
        daemon.call("get_token")
        (stored,) = manager.descriptors
        all_seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

        assert seals(stored) & all_seals == all_seals
        with pytest.raises(PermissionError):
            os.write(stored, b"x")


@needs_root_to_look
def test_a_stored_session_is_read_and_closed() -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (_, daemon):
        daemon.start()
        daemon.call("get_token")
        daemon.restart()
        for each in Path(f"/proc/{daemon.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                assert "memfd:openfit-tokend" not in str(each.readlink())


def test_a_refresh_under_way_at_a_crash_counts_as_uncertain_and_is_sent_again() -> None:
    with (
        running_emulator("hang=60@refresh:1") as emulator,
        managed_daemon(profile(emulator.url)) as (manager, daemon),
    ):
        daemon.start()
        token = daemon.call("get_token")
        daemon.kill()
        make_due(manager)
        daemon.start()
        await_that(lambda: emulator.state().refresh_requests == 1)
        before = manager.kept().session  # it was stored before it was sent
        assert isinstance(before.doing, Requesting)
        assert isinstance(before.doing.request, Refresh)

        daemon.crash()

        await_that(lambda: manager.kept().session.number == before.number + 1)
        after = manager.kept().session
        assert after.refresh is not None
        assert after.refresh.lost == 1
        assert isinstance(after.doing, Idle)
        assert daemon.call("get_token")["id"] == token["id"], "it lives on meanwhile"
        await_that(lambda: emulator.state().refreshes == 1, daemon.log)
        await_that(lambda: daemon.call("get_token")["id"] != token["id"])
        assert emulator.state().login_requests == 1


def test_a_refresh_that_was_not_sent_when_the_daemon_stopped_counts_as_nothing() -> None:
    """More profiles than may ask one server at once: the last ones still wait for their turn."""
    names = [f"p{number}" for number in range(MAX_REQUESTS + 2)]
    with running_emulator(users=dict.fromkeys(names, PASSWORD)) as emulator:
        configs = [profile(emulator.url, name, username=f'"{name}"') for name in names]
        with managed_daemon(*configs) as (manager, daemon):
            daemon.start()
            for name in names:
                daemon.await_state("fresh", name=name)
            daemon.stop()
            due = [decoded(each) for each in manager.contents()]
            manager.replace(
                *(encoded(replace(k, session=replace(k.session, doing=Idle(0.0)))) for k in due)
            )
            emulator.fault("slow=3@refresh:*")
            daemon.launch()
            await_that(lambda: emulator.state().refresh_requests == MAX_REQUESTS)

            daemon.stop()

            sessions = [manager.kept(name).session for name in names]
        assert all(isinstance(session.doing, Idle) for session in sessions)
        assert emulator.state().refreshes == MAX_REQUESTS
        assert {session.refresh.lost for session in sessions if session.refresh} == {0}


def test_what_was_told_before_a_restart_is_not_told_again_but_its_end_is(tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = f"""["/bin/sh", "-c", 'echo $OPENFIT_EVENT >> "{told}"']"""
    with running_emulator() as emulator:
        config = profile(emulator.url, notify_command=command)
        with managed_daemon(config, password="wrong") as (_, daemon):
            daemon.start()
            daemon.await_log("notified", "told=locked")
            daemon.restart()
            daemon.await_state("locked")
            daemon.stop()
            daemon.write_password(PASSWORD)

            daemon.start()

            daemon.await_log("notified", "told=recovered")
    assert told.read_text().split() == ["locked", "recovered"]


def test_a_refresh_that_a_login_leaves_to_do_when_the_daemon_stops_counts_as_unsent() -> None:
    with (
        running_emulator("slow=2@login:2", rules=Rules(token_lifetime=2)) as emulator,
        managed_daemon(profile(emulator.url)) as (manager, daemon),
    ):
        daemon.start()
        daemon.call("get_token")
        with daemon.wire() as wire:
            wire.ask("login", password="wrong")
            await_that(lambda: emulator.state().login_requests == 2)
            daemon.stop()  # the answer comes when the token is due

        session = manager.kept().session
        assert emulator.state().refresh_requests == 0
        assert isinstance(session.doing, Idle)
        assert session.refresh is not None
        assert session.refresh.lost == 0


def test_who_was_logged_out_stays_so() -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        daemon.start()
        daemon.call("get_token")
        before = manager.contents()
        daemon.call("logout")

        daemon.crash()
        assert isinstance(outcome(lambda: daemon.call("get_token")), LoggedOut)
        daemon.kill()
        manager.replace(*before)  # as if the logout could not be stored: the file says it too
        daemon.start()
        assert isinstance(outcome(lambda: daemon.call("get_token")), LoggedOut)

        assert emulator.state().login_requests == 1


def test_a_login_that_only_the_store_knows_of_holds() -> None:
    """The ledger can't be written, and still says that the profile is logged out."""
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (_, daemon):
        daemon.start()
        daemon.call("get_token")
        daemon.call("logout")
        with broken("a directory for the file", daemon.state):
            token = daemon.call("login")
            for begin_again in (daemon.crash, daemon.restart):
                begin_again()
                assert daemon.call("get_token", wait=0)["id"] == token["id"]
        await_that(lambda: json.loads(daemon.state.read_bytes())["logged_out"] == [])

        daemon.crash()

        assert daemon.call("get_token", wait=0)["id"] == token["id"]
        assert emulator.state().login_requests == 2


def test_a_rejection_that_only_the_store_knows_of_leaves_the_next_login_to_an_operator() -> None:
    with (
        running_emulator() as emulator,
        managed_daemon(profile(emulator.url), password="wrong") as (_, daemon),
        broken("a file for the directory", daemon.state) as mend,
    ):
        daemon.start()
        daemon.await_state("down")
        assert isinstance(outcome(lambda: daemon.call("login")), LoginRejected)
        daemon.kill()
        mend()

        for begin_again in (daemon.start, daemon.crash):
            begin_again()
            daemon.await_log("rejections_forgotten", "username=demo@example.org")
            assert isinstance(outcome(lambda: daemon.call("get_token")), BudgetSpent)
        assert emulator.state().login_requests == 1

        assert isinstance(outcome(lambda: daemon.call("login")), LoginRejected)
        assert isinstance(outcome(lambda: daemon.call("login")), BudgetSpent)
        assert emulator.state().login_requests == 2
        assert daemon.log().count("rejections_forgotten") == 1


@pytest.mark.parametrize("damage", ["damaged", "removed"])
def test_a_rejection_whose_ledger_was_lost_leaves_the_next_login_to_an_operator(
    damage: str,
) -> None:
    with (
        running_emulator() as emulator,
        managed_daemon(profile(emulator.url), password="wrong") as (_, daemon),
    ):
        daemon.start()
        daemon.await_state("locked")
        daemon.kill()
        if damage == "damaged":
            daemon.state.write_bytes(daemon.state.read_bytes()[:100])
        else:
            daemon.state.unlink()

        daemon.start()

        daemon.await_log("rejections_forgotten", "username=demo@example.org")
        assert isinstance(outcome(lambda: daemon.call("get_token")), BudgetSpent)
        assert emulator.state().login_requests == 1


def test_a_logout_that_only_the_store_knows_of_is_written_down() -> None:
    """The daemon was killed before it could write: the next `systemctl stop` empties the store."""
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        daemon.start()
        daemon.call("get_token")
        ledger = daemon.state.read_bytes()
        daemon.call("logout")
        daemon.kill()
        daemon.state.write_bytes(ledger)

        daemon.start()
        await_that(lambda: json.loads(daemon.state.read_bytes())["logged_out"] == ["main"])
        assert daemon.stop() == 0
        manager.empty()
        daemon.start()

        assert isinstance(outcome(lambda: daemon.call("get_token")), LoggedOut)
        assert emulator.state().login_requests == 1


# What is dropped


def test_the_session_of_another_user_is_dropped_and_that_is_said() -> None:
    with (
        running_emulator(users={"demo@example.org": "right horse", "other": "right horse"}) as (
            emulator
        ),
        managed_daemon(profile(emulator.url)) as (manager, daemon),
    ):
        daemon.start()
        token = daemon.call("get_token")
        daemon.write_config(profile(emulator.url, username='"other"'))

        daemon.restart()

        assert daemon.call("get_token")["id"] != token["id"]
        daemon.await_log("stored_session_dropped", "profile=main", "user changed")
        assert len(manager.names) == 1


def test_the_session_of_another_boot_is_dropped() -> None:
    def of_another_boot(stored: StoredSession) -> StoredSession:
        return replace(stored, boot_id="another")

    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        daemon.start()
        token = daemon.call("get_token")
        daemon.kill()
        manager.replace(encoded(of_another_boot(manager.kept())))

        daemon.start()

        assert daemon.call("get_token")["id"] != token["id"]
        daemon.await_log("stored_session_dropped", "another boot")


def test_of_several_the_newest_whole_one_wins_and_the_others_are_removed() -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        daemon.start()
        token = daemon.call("get_token")
        daemon.kill()
        stored = manager.kept()
        older = replace(stored, sequence=1, session=Session(Idle(0.0)))
        newest = manager.contents()[0]
        manager.empty()
        manager.put("session-1", encoded(older))
        manager.put(f"session-{stored.sequence}", newest)
        manager.put("session-0", encoded(replace(older, sequence=0)))
        manager.put("session-90", damage(encoded(replace(older, sequence=90))))

        daemon.start()

        assert daemon.call("get_token")["id"] == token["id"]
        daemon.await_log("level=warning", "stored_session_damaged", "name=session-90")
        await_that(lambda: manager.names == [f"session-{stored.sequence}"])
        daemon.call("logout")
        await_that(lambda: manager.names == ["session-91"])  # no number comes twice


def test_the_session_of_a_newer_version_is_left_alone_and_that_is_said() -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        daemon.start()
        token = daemon.call("get_token")
        daemon.kill()
        (name,), made = manager.names, newer(manager.contents()[0])
        manager.replace(made)

        daemon.start()

        assert daemon.call("get_token")["id"] != token["id"]
        daemon.await_log("level=warning", "stored_session_of_a_newer_version", name)
        daemon.restart()
        assert manager.names[0] == name
        assert manager.contents()[0] == made
        assert emulator.state().login_requests == 2


def test_the_session_of_a_profile_that_is_gone_is_removed() -> None:
    with running_emulator() as emulator:
        main, other = profile(emulator.url), profile(emulator.url, "other")
        with managed_daemon(main, other) as (manager, daemon):
            daemon.start()
            for name in ("main", "other"):
                daemon.call("get_token", profile=name)
            assert len(manager.names) == 2

            daemon.write_config(main)
            daemon.call("reload")
            await_that(lambda: len(manager.names) == 1)
            assert manager.kept().profile == "main"

            daemon.write_config(other)
            daemon.restart()
            daemon.call("get_token")
            daemon.await_log("stored_session_dropped", "no such profile")
            await_that(lambda: len(manager.names) == 1)
            assert manager.kept("other").profile == "other"


# When it can't be stored


def test_what_the_manager_cannot_take_now_is_stored_as_soon_as_it_can() -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        manager.hold()
        manager.fill()

        daemon.start()
        token = daemon.call("get_token")  # nobody waits for the manager
        assert manager.names == []
        manager.go_on()

        await_that(lambda: len(manager.names) == 1)
        manager.await_word("READY=1")
        daemon.crash()
        assert daemon.call("get_token")["id"] == token["id"]


def test_a_manager_that_is_gone_for_a_while_is_told_later() -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        manager.leave()

        daemon.start()
        daemon.call("get_token")
        daemon.await_log("service_manager_not_reached", "reason=")
        manager.listen()

        await_that(lambda: len(manager.names) == 1)
        manager.await_word("READY=1")


@pytest.mark.parametrize("variables", [{"FDSTORE": "0"}, {"NOTIFY_SOCKET": ""}])
def test_without_a_store_nothing_is_stored(variables: dict[str, str]) -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        manager.variables |= variables
        daemon.start()

        daemon.call("get_token")
        assert daemon.stop() == 0

        assert manager.names == []
        assert manager.least == -1


def test_a_stop_that_empties_the_store_leaves_no_session() -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        daemon.start()
        token = daemon.call("get_token")

        assert daemon.stop() == 0
        manager.empty()
        daemon.start()

        assert daemon.call("get_token")["id"] != token["id"]
        files = [each for each in daemon.directory.rglob("*") if each.is_file()]
        assert daemon.state in files
        assert not [each for each in files if token["access_token"].encode() in each.read_bytes()]


def test_clients_cannot_make_the_daemon_store_again_and_again() -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        daemon.start()
        token = daemon.call("get_token")
        with daemon.wire() as wire:
            wire.ask("refuse", id=token["id"], wait=30)
            daemon.await_waiting(1)
            await_that(lambda: len(manager.names) == 1)
            names = manager.names

            for _ in range(20):
                wire.ask("refuse", id=token["id"], wait=30)
            daemon.await_waiting(21)

            assert manager.names == names
