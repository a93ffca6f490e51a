"""`notify_command`: real programs, run when a profile is locked, down, or well again."""

import os
import select
import shlex
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest

from daemons import profile as table
from daemons import running_daemon
from emulators import PASSWORD, running_emulator
from inside import async_await_that, daemon_inside
from made import PROFILE, fresh, how, problem
from openfit_token.errors import LoginRejected
from openfit_tokend.core.reports import notices as core_notices
from openfit_tokend.core.reports.health import Condition, Health
from openfit_tokend.core.reports.notices import Notice
from openfit_tokend.core.session import Bar, Idle, Session, State, Stopped
from openfit_tokend.core.settings.values import Profile
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.reporting import notices
from openfit_tokend.reporting.notices import MAX_COMMANDS, MAX_TEXT, Notices, environment

WITHOUT = Session(Idle(float("inf")), failures=1, error=problem())
DOWN = how(WITHOUT)
LOCKED = how(Session(Stopped(), bar=Bar(float("inf"), problem(LoginRejected))))
TRYING = how(Session(Idle(float("inf"))))


def well() -> Health:
    return how(fresh())


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Where the command writes to."""
    return tmp_path / "told"


def lines(told: Path) -> list[str]:
    return told.read_text().splitlines() if told.exists() else []


def has_lines(told: Path, count: int) -> bool:
    return len(lines(told)) == count


def profile(code: str, name: str = "main") -> Profile:
    """Return a profile whose command is this shell code."""
    return replace(PROFILE, name=name, notify_command=("/bin/sh", "-c", code))


def noting(told: Path, name: str = "main", *, first: str = "") -> Profile:
    """Return a profile whose command notes what it is told."""
    code = f"{first} echo $OPENFIT_PROFILE $OPENFIT_EVENT >> {shlex.quote(str(told))}"
    return profile(code, name)


@asynccontextmanager
async def running() -> AsyncGenerator[Notices]:
    alarm = Alarm()
    told = Notices(alarm)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(alarm.run)
        tasks.start_soon(told.run)
        yield told
        tasks.cancel_scope.cancel()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second command begin sooner than people could bear."""
    monkeypatch.setattr(core_notices, "SPACING", 0.2)


@pytest.mark.usefixtures("quick")
async def test_each_change_of_condition_is_told_and_nothing_else(told: Path) -> None:
    main = noting(told)
    async with running() as all_told:
        for health, count in (
            (well(), 0),  # as at each start
            (DOWN, 1),
            (TRYING, 1),
            (DOWN, 1),
            (LOCKED, 2),
            (well(), 3),
        ):
            all_told.changed(main, health)
            await async_await_that(partial(has_lines, told, count))
    assert lines(told) == ["main down", "main locked", "main recovered"]


def test_the_environment_says_what_happened_in_plain_lines() -> None:
    trouble = replace(problem(LoginRejected), message="no\0such\nuser" + "x" * 2000, hint=None)

    assert environment("main", Notice(Condition.LOCKED, State.LOCKED, trouble)) == {
        "OPENFIT_PROFILE": "main",
        "OPENFIT_EVENT": "locked",
        "OPENFIT_STATE": "locked",
        "OPENFIT_CODE": "LOGIN_REJECTED",
        "OPENFIT_MESSAGE": r"no\x00such\nuser" + "x" * (MAX_TEXT - 12),
        "OPENFIT_HINT": "",
    }


def test_what_is_well_again_has_no_problem() -> None:
    found = environment("main", Notice(Condition.WELL, State.FRESH, None))

    assert found == {
        "OPENFIT_PROFILE": "main",
        "OPENFIT_EVENT": "recovered",
        "OPENFIT_STATE": "fresh",
        "OPENFIT_CODE": "",
        "OPENFIT_MESSAGE": "",
        "OPENFIT_HINT": "",
    }


async def test_the_command_gets_a_clean_environment_and_no_descriptors(
    told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "MAIN_PASSWORD"):
        monkeypatch.setenv(name, "hunter2")
    passed = os.dup(1)
    os.set_inheritable(passed, True)  # noqa: FBT003 -- the system call's own form
    target = shlex.quote(str(told))
    code = f"{{ env; ls /proc/$$/fd; }} > {target}.new; mv {target}.new {target}"
    try:
        async with running() as all_told:
            all_told.changed(profile(code), DOWN)
            await async_await_that(told.exists)
    finally:
        os.close(passed)

    text = lines(told)
    assert "hunter2" not in "\n".join(text)
    assert f"PATH={os.environ['PATH']}" in text
    assert "OPENFIT_EVENT=down" in text
    fds = {line for line in text if line.isdigit()}
    assert fds - {"10"} == {"0", "1", "2"}  # dash keeps what it redirects


@pytest.mark.usefixtures("quick")
async def test_a_flapping_server_is_told_now_and_then_and_at_last_as_it_is(told: Path) -> None:
    main = noting(told)
    async with running() as all_told:
        all_told.changed(main, DOWN)
        await async_await_that(lambda: lines(told) == ["main down"])

        for _ in range(50):
            all_told.changed(main, well())
            all_told.changed(main, DOWN)
        all_told.changed(main, LOCKED)

        await async_await_that(lambda: len(lines(told)) > 1)
    assert lines(told) == ["main down", "main locked"]


async def test_what_is_over_before_it_may_be_told_is_not_told(
    told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_notices, "SPACING", 0.5)
    main = noting(told)
    async with running() as all_told:
        all_told.changed(main, DOWN)
        await async_await_that(lambda: lines(told) == ["main down"])
        all_told.changed(main, well())
        all_told.changed(main, DOWN)
        await anyio.sleep(0.8)  # what is to be seen is that nothing comes

    assert lines(told) == ["main down"]


async def test_a_second_command_does_not_begin_at_once(told: Path) -> None:
    main = noting(told)
    async with running() as all_told:
        all_told.changed(main, DOWN)
        await async_await_that(lambda: lines(told) == ["main down"])
        all_told.changed(main, LOCKED)
        await anyio.sleep(0.3)  # what is to be seen is that nothing comes

    assert lines(told) == ["main down"]


@pytest.mark.usefixtures("quick")
async def test_one_command_of_a_profile_runs_at_a_time(told: Path, tmp_path: Path) -> None:
    for event in ("down", "locked"):
        os.mkfifo(tmp_path / event)
    home = shlex.quote(str(tmp_path))
    main = noting(told, first=f"cd {home}; echo $OPENFIT_EVENT >> began; read x < $OPENFIT_EVENT;")
    async with running() as all_told:
        all_told.changed(main, DOWN)
        writer = await opened(tmp_path / "down")
        all_told.changed(main, LOCKED)
        all_told.changed(main, well())
        all_told.changed(main, LOCKED)
        await anyio.sleep(0.4)  # twice the spacing: nothing may begin beside the first
        assert lines(tmp_path / "began") == ["down"]

        os.close(writer)
        os.close(await opened(tmp_path / "locked"))
        await async_await_that(lambda: len(lines(told)) > 1)
    assert lines(told) == ["main down", "main locked"]


async def test_a_thousand_profiles_that_go_down_at_once_are_told_a_few_at_a_time(
    tmp_path: Path,
) -> None:
    (tmp_path / "now").mkdir()
    home = shlex.quote(str(tmp_path))
    code = (
        f"cd {home}; : > now/$OPENFIT_PROFILE; ls now | wc -l >> counts; sleep 0.05;"
        " rm now/$OPENFIT_PROFILE"
    )
    counts = tmp_path / "counts"
    async with running() as all_told:
        for number in range(4 * MAX_COMMANDS):
            all_told.changed(profile(code, f"p{number}"), DOWN)
        await async_await_that(lambda: len(lines(counts)) == 4 * MAX_COMMANDS)

    assert max(map(int, lines(counts))) <= MAX_COMMANDS


async def test_one_that_takes_too_long_is_killed_with_its_children_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notices, "TIME_LIMIT", 0.5)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    main = profile(f"echo no network >&2; cat {shlex.quote(str(gate))}; :")
    async with running() as all_told:
        all_told.changed(main, DOWN)
        writer = await opened(gate)
        await async_await_that(lambda: bool(failures(caplog)))
        await async_await_that(partial(is_left, writer))

    os.close(writer)
    assert failures(caplog) == ["took longer than 0.5 s and was killed: no network"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("printf 'no\\033[1m mail' >&2; exit 3", "ended with status 3: no\\x1b[1m mail"),
        ("kill -9 $$", "was killed by SIGKILL"),
    ],
)
async def test_a_failure_is_said_with_the_end_of_its_error_output(
    code: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as all_told:
        all_told.changed(profile(code), DOWN)
        await async_await_that(lambda: bool(failures(caplog)))

    assert failures(caplog) == [reason]


@pytest.mark.usefixtures("quick")
async def test_one_that_failed_is_run_again_and_tells_how_things_are_by_then(
    told: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mended = shlex.quote(f"{told}.mended")
    main = noting(told, first=f"test -e {mended} || exit 1;")
    async with running() as all_told:
        all_told.changed(main, DOWN)
        await async_await_that(lambda: len(failures(caplog)) > 1)
        all_told.changed(main, LOCKED)
        os.mknod(f"{told}.mended")
        await async_await_that(lambda: lines(told) == ["main locked"])
        all_told.changed(main, well())
        await async_await_that(lambda: lines(told) == ["main locked", "main recovered"])


@pytest.mark.usefixtures("quick")
async def test_another_command_does_not_wait_for_what_the_one_before_failed_at(
    told: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_notices, "MAX_RUNS", 1)
    async with running() as all_told:
        all_told.changed(profile("exit 1"), DOWN)
        await async_await_that(lambda: bool(failures(caplog)))
        all_told.changed(noting(told), DOWN)
        await async_await_that(lambda: lines(told) == ["main down"])


async def test_a_program_that_is_not_there_is_said_and_nobody_else_notices(
    told: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as all_told:
        all_told.changed(replace(profile(""), notify_command=("/no/such",)), DOWN)
        await async_await_that(lambda: bool(failures(caplog)))
        all_told.changed(noting(told, "other"), DOWN)
        await async_await_that(lambda: lines(told) == ["other down"])

    assert failures(caplog) == ["there is no such program"]


async def test_a_command_that_runs_when_the_daemon_ends_is_killed(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with running() as all_told:
        all_told.changed(profile(f"cat {shlex.quote(str(gate))}; :"), DOWN)
        writer = await opened(gate)

    await async_await_that(partial(is_left, writer))
    os.close(writer)


@pytest.mark.usefixtures("quick")
async def test_a_profile_that_is_gone_is_told_nothing_more(told: Path) -> None:
    main = noting(told)
    async with running() as all_told:
        all_told.changed(main, DOWN)
        await async_await_that(lambda: lines(told) == ["main down"])
        all_told.changed(main, LOCKED)
        all_told.removed("main")
        await anyio.sleep(0.4)  # what is to be seen is that nothing comes

        all_told.changed(main, LOCKED)  # one of that name has come
        await async_await_that(lambda: len(lines(told)) > 1)
    assert lines(told) == ["main down", "main locked"]


def failures(caplog: pytest.LogCaptureFixture) -> list[object]:
    """Return the reasons of the failures that were logged."""
    return [
        record.__dict__["fields"]["reason"]
        for record in caplog.records
        if record.getMessage() == "notify_command_failed"
    ]


async def opened(fifo: Path) -> int:
    """Wait until somebody reads a FIFO, and give its other end."""
    writers: list[int] = []

    def is_read() -> bool:
        with suppress(OSError):  # ENXIO: no reader
            if not writers:
                writers.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        return bool(writers)

    await async_await_that(is_read)
    return writers[0]


def is_left(writer: int) -> bool:
    """Return whether nobody reads a FIFO any more. Its end would end a reader: so it stays open."""
    ends = select.poll()
    ends.register(writer)
    return any(events & select.POLLERR for _, events in ends.poll(0))


# The whole daemon


def command(told: Path) -> str:
    """Return the TOML of a command that notes its whole environment."""
    code = f"{{ env; echo; }} >> '{told}'"
    return f"""["/bin/sh", "-c", '''{code}''']"""


def events(told: Path) -> list[str]:
    return [line.partition("=")[2] for line in lines(told) if line.startswith("OPENFIT_EVENT=")]


@pytest.mark.system
def test_a_daemon_tells_of_a_wrong_password_at_its_start_without_telling_it(told: Path) -> None:
    with running_emulator() as emulator:
        config = table(emulator.url, notify_command=command(told))
        with running_daemon(config, password="wrong horse") as daemon:
            daemon.await_log("notified", "profile=main", "told=locked")

        assert events(told) == ["locked"]
        assert "OPENFIT_CODE=LOGIN_REJECTED" in told.read_text()
        assert "wrong horse" not in told.read_text()


@pytest.mark.usefixtures("quick")
async def test_an_outage_is_told_once_and_its_end_once_and_a_stop_not_at_all(
    told: Path, tmp_path: Path
) -> None:
    tries = 2
    with running_emulator("error-503@*") as emulator:
        config = table(emulator.url, notify_command=command(told))
        async with daemon_inside(tmp_path, config) as daemon:
            await async_await_that(lambda: events(told) == ["down"], daemon.log)
            await async_await_that(lambda: emulator.state().token_requests >= tries)
            emulator.clear_faults()
            await async_await_that(lambda: len(events(told)) > 1)
            async with daemon.client() as tokens:
                held = await tokens.get_token()

            keeper = daemon.daemon.profiles.keepers["main"]
            daemon.daemon.profiles.stopping, keeper.session = True, WITHOUT
            daemon.daemon._follow(keeper)  # pyright: ignore[reportPrivateUsage] -- no other way tells
            await anyio.sleep(0.5)  # what is to be seen is that nothing comes

        assert events(told) == ["down", "recovered"]
        assert held.access_token not in "".join(lines(told))
        assert PASSWORD not in "".join(lines(told))
