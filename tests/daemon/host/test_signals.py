"""Which signals the daemon minds, from when on, and what the end of its terminal means."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import PATIENCE, RunningDaemon, await_that, prepared_daemon, profile
from emulators import running_emulator
from inside import async_await_that, daemon_inside
from openfit_tokend import app
from terminals import Terminal

NOWHERE = profile("http://127.0.0.1:9")
CANTCREAT, NOT_NOW = 73, 75


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    """A daemon that isn't started."""
    with prepared_daemon(NOWHERE) as daemon:
        daemon.is_forked = False
        yield daemon


def run_by(daemon: RunningDaemon, *launcher: str) -> list[str]:
    """Return the command of a daemon."""
    places = ["--config", str(daemon.config), "--socket", str(daemon.socket)]
    return [*launcher, sys.executable, "-m", "openfit_tokend", "run", *places]


def await_answers(daemon: RunningDaemon) -> None:
    await_that(daemon.socket.exists)
    assert daemon.call("hello")


@pytest.mark.parametrize(
    "module", ["openfit_tokend.cli.run", "openfit_tokend.config.config_file", "openfit_tokend.app"]
)
def test_a_hangup_while_the_daemon_starts_is_a_reload_after_the_start(
    daemon: RunningDaemon, module: str
) -> None:
    daemon.start(
        first=f"""
import os, signal, sys
def hang_up(event, words):
    if event == "import" and words[0] == {module!r}:
        os.kill(os.getpid(), signal.SIGHUP)
sys.addaudithook(hang_up)
"""
    )

    daemon.await_log("event=reloaded")
    assert daemon.stop() == 0


def test_the_daemon_ends_in_order_with_the_terminal_that_it_was_started_in(
    daemon: RunningDaemon,
) -> None:
    with Terminal(run_by(daemon), daemon.environment) as terminal:
        terminal.read_until("event=started")

        assert terminal.hang_up() == 0

    assert not daemon.socket.exists()


def test_a_hangup_in_a_terminal_that_is_still_there_is_a_reload(daemon: RunningDaemon) -> None:
    with Terminal(run_by(daemon), daemon.environment) as terminal:
        terminal.read_until("event=started")
        os.kill(terminal.pid, signal.SIGHUP)

        terminal.read_until("event=reloaded")
        assert daemon.call("hello")["pid"] == terminal.pid


def test_under_nohup_it_lives_on_without_its_terminal_and_can_still_be_told_to_reload(
    daemon: RunningDaemon,
) -> None:
    command = run_by(daemon, "nohup")
    with Terminal(command, daemon.environment, daemon.directory) as terminal:
        await_answers(daemon)
        terminal.close()

        log = daemon.directory / "nohup.out"
        before = log.read_text().count("event=reloaded")
        os.kill(terminal.pid, signal.SIGHUP)
        await_that(lambda: log.read_text().count("event=reloaded") > before, log.read_text)
        assert daemon.call("hello")["pid"] == terminal.pid

        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.hang_up() == 0


def test_a_sigint_that_was_ignored_at_the_start_stays_ignored(daemon: RunningDaemon) -> None:
    """So a script's background job is started, and Ctrl-C is for what is in the foreground."""
    daemon.launcher = ("/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh")
    daemon.start()
    daemon.signal(signal.SIGINT)
    daemon.signal(signal.SIGHUP)
    daemon.await_log("event=reloaded")

    assert daemon.stop() == 0
    assert "signal=SIGINT" not in daemon.log()


async def test_a_stop_gives_up_a_request_that_takes_longer_than_any_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "STOP_TIME", 0.3)
    with running_emulator("hang@login:1") as emulator:
        async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
            await async_await_that(lambda: emulator.state().login_requests == 1)
            signal.raise_signal(signal.SIGTERM)

            await async_await_that(lambda: "event=stopped" in daemon.log())

            assert "event=requests_abandoned" in daemon.log()


def test_another_start_names_the_process_that_has_the_socket(daemon: RunningDaemon) -> None:
    daemon.start()

    second = started_again(daemon)

    assert second.returncode == CANTCREAT
    assert f"another daemon (pid {daemon.pid}) listens at {daemon.socket}" in second.stderr


def test_another_start_names_the_process_that_has_the_state(daemon: RunningDaemon) -> None:
    daemon.start()

    second = started_again(daemon, "--socket", str(daemon.socket.with_name("another")))

    assert second.returncode == NOT_NOW
    assert "event=state_in_use" in second.stderr
    assert f"pid={daemon.pid} " in second.stderr


def started_again(daemon: RunningDaemon, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*run_by(daemon), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env=daemon.environment,
    )
