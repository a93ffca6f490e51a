"""`openfit-token watch`: a line, or a command, at each new token."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from select import select

import pytest

from daemons import PATIENCE, RunningDaemon, await_that, prepared_daemon, profile
from emulators import running_emulator
from openfit_tokend.host import clock
from processes import OPENFIT_TOKEN, environment

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    with running_emulator() as emulator, prepared_daemon(profile(emulator.url)) as daemon:
        daemon.start()
        daemon.call("get_token")
        yield daemon


@contextmanager
def watching(
    daemon: RunningDaemon, *words: str, alone: bool = False
) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*OPENFIT_TOKEN, "watch", *words],
        env=environment(OPENFIT_TOKEN_SOCKET=str(daemon.socket)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=alone,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


in_a_terminal = partial(watching, alone=True)
"""It and its command are one group of processes, to which a terminal would send a Ctrl-C."""


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def new_token(daemon: RunningDaemon) -> str:
    daemon.call("logout")
    return str(daemon.call("login")["id"])


@contextmanager
def stopped(daemon: RunningDaemon) -> Generator[None]:
    """Leave it as it was for the tests that come after, also when this one fails."""
    daemon.stop()
    try:
        yield
    finally:
        daemon.start()
        daemon.call("get_token")


def test_the_token_that_is_held_and_each_new_one_have_a_line(daemon: RunningDaemon) -> None:
    with watching(daemon) as process:
        assert daemon.call("get_token")["id"] in line(process)

        token = new_token(daemon)
        since = clock.boot()

        assert f"main: token {token}, until 20" in line(process)
        assert clock.boot() - since < PATIENCE


def test_the_token_itself_is_not_shown(daemon: RunningDaemon) -> None:
    with watching(daemon) as process:
        assert daemon.call("get_token")["access_token"] not in line(process)


def test_it_survives_a_restart_of_the_daemon(daemon: RunningDaemon) -> None:
    with watching(daemon) as process:
        line(process)
        daemon.stop()
        daemon.start()

        assert daemon.call("get_token")["id"] in line(process)


def test_it_ends_with_the_reader_of_its_output_though_nothing_happens(
    daemon: RunningDaemon,
) -> None:
    with watching(daemon) as process:
        line(process)
        assert process.stdout is not None
        process.stdout.close()

        assert process.wait(PATIENCE) == 74
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_it_ends_with_the_reader_while_it_waits_for_the_daemon(daemon: RunningDaemon) -> None:
    with watching(daemon) as process:
        line(process)
        with stopped(daemon):
            assert process.stdout is not None
            process.stdout.close()

            assert process.wait(PATIENCE) == 74


def test_a_command_runs_at_each_new_token_and_is_told_which(
    daemon: RunningDaemon, tmp_path: Path
) -> None:
    written = tmp_path / "written"
    script = (
        f'echo "$OPENFIT_PROFILE $OPENFIT_TOKEN_ID ${{OPENFIT_ACCESS_TOKEN-none}}" >> {written}'
    )
    with watching(daemon, "--", "sh", "-c", script):
        await_that(written.exists)
        first = daemon.call("get_token")["id"]

        second = new_token(daemon)

        await_that(lambda: second in written.read_text())
    assert written.read_text().splitlines() == [f"main {first} none", f"main {second} none"]


def test_a_command_that_fails_is_told_and_run_again(daemon: RunningDaemon) -> None:
    with watching(daemon, "--", "false") as process:
        assert process.stderr is not None
        assert "false ended with status 1" in process.stderr.readline()

        new_token(daemon)

        assert "next token" in process.stderr.readline()  # the hint of the first
        assert "false ended with status 1" in process.stderr.readline()


def test_after_ctrl_c_a_command_may_clean_up(daemon: RunningDaemon, tmp_path: Path) -> None:
    ready, cleaned = tmp_path / "ready", tmp_path / "cleaned"
    script = (
        f"trap 'sleep 1; touch {cleaned}; exit 0' INT; touch {ready}; while :; do sleep 0.05; done"
    )
    with in_a_terminal(daemon, "--", "sh", "-c", script) as process:
        await_that(ready.exists)

        os.killpg(process.pid, signal.SIGINT)

        assert process.wait(PATIENCE) == -signal.SIGINT
        assert cleaned.exists()


def test_a_second_ctrl_c_kills_a_command_that_heeds_none(
    daemon: RunningDaemon, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    script = f"trap '' INT; echo $$ > {started}; exec sleep 1000 2>&-"
    with in_a_terminal(daemon, "--", "sh", "-c", script) as process:
        await_that(lambda: started.exists() and bool(started.read_text()))
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        assert "waiting for sh to end; Ctrl-C again kills it" in process.stderr.readline()

        os.killpg(process.pid, signal.SIGINT)

        assert process.wait(PATIENCE) == -signal.SIGINT
        await_that(lambda: is_gone(int(started.read_text())))


def test_ctrl_c_while_a_command_starts_leaves_none_behind(daemon: RunningDaemon) -> None:
    script = "trap '' INT; exec 2>&-; kill -INT $PPID; echo $$; exec sleep 1000"
    for _ in range(20):  # of eight, one was left behind
        with in_a_terminal(daemon, "--", "sh", "-c", script) as process:
            command = int(line(process))
            assert process.stderr is not None
            try:
                assert "waiting for sh to end" in process.stderr.readline()
                os.killpg(process.pid, signal.SIGINT)
                assert process.wait(PATIENCE) == -signal.SIGINT
                await_that(partial(is_gone, command))
            finally:
                with suppress(ProcessLookupError):
                    os.kill(command, signal.SIGKILL)


def test_a_ctrl_c_that_the_kernel_gives_to_another_thread_is_heard(daemon: RunningDaemon) -> None:
    """As it does while the one that waits for the command has signals blocked, to start it."""
    with in_a_terminal(daemon, "--", "sh", "-c", "echo $$; exec sleep 1000 2>&-") as process:
        command = int(line(process))
        threads = [int(each.name) for each in Path(f"/proc/{process.pid}/task").iterdir()]
        (other,) = (each for each in threads if each != process.pid)
        try:
            assert ctypes.CDLL(None).tgkill(process.pid, other, signal.SIGINT) == 0
            assert process.stderr is not None
            assert select([process.stderr], [], [], PATIENCE)[0]
            assert "waiting for sh to end" in process.stderr.readline()
        finally:
            os.kill(command, signal.SIGKILL)
        assert process.wait(PATIENCE) == -signal.SIGINT


def is_gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def test_a_command_that_is_not_there_ends_it(daemon: RunningDaemon) -> None:
    with watching(daemon, "--", "no-such-command") as process:
        assert process.wait(PATIENCE) == 127


def test_without_a_daemon_it_says_so(daemon: RunningDaemon, tmp_path: Path) -> None:
    with watching(daemon, "--socket", str(tmp_path / "none")) as process:
        assert process.wait(PATIENCE) == 69
