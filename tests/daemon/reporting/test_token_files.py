"""`token_file`: the current access token in a file, whole, for those who may, and never a dead one."""

import os
import resource
import shlex
import signal
import stat
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from threading import enumerate as all_threads

import anyio
import pytest

from daemons import NOBODY, RunningDaemon, await_that, needs_root, prepared_daemon, running_daemon
from daemons import profile as table
from emulators import running_emulator
from hung_disk import hung_disk
from inside import async_await_that, daemon_inside
from made import PROFILE, access
from openfit_emulator.identity import Rules
from openfit_token._shared.secret import Secret
from openfit_tokend.core.session import Idle, Session
from openfit_tokend.core.settings.values import DirectorysGroup, Profile, TokenFile
from openfit_tokend.host import blocking_calls, clock
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.host.blocking_calls import AT_ONCE
from openfit_tokend.host.regular_file import Unusable
from openfit_tokend.host.service_manager import Service
from openfit_tokend.reporting import token_files
from openfit_tokend.reporting.token_files import TokenFiles
from openfit_tokend.reporting.token_writing import Inode, judge_place, remove, write
from others import EVE
from users import being, give_acl

OLD, NEW = Secret("old" * 2000), Secret("new" * 3000)

Do = Callable[[TokenFile], object]
JUDGED: dict[Do, str] = {judge_place: "check", lambda file: write(file, OLD): "write"}
"""What `check` does with a file, and what the daemon does: they say the same of it."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The file, in a directory of its own."""
    directory = tmp_path / "tokens"
    directory.mkdir(mode=0o755)
    return directory / "main"


def beside(place: Path) -> list[str]:
    return sorted(path.name for path in place.parent.iterdir())


def refusal(do: Callable[[], object]) -> str:
    with pytest.raises(Unusable) as caught:
        do()
    assert caught.value.hint
    return caught.value.message


class TestFile:
    def test_it_holds_the_token_and_nothing_else_for_its_user_alone(self, place: Path) -> None:
        before = os.umask(0o077)
        try:
            write(TokenFile(str(place)), OLD)
        finally:
            os.umask(before)

        assert place.read_text() == OLD.reveal
        assert (place.stat().st_uid, stat.S_IMODE(place.stat().st_mode)) == (os.geteuid(), 0o600)
        assert beside(place) == ["main"]

    def test_a_reader_finds_the_old_token_or_the_new_one_whole(self, place: Path) -> None:
        file, enough = TokenFile(str(place)), Event()
        write(file, OLD)
        found: set[str] = set()

        def look() -> None:
            while not enough.is_set():
                found.add(place.read_text())

        reader = Thread(target=look)
        reader.start()
        for number in range(600):
            write(file, NEW if number % 2 else OLD)
        enough.set()
        reader.join()

        assert found == {OLD.reveal, NEW.reveal}

    @needs_root
    @pytest.mark.parametrize(
        ("directory", "group", "readers"),
        [
            (0o755, DirectorysGroup(), None),
            (0o2755, DirectorysGroup(), 3),
            (0o755, "daemon", 1),
            (0o2755, "daemon", 1),
            (0o755, None, None),
            (0o2755, None, None),
        ],
    )
    def test_its_readers_are_the_group_that_is_meant_or_none(
        self, place: Path, directory: int, group: str | DirectorysGroup | None, readers: int | None
    ) -> None:
        os.chown(place.parent, -1, 3)
        place.parent.chmod(directory)
        file = TokenFile(str(place), group)

        judge_place(file)
        assert beside(place) == []
        write(file, OLD)

        status = place.stat()
        assert stat.S_IMODE(status.st_mode) == (0o600 if readers is None else 0o640)
        assert readers in {None, status.st_gid}

    @needs_root
    @pytest.mark.parametrize("do", JUDGED, ids=JUDGED.get)
    def test_a_group_that_the_daemon_may_not_give_is_told_so_with_what_to_do(self, do: Do) -> None:
        with TemporaryDirectory() as name:  # below /tmp: nobody may search pytest's
            os.chown(name, NOBODY, NOBODY)
            file = TokenFile(f"{name}/main", "daemon")
            with being(NOBODY), pytest.raises(Unusable) as caught:
                do(file)
            assert caught.value.message == "may not be given to the group daemon"
            assert list(Path(name).iterdir()) == []

            _, _, install = str(caught.value.hint).partition(": ")
            subprocess.run(shlex.split(install), check=True)
            with being(NOBODY):
                do(TokenFile(f"{name}/daemon/main", "daemon"))

    @needs_root
    def test_a_daemon_that_may_give_no_group_has_the_directorys(self, place: Path) -> None:
        file = TokenFile(str(place), "daemon")

        with pytest.raises(Unusable, match="may not be given to the group daemon"):
            judge_place(file, chown=False)

        os.chown(place.parent, -1, 1)
        place.parent.chmod(0o2755)
        judge_place(file, chown=False)

    @needs_root
    @pytest.mark.parametrize("do", JUDGED, ids=JUDGED.get)
    def test_a_directory_that_lets_more_than_the_group_read_is_refused(
        self, place: Path, do: Do
    ) -> None:
        os.chown(place.parent, -1, 3)
        place.parent.chmod(0o2755)
        give_acl(place.parent, EVE, 4, default=True)

        reason = refusal(lambda: do(TokenFile(str(place))))

        assert reason == "those whom its access control list names could read it"
        assert beside(place) == []

    @pytest.mark.parametrize("do", JUDGED, ids=JUDGED.get)
    def test_a_group_that_nobody_knows_is_told_so(self, place: Path, do: Do) -> None:
        file = TokenFile(str(place), "nobody-has-it")

        assert refusal(lambda: do(file)) == "there is no group nobody-has-it"

    def test_a_directory_that_others_can_write_to_is_refused(self, place: Path) -> None:
        place.parent.chmod(0o757)

        reason = f"its directory isn't safe: {place.parent} can be written by "
        assert refusal(lambda: write(TokenFile(str(place)), OLD)).startswith(reason)
        assert refusal(lambda: remove(str(place))).startswith(reason)
        assert beside(place) == []

    @needs_root
    def test_another_users_symlink_is_not_followed_to_its_directory(
        self, place: Path, tmp_path: Path
    ) -> None:
        link = tmp_path / "link"
        link.symlink_to(place.parent)
        file = TokenFile(f"{link}/main")
        write(file, OLD)
        assert place.read_text() == OLD.reveal

        os.chown(link, NOBODY, -1, follow_symlinks=False)

        assert refusal(lambda: write(file, NEW)).startswith(
            f"its directory isn't safe: {link} belongs to nobody"
        )
        assert place.read_text() == OLD.reveal

    def test_an_absent_directory_is_told_so(self, tmp_path: Path) -> None:
        file = TokenFile(f"{tmp_path}/none/main")

        assert refusal(lambda: write(file, OLD)) == f"there is no directory {tmp_path}/none"

    @pytest.mark.parametrize(
        ("content", "mode"),
        [
            ("precious", 0o600),
            ("precious", 0o640),
            (f"{OLD.reveal}\n", 0o600),
            ("", 0o600),
            (OLD.reveal, 0o644),
        ],
    )
    def test_a_file_that_no_daemon_made_is_neither_replaced_nor_removed(
        self, place: Path, content: str, mode: int
    ) -> None:
        place.write_text(content)
        place.chmod(mode)

        reason = "another file is there (a token's is the daemon's own, mode 0600 or 0640, with a token in it)"
        assert refusal(lambda: write(TokenFile(str(place)), OLD)) == reason
        assert refusal(lambda: judge_place(TokenFile(str(place)))) == reason
        assert refusal(lambda: remove(str(place))) == reason
        assert place.read_text() == content
        assert beside(place) == ["main"]

    @needs_root
    @pytest.mark.parametrize("group", [None, "daemon"])
    def test_what_a_killed_daemon_left_is_replaced_also_for_other_readers(
        self, place: Path, group: str | None
    ) -> None:
        write(TokenFile(str(place), group), OLD)

        write(TokenFile(str(place), "daemon" if group is None else None), NEW)

        assert place.read_text() == NEW.reveal
        assert beside(place) == ["main"]

    @needs_root
    def test_another_users_file_is_neither_replaced_nor_removed(self, place: Path) -> None:
        write(TokenFile(str(place)), OLD)
        os.chown(place, NOBODY, -1)

        assert refusal(lambda: remove(str(place))).startswith("another file is there")

    @pytest.mark.parametrize("name", ["main", ".main.new"])
    def test_a_symlink_in_its_place_is_not_followed(self, place: Path, name: str) -> None:
        precious = place.parent / "precious"
        write(TokenFile(str(precious)), OLD)
        (place.parent / name).symlink_to(precious)

        if name == "main":
            assert refusal(lambda: write(TokenFile(str(place)), NEW)).startswith("another file")
        else:
            write(TokenFile(str(place)), NEW)

        assert precious.read_text() == OLD.reveal

    def test_one_that_can_not_be_written_leaves_the_old_one_whole(self, place: Path) -> None:
        write(TokenFile(str(place)), OLD)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            reason = refusal(lambda: write(TokenFile(str(place)), NEW))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, ignored)

        assert reason == "can't be written: File too large"
        assert place.read_text() == OLD.reveal
        assert beside(place) == ["main"]

    def test_it_is_removed_with_what_a_killed_daemon_left_and_a_second_time_nothing_is(
        self, place: Path
    ) -> None:
        write(TokenFile(str(place)), OLD)
        (place.parent / ".main.new").write_text("half")

        remove(str(place))
        remove(str(place))

        assert beside(place) == []


# What is kept where


def profile(place: Path | None, name: str = "main") -> Profile:
    return replace(PROFILE, name=name, token_file=None if place is None else TokenFile(str(place)))


def holding(token: str) -> Session:
    now = clock.boot()
    return Session(Idle(now + 3000.0), access=access(token, sent=now))


EMPTY = Session(Idle(0.0))


@asynccontextmanager
async def running() -> AsyncGenerator[TokenFiles]:
    alarm = Alarm()
    files = TokenFiles(alarm)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(alarm.run)
        tasks.start_soon(files.run)
        yield files
        tasks.cancel_scope.cancel()


def text(place: Path) -> str | None:
    return place.read_text() if place.exists() else None


async def await_text(place: Path, expected: str | None) -> None:
    await async_await_that(lambda: text(place) == expected, lambda: text(place))


async def test_the_newest_token_wins_and_what_came_between_is_never_written(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, written = Event(), list[str]()

    def slowly(file: TokenFile, token: Secret, known: Inode | None) -> Inode:
        slow.wait(20)
        written.append(token.reveal)
        return write(file, token, known)

    monkeypatch.setattr(token_files, "write", slowly)
    async with running() as files:
        for token in ("a", "b", "c"):
            files.changed(profile(place), holding(token))
            await anyio.sleep(0.05)  # so that the first is under way
        slow.set()
        await await_text(place, "c")
    assert written == ["a", "c"]


async def test_a_token_that_has_ended_or_is_given_up_is_removed(place: Path) -> None:
    dead = replace(holding("a"), access=access("a", sent=clock.boot() - 7200.0))
    async with running() as files:
        for session, expected in ((holding("a"), "a"), (dead, None), (holding("b"), "b")):
            files.changed(profile(place), session)
            await await_text(place, expected)
        files.changed(profile(place), EMPTY)
        await await_text(place, None)


async def test_a_file_of_an_earlier_life_is_removed_while_there_is_no_token(place: Path) -> None:
    write(TokenFile(str(place)), OLD)
    async with running() as files:
        files.changed(profile(place), EMPTY)
        await await_text(place, None)


async def test_a_profile_that_moves_or_goes_leaves_no_file(place: Path) -> None:
    other = place.with_name("other")
    async with running() as files:
        files.changed(profile(place), holding("a"))
        await await_text(place, "a")
        files.changed(profile(other), holding("a"))
        await await_text(place, None)
        await await_text(other, "a")
        files.changed(profile(None), holding("a"))
        await await_text(other, None)
        files.changed(profile(place), holding("a"))
        await await_text(place, "a")
        files.removed("main")
        await await_text(place, None)


async def test_two_profiles_may_exchange_their_files(place: Path) -> None:
    other = place.with_name("other")
    async with running() as files:
        files.changed(profile(place, "one"), holding("1"))
        files.changed(profile(other, "two"), holding("2"))
        await await_text(other, "2")
        files.changed(profile(other, "one"), holding("1"))
        files.changed(profile(place, "two"), holding("2"))
        await await_text(other, "1")
        await await_text(place, "2")
        files.removed("one")
        await await_text(other, None)
        assert text(place) == "2"


async def test_a_stop_removes_the_files(place: Path) -> None:
    async with running() as files:
        files.changed(profile(place), holding("a"))
        await files.stop()
        assert text(place) is None


def writers() -> set[Thread]:
    """Return the threads that write a file at the moment."""
    return {each for each in all_threads() if each.name == "token_file"}


async def test_what_comes_after_the_stop_is_written_nowhere(place: Path) -> None:
    """In a fleet another host may bring a token while this daemon ends."""
    others = writers()
    async with running() as files:
        files.changed(profile(place), holding("a"))
        await await_text(place, "a")
        await files.stop()

        files.changed(profile(place), holding("b"))
        await anyio.wait_all_tasks_blocked()
        await async_await_that(lambda: writers() <= others)

        assert beside(place) == []


async def test_any_number_of_files_on_a_dead_disk_keeps_no_other_one_from_its_token(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking_calls, "PATIENCE", 0.02)
    with hung_disk(".dead.new") as disk:
        async with running() as files:
            for number in range(3 * AT_ONCE):
                dead = place.parent / str(number) / "dead"
                dead.parent.mkdir(mode=0o755)
                files.changed(profile(dead, f"dead{number}"), holding("a"))
            files.changed(profile(place), holding("b"))
            await await_text(place, "b")
            files.changed(profile(place), holding("c"))
            await await_text(place, "c")
            disk.mend()
            await await_text(place.parent / "0" / "dead", "a")


async def test_a_write_that_hangs_is_said_and_follows_what_came_meanwhile_once_it_goes_on(
    place: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_files, "WRITE_TIME", 0.05)
    others = writers()
    dead = place.with_name("dead")
    async with running() as files:
        with hung_disk(".dead.new"):
            for token in ("a", "b", "c"):
                files.changed(profile(dead), holding(token))
                await async_await_that(lambda: bool(troubles(caplog)))
            assert troubles(caplog) == ["no answer within 0 s"]
            files.changed(profile(dead), EMPTY)  # the token that is being written has died
            await files.stop()  # which gives it up too
        await async_await_that(lambda: writers() <= others)
        assert beside(place) == []


async def test_a_file_that_can_not_be_removed_is_emptied_when_its_token_is_dead(
    place: Path,
) -> None:
    async with running() as files:
        files.changed(profile(place), holding("a"))
        await await_text(place, "a")
        place.parent.chmod(0o777)
        files.changed(profile(place), EMPTY)
        await await_text(place, "")
        place.parent.chmod(0o755)
        files.changed(profile(place), holding("b"))
        await await_text(place, "b")


async def test_a_file_that_somebody_put_there_is_not_emptied(place: Path) -> None:
    async with running() as files:
        files.changed(profile(place), holding("a"))
        await await_text(place, "a")
        exchange(place)
        files.changed(profile(place), EMPTY)
        await files.stop()
        assert text(place) == "precious"


async def test_what_can_not_be_written_is_said_once_removed_and_tried_again(
    place: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: TokenFile, _token: Secret, _known: Inode | None) -> Inode:
        tried.append(None)
        raise Unusable("can't be written: No space left on device", "make room")

    tried: list[None] = []
    async with running() as files:
        files.changed(profile(place), holding("a"))
        await await_text(place, "a")
        with monkeypatch.context() as patch:
            patch.setattr(token_files, "write", full)
            files.changed(profile(place), holding("b"))
            await await_text(place, None)  # or the dead one would be served for ever
            for token in ("b", "c"):
                tried.clear()
                files.changed(profile(place), holding(token))
                await async_await_that(lambda: bool(tried))
        files.changed(profile(place), holding("d"))
        await await_text(place, "d")

    assert troubles(caplog) == ["can't be written: No space left on device"]


async def test_what_can_not_be_written_is_tried_again_by_itself(
    place: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_files, "RETRY", 0.1)
    place.parent.chmod(0o777)
    async with running() as files:
        files.changed(profile(place), holding("a"))
        await async_await_that(lambda: bool(caplog.records))
        place.parent.chmod(0o755)

        await await_text(place, "a")


def exchange(place: Path) -> None:
    """Put another file there, which looks like a daemon's, where everybody may."""
    place.parent.chmod(0o777)
    place.rename(place.with_name("ours"))
    place.write_text("precious")
    place.chmod(0o640)


def troubles(caplog: pytest.LogCaptureFixture) -> list[object]:
    """Return the reasons that were logged."""
    return [
        record.__dict__["fields"]["reason"]
        for record in caplog.records
        if record.getMessage() == "token_file_not_written"
    ]


# The whole daemon


def tables(url: str, place: Path, **lists: str) -> str:
    return table(url, token_file=f'"{place}"', **lists)


def await_file(daemon: RunningDaemon, place: Path) -> None:
    """Await that the file holds the token that the daemon hands out."""
    await_that(lambda: text(place) == daemon.call("get_token")["access_token"], daemon.log)


@pytest.mark.system
def test_the_file_follows_the_session_from_login_to_stop(place: Path) -> None:
    with running_emulator() as emulator, running_daemon(tables(emulator.url, place)) as daemon:
        await_file(daemon, place)
        daemon.call("login")
        await_file(daemon, place)
        daemon.call("logout")
        await_that(lambda: not place.exists())
        daemon.call("login")
        await_file(daemon, place)

        moved = place.with_name("moved")
        daemon.write_config(tables(emulator.url, moved))
        daemon.call("reload")
        await_file(daemon, moved)
        await_that(lambda: not place.exists())
        daemon.write_config(table(emulator.url, "other"))
        daemon.call("reload")
        await_that(lambda: not moved.exists())
        daemon.write_config(tables(emulator.url, place))
        daemon.call("reload")
        await_file(daemon, place)

        assert daemon.stop() == 0
        assert beside(place) == []


async def test_a_stop_leaves_no_file_though_systemd_keeps_the_sessions(
    place: Path, tmp_path: Path
) -> None:
    with running_emulator() as emulator:
        config, service = tables(emulator.url, place), Service(has_store=True)
        async with daemon_inside(tmp_path, config, service=service):
            await async_await_that(place.exists)

        assert beside(place) == []


@needs_root
@pytest.mark.system
def test_a_member_of_the_directorys_group_whom_the_lists_dont_name_can_not_read_it() -> None:
    with TemporaryDirectory() as name, running_emulator() as emulator:
        place = Path(name, "main")
        os.chown(name, -1, 3)
        place.parent.chmod(0o2750)
        config = tables(emulator.url, place, allow_users='["nobody"]')
        with running_daemon(config) as daemon:
            await_file(daemon, place)
            with being(EVE, 3), pytest.raises(PermissionError):
                place.read_text()

            daemon.write_config(tables(emulator.url, place, allow_groups='["sys"]'))
            daemon.call("reload")
            await_that(lambda: place.stat().st_mode & 0o777 == 0o640)
            with being(EVE, 3):
                assert place.read_text()


@pytest.mark.system
def test_a_token_that_ends_in_an_outage_leaves_no_file_and_neither_does_a_killed_daemon(
    place: Path,
) -> None:
    with (
        running_emulator("error-503@refresh:*", rules=Rules(token_lifetime=2)) as emulator,
        prepared_daemon(tables(emulator.url, place)) as daemon,
    ):
        daemon.start()
        await_that(place.exists)
        emulator.fault("error-503@*")
        await_that(lambda: not place.exists())

        write(TokenFile(str(place)), OLD)  # as if it had been killed before
        daemon.kill()
        daemon.socket.unlink()
        daemon.start()
        await_that(lambda: not place.exists())
