"""The file of what must not be forgotten: whole or not at all, and read with mistrust."""

import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import replace
from errno import ELOOP, ENOLCK
from math import inf
from pathlib import Path
from typing import Any, cast

import pytest

from daemons import needs_root, prepared_daemon, profile
from openfit_token._shared.trusted_path import Untrusted
from openfit_tokend.core import budget
from openfit_tokend.core.budget import (
    LATE,
    LIMIT,
    WINDOW,
    Attempt,
    Entry,
    Fingerprint,
    Ledger,
    logins_left,
)
from openfit_tokend.core.events import OverBudget
from openfit_tokend.core.settings.values import Account
from openfit_tokend.host import clock
from openfit_tokend.storage.ledger_file import MAX_SIZE, LedgerFile, Ledgers, ledger_path
from others import EVE, theirs

ACCOUNT = Account("https://ids.example.org", "service@example.org")
ANOTHER_BOOT = "00000000-0000-0000-0000-000000000000"


def state(ledger: Ledger) -> Ledgers:
    return Ledgers(b"0123456789abcdef", by_account={ACCOUNT: ledger}, saved_at=clock.boot())


def edited(file: LedgerFile, **changes: object) -> LedgerFile:
    """Change the file's fields as a reboot, or a fault, would."""
    fields = cast("dict[str, Any]", json.loads(file.path.read_text()))
    file.path.write_text(json.dumps(fields | changes))
    return file


def rebooted(file: LedgerFile, *, ago: float, up: float) -> LedgerFile:
    """Have the file as if it was written `ago` seconds ago, `up` seconds after another boot."""
    now = clock.boot()
    fields = cast("dict[str, Any]", json.loads(file.path.read_text()))
    for account in fields["accounts"]:
        account["entries"] = [[up + (at - now), clear] for at, clear in account["entries"]]
    fields |= {"boot_id": ANOTHER_BOOT, "boot": up, "wall": clock.wall() - ago}
    file.path.write_text(json.dumps(fields))
    return file


def test_a_file_that_is_not_there_is_an_empty_one(file: LedgerFile) -> None:
    loaded = file.load()

    assert (loaded.by_account, loaded.logged_out, loaded.unknown) == ({}, frozenset(), Ledger())
    assert len(loaded.salt) == 16


def test_what_was_saved_is_loaded_again(file: LedgerFile) -> None:
    now = clock.boot()
    ledger = Ledger(
        entries=(Entry(now - 10), Entry(now - 5, clear=True)),
        clear=2,
        rejected=(Fingerprint(7), Fingerprint(65535)),
        announced=now - 20,
        refused_sent=now - 6,
    )
    saved = Ledgers(
        salt=b"0123456789abcdef",
        by_account={ACCOUNT: ledger, Account("https://other", "x"): Ledger()},
        logged_out=frozenset({"main"}),
        unknown=Ledger(entries=(Entry(now - 1),)),
        saved_at=now,
    )

    file.save(saved)

    assert file.load() == saved


def test_the_file_is_for_its_owner_alone(file: LedgerFile) -> None:
    file.save(state(Ledger()))

    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


def test_the_file_has_no_password_and_no_fingerprint_of_an_accepted_one(file: LedgerFile) -> None:
    file.save(
        state(Ledger(proven=(Fingerprint(54321),), entries=(Entry(1.0, lost=Fingerprint(54321)),)))
    )

    assert "54321" not in file.path.read_text()


def test_an_account_that_nothing_was_rejected_of_takes_no_place(file: LedgerFile) -> None:
    file.save(state(Ledger(proven=(Fingerprint(1),), announced=5.0, refused_sent=2.0)))

    assert json.loads(file.path.read_text())["accounts"] == []


def test_an_account_known_to_be_well_is_kept_where_all_others_are_in_doubt(
    file: LedgerFile,
) -> None:
    file.save(replace(state(Ledger()), unknown=Ledger(entries=(Entry(1.0),))))

    assert len(json.loads(file.path.read_text())["accounts"]) == 1


def test_saving_replaces_the_file_as_a_whole(file: LedgerFile) -> None:
    file.save(state(Ledger(clear=1)))
    with file.path.open() as old:
        file.save(state(Ledger(clear=2)))

        assert json.load(old)["accounts"][0]["clear"] == 1
    assert json.loads(file.path.read_text())["accounts"][0]["clear"] == 2
    names = sorted(each.name for each in file.path.parent.iterdir())
    assert names == ["ledger.json", "ledger.lock"]


def test_a_write_that_was_cut_off_leaves_the_old_file(file: LedgerFile) -> None:
    file.save(state(Ledger(clear=1)))
    file.path.with_suffix(".new").write_text('{"v": 1, "boot')

    assert file.load().by_account[ACCOUNT].clear == 1
    file.save(state(Ledger(clear=2)))
    assert file.load().by_account[ACCOUNT].clear == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"\0" * 4096,
        b'{"v": 3}',
        b'{"v": "1"}',
        b"[" * 100_000,
    ],
    ids=lambda content: repr(content[:10]),
)
def test_a_damaged_file_is_said_and_taken_as_two_of_three_rejections(
    content: bytes, file: LedgerFile, warnings: pytest.LogCaptureFixture
) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(content)

    loaded = file.load()

    assert logins_left(loaded.unknown, clock.boot()) == LIMIT - 2
    assert [record.getMessage() for record in warnings.records] == ["state_unreadable"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", 3),
        ("boot_id", None),
        ("boot", "x"),
        ("wall", True),
        ("salt", "no hex"),
        ("salt", None),
        ("accounts", 7),
        ("accounts", [7]),
        ("accounts", [{"id_server": "x"}]),
        ("logged_out", [7]),
        ("logged_out", "main"),
        ("unknown", None),
        ("unknown", ["x"]),
    ],
)
def test_a_field_of_another_kind_is_a_damage(
    field: str, value: object, file: LedgerFile, warnings: pytest.LogCaptureFixture
) -> None:
    file.save(state(Ledger()))
    warnings.clear()

    loaded = edited(file, **{field: value}).load()

    assert [r.getMessage() for r in warnings.records] in (["state_unreadable"], [])
    if warnings.records:
        assert logins_left(loaded.unknown, clock.boot()) == LIMIT - 2
    else:
        assert field == "boot_id"  # another boot, then


def closed(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path.touch(mode=0)


def link(path: Path) -> None:
    saved(path.with_name("saved"))
    path.symlink_to("saved")


def everybodys(path: Path) -> None:
    saved(path).chmod(0o666)


def large(path: Path) -> None:
    os.truncate(saved(path), MAX_SIZE + 1)


def saved(path: Path) -> Path:
    """Save a ledger at a path."""
    LedgerFile(path).save(state(Ledger()))
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.mkdir, "is a directory"),
        (os.mkfifo, "is not a regular file"),
        (closed, "can't be read by the daemon"),
        (link, f"can't be read: {os.strerror(ELOOP)}"),
        (everybodys, "can be written by everybody (mode 0666)"),
        (large, f"is larger than {MAX_SIZE} bytes"),
    ],
)
def test_a_file_that_may_not_be_read_is_said(
    make: Callable[[Path], None],
    reason: str,
    file: LedgerFile,
    warnings: pytest.LogCaptureFixture,
) -> None:
    file.path.parent.mkdir()
    make(file.path)

    loaded = file.load()

    assert logins_left(loaded.unknown, clock.boot()) == LIMIT - 2
    assert [each.__dict__["fields"]["reason"] for each in warnings.records] == [reason]


def test_the_next_write_mends_a_damaged_file(file: LedgerFile) -> None:
    file.path.parent.mkdir()
    file.path.write_text("rubbish")
    damaged = replace(file.load(), saved_at=clock.boot())

    file.save(damaged)

    assert file.load() == damaged


def test_within_a_boot_all_times_stay_as_they_are(file: LedgerFile) -> None:
    entries = (Entry(clock.boot() - 100, clear=True),)
    file.save(state(Ledger(entries=entries, clear=1)))

    assert file.load().by_account[ACCOUNT].entries == entries


def test_a_wall_clock_that_jumps_within_a_boot_changes_nothing(file: LedgerFile) -> None:
    entries = (Entry(clock.boot() - 100, clear=True),)
    file.save(state(Ledger(entries=entries, clear=1)))

    assert edited(file, wall=0.0).load().by_account[ACCOUNT].entries == entries


def test_after_a_reboot_an_entry_is_as_old_as_the_wall_clock_says(file: LedgerFile) -> None:
    file.save(state(Ledger(entries=(Entry(clock.boot() - 100),))))

    ledger = rebooted(file, ago=200, up=5000).load().by_account[ACCOUNT]

    assert clock.boot() - ledger.entries[0].at == pytest.approx(300, abs=20)


@pytest.mark.parametrize(
    ("ago", "age"),
    [
        (-1e6, 0),  # a wall clock that was set back: it counts a whole window
        (1e6, WINDOW),  # long ago, or set forward: it counts no more
    ],
)
def test_after_a_reboot_what_remains_of_a_window_is_nothing_to_a_whole_one(
    ago: float, age: float, file: LedgerFile
) -> None:
    file.save(state(Ledger(entries=(Entry(clock.boot()),))))

    ledger = rebooted(file, ago=ago, up=5000).load().by_account[ACCOUNT]

    assert clock.boot() - ledger.entries[0].at == pytest.approx(age, abs=20)


def test_a_login_that_was_under_way_counts_as_lost_a_minute_after_the_restart(
    file: LedgerFile,
) -> None:
    now = clock.boot()
    attempts = (Attempt(now, Fingerprint(1)), Attempt(now, Fingerprint(2)))
    file.save(state(Ledger(under_way=attempts)))

    for loaded in (file.load(), rebooted(file, ago=5, up=5000).load()):
        ledger = loaded.by_account[ACCOUNT]
        assert ledger.under_way == ()
        assert [entry.clear for entry in ledger.entries] == [False, False]
        assert ledger.entries[0].at == pytest.approx(clock.boot() + LATE, abs=20)
        assert logins_left(ledger, clock.boot()) == 1


def test_many_restarts_do_not_put_a_lost_login_off(file: LedgerFile) -> None:
    file.save(state(Ledger(under_way=(Attempt(clock.boot(), Fingerprint(1)),))))

    once = file.load()
    file.save(once)

    assert file.load().by_account == once.by_account


def test_a_time_to_come_is_taken_for_a_minute_from_now_at_most(file: LedgerFile) -> None:
    """A file that was tampered with, or copied from another host, must not bar for ever."""
    file.save(state(Ledger(entries=(Entry(clock.boot() + 1e6),))))

    assert file.load().by_account[ACCOUNT].entries[0].at <= clock.boot() + LATE
    after_reboot = rebooted(file, ago=5, up=5000).load()
    assert after_reboot.by_account[ACCOUNT].entries[0].at <= clock.boot()


def test_any_number_of_logins_under_way_counts_as_three_at_most(file: LedgerFile) -> None:
    file.save(state(Ledger(under_way=(Attempt(clock.boot(), Fingerprint(1)),))))
    fields = json.loads(file.path.read_text())
    fields["accounts"][0]["under_way"] = 10**9

    loaded = edited(file, accounts=fields["accounts"]).load()

    assert len(loaded.by_account[ACCOUNT].entries) == LIMIT


def test_the_file_says_until_when_all_is_in_it(file: LedgerFile) -> None:
    saved = state(Ledger(clear=1))
    file.save(saved)

    assert file.load().saved_at == saved.saved_at
    assert edited(file, boot_id=ANOTHER_BOOT).load().saved_at == -inf


def test_file_and_directory_are_on_disk_when_a_save_returns(
    file: LedgerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = list[str](), os.fsync

    def spy(fd: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", spy)

    file.save(state(Ledger()))

    assert synced == [str(file.path.with_suffix(".new")), str(file.path.parent)]


# What the version before wrote


def of_the_first_version(file: LedgerFile, **changes: object) -> LedgerFile:
    """Have the file as the first version wrote it."""
    marks = {"main": ["https://ids.example.org", "client", "api", "Service@example.org"]}
    return edited(file, **{"v": 1, "logged_out": marks} | changes)


def test_a_file_of_the_first_version_is_read(file: LedgerFile) -> None:
    saved = state(Ledger((Entry(1.0, clear=True),), clear=1, rejected=(Fingerprint(7),)))
    file.save(saved)

    loaded = of_the_first_version(file).load()

    assert loaded == replace(saved, logged_out=frozenset({"main"}))


def account(file: LedgerFile, **changes: object) -> dict[str, object]:
    """Return the file's account as another one would be written."""
    accounts = json.loads(file.path.read_text())["accounts"]
    return cast("dict[str, object]", accounts[0]) | changes


def test_two_spellings_of_one_account_are_one_with_the_entries_of_both(file: LedgerFile) -> None:
    now = clock.boot()
    file.save(state(Ledger((Entry(now - 9.0),), announced=now - 5.0)))
    other = account(file, id_server="https://ids.example.org.", entries=[[now - 8.0, False]])

    loaded = of_the_first_version(file, accounts=[account(file), other]).load()

    assert loaded.by_account == {
        ACCOUNT: Ledger((Entry(now - 9.0), Entry(now - 8.0)), announced=now - 5.0)
    }


def test_an_account_whose_passwords_were_hashed_with_another_spelling_is_left_to_an_operator(
    file: LedgerFile,
) -> None:
    file.save(state(Ledger((Entry(clock.boot(), clear=True),), 1, rejected=(Fingerprint(7),))))
    old = account(file, id_server="https://127.0.0.1:5001")

    loaded = of_the_first_version(file, accounts=[old]).load()

    (ledger,) = loaded.by_account.values()
    refused = budget.ask(ledger, Fingerprint(8), clock.boot(), insisted=False)
    assert isinstance(refused, OverBudget)


def test_systemd_says_where_the_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")

    assert ledger_path(Path("/etc/x.toml")) == Path("/var/lib/a/ledger.json")


def test_two_configurations_of_one_user_have_a_file_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    one, other = ledger_path(Path("/a.toml")), ledger_path(Path("/b.toml"))

    assert one != other
    assert one.parent == other.parent == tmp_path / "openfit-tokend"
    assert one == ledger_path(Path("/a.toml"))


def test_a_configuration_keeps_its_file_when_the_link_that_it_is_leads_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (config := tmp_path / "config.toml").symlink_to("first")
    before = ledger_path(config)

    config.unlink()
    config.symlink_to("second")

    assert ledger_path(config) == before


def test_a_loop_of_links_is_left_to_the_reader_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (loop := tmp_path / "loop").symlink_to(loop)

    assert ledger_path(loop / "a.toml") != ledger_path(loop / "b.toml")


@needs_root
def test_an_owner_of_another_user_is_no_hindrance_for_root(file: LedgerFile) -> None:
    file.save(state(Ledger(clear=1)))
    os.chown(file.path, 1, 1)

    file.save(state(Ledger(clear=2)))

    assert file.path.stat().st_uid == 0


def test_a_link_in_place_of_the_new_file_is_not_followed(file: LedgerFile, tmp_path: Path) -> None:
    (precious := tmp_path / "precious").write_text("precious")
    file.save(state(Ledger(clear=1)))
    file.path.with_suffix(".new").symlink_to(precious)

    file.save(state(Ledger(clear=2)))

    assert precious.read_text() == "precious"
    assert file.load().by_account[ACCOUNT].clear == 2


def test_a_link_in_place_of_the_lock_is_not_followed(file: LedgerFile, tmp_path: Path) -> None:
    file.path.parent.mkdir()
    file.path.with_suffix(".lock").symlink_to(tmp_path / "elsewhere")

    assert file.lock()  # nobody else has it
    with pytest.raises(OSError, match=os.strerror(ELOOP)):
        file.save(state(Ledger()))

    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_that_the_file_system_refuses_is_named_and_costs_no_descriptor(
    file: LedgerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(ENOLCK, os.strerror(ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    assert file.lock()
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(3):
        with pytest.raises(OSError, match=r"ledger\.lock: No locks available"):
            file.save(state(Ledger()))

    assert len([*Path("/proc/self/fd").iterdir()]) == before


@pytest.mark.parametrize("above", [False, True])
def test_where_others_can_write_nothing_is_read_written_or_locked(
    above: bool,  # noqa: FBT001 -- a parameter of pytest's
    file: LedgerFile,
    warnings: pytest.LogCaptureFixture,
) -> None:
    file.save(state(Ledger(clear=1)))
    before = file.path.read_bytes()
    file.path.with_suffix(".lock").unlink()
    wrong = file.path.parent.parent if above else file.path.parent
    wrong.chmod(0o777)
    reason = f"{wrong} can be written by everybody (mode 0777)"

    with pytest.raises(Untrusted, match=re.escape(reason)):
        file.lock()
    with pytest.raises(PermissionError, match=re.escape(f"{reason}: chmod go-w {wrong}")):
        file.save(state(Ledger(clear=2)))
    assert logins_left(file.load().unknown, clock.boot()) == LIMIT - 2

    assert [record.getMessage() for record in warnings.records] == ["state_unreadable"]
    assert file.path.read_bytes() == before
    assert os.listdir(file.path.parent) == ["ledger.json"]  # noqa: PTH208 -- names


@needs_root
@pytest.mark.system
def test_a_daemon_whose_state_others_rule_does_not_start_and_writes_nothing() -> None:
    with prepared_daemon(profile("http://127.0.0.1:1")) as daemon:
        theirs(daemon.state.parent)
        (precious := daemon.directory / "precious").write_text("precious")
        daemon.state.with_suffix(".new").symlink_to(precious)
        daemon.state.with_suffix(".lock").symlink_to(precious)

        own = ("--config", str(daemon.config))
        done = daemon.run("openfit-tokend", "run", *own, "--socket", str(daemon.socket))
        checked = daemon.run("openfit-tokend", "check", *own)

        assert done.returncode == os.EX_CONFIG
        assert "state_untrusted" in done.stderr
        assert f"{daemon.state.parent} belongs to {EVE}, not to root" in done.stderr
        assert f"chown root {daemon.state.parent}" in done.stderr
        assert checked.returncode == os.EX_CONFIG
        assert f"others could replace the ledger: {daemon.state.parent} belongs" in checked.stdout
        assert precious.read_text() == "precious"
