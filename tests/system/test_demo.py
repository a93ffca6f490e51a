"""`openfit-tokend demo`, the real command: what a newcomer sees, and what is left of it: nothing."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import pytest

from openfit_tokend.host import clock, package
from processes import run
from terminals import Terminal

pytestmark = [pytest.mark.system, pytest.mark.slow]

DEMO = [sys.executable, "-m", "openfit_tokend", "demo"]
PATIENCE = 120.0
"""Seconds for what takes 20 on an idle machine."""
PROMISES = 6
FLEET_PROMISES = 5
Text = subprocess.Popen[str]


@dataclass(frozen=True)
class Ended:
    """What a demo printed, and how it ended."""

    status: int
    out: str
    err: str


@contextmanager
def demo(tmp: Path, *words: str, **changes: str) -> Generator[Text]:
    """Run the demo with `tmp` as its temporary directory."""
    environment = os.environ | {"TMPDIR": str(tmp), "PYTHONIOENCODING": "utf-8"} | changes
    process = subprocess.Popen(
        [*DEMO, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def until(process: Text, what: str) -> str:
    """Read its lines until one has this text; give them."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if what in line:
            break
    else:
        pytest.fail(f"{what!r} is not in:\n{''.join(lines)}")
    return "".join(lines)


def ended(process: Text, patience: float = PATIENCE) -> Ended:
    out, err = process.communicate(timeout=patience)
    return Ended(process.returncode, out, err)


def processes(tmp: Path) -> Iterator[tuple[int, str]]:
    """Return the processes that were started with this temporary directory, with their commands.

    And those of their group: root alone may read the daemon's environment.
    """
    running = {int(each.name): each for each in Path("/proc").iterdir() if each.name.isdigit()}
    started = {
        pid
        for pid, directory in running.items()
        if f"TMPDIR={tmp}".encode() in content(directory / "environ").split(b"\0")
    }
    groups = {group(pid) for pid in started} - {group(os.getpid()), None}
    for pid, directory in running.items():
        if pid in started or group(pid) in groups:
            yield pid, content(directory / "cmdline").replace(b"\0", b" ").decode()


def group(pid: int) -> int | None:
    """Return the process's group; None: it ended."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def content(file: Path) -> bytes:
    """Return what a file of /proc says; nothing if its process ended, or isn't ours."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def left_behind(tmp: Path) -> list[object]:
    return [*tmp.iterdir(), *processes(tmp)]


def hostile(tmp: Path) -> dict[str, str]:
    """Return an environment that would lead the demo astray if it let it."""
    return {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
        "HOME": str(tmp / "no-such-home"),
        "SSL_CERT_FILE": str(tmp / "no-such-file"),
        "OPENFIT_TOKEN_SOCKET": str(tmp / "no-such-socket"),
        "OPENFIT_PROFILE": "another",
        "PYTHONIOENCODING": "ascii",
    }


def test_it_keeps_its_promises_in_a_hostile_environment_and_on_80_columns_until_ctrl_c(
    tmp_path: Path,
) -> None:
    with demo(tmp_path, "--forever", **hostile(tmp_path)) as process:
        seen = until(process, "This goes on until Ctrl-C")
        seen += until(process, "token replaced")
        process.send_signal(signal.SIGINT)
        end = ended(process)

    assert (end.status, end.err) == (0, ""), end
    out = seen + end.out
    assert out.count("\n  ok ") == PROMISES
    commands = str(Path(sys.executable).parent)  # lines to copy are never broken
    assert [line for line in out.splitlines() if len(line) > 80 and commands not in line] == []
    assert out.isascii()
    assert "\x1b" not in out
    for words in ("logged in", "PASSWORD CHANGED", "OUTAGE", "retrying", "0 failed"):
        assert words in out
    assert left_behind(tmp_path) == []


def test_a_daemon_that_dies_is_named_as_a_broken_promise(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        until(process, "PASSWORD CHANGED")
        (daemon,) = [pid for pid, command in processes(tmp_path) if " run --config" in command]
        os.kill(daemon, signal.SIGKILL)
        end = ended(process)

    assert end.status == 1
    assert "the daemon ended" in end.out
    assert "Broken: " in end.out
    assert "Traceback" not in end.err
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_soon_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    with demo(tmp_path) as process:
        until(process, "PASSWORD CHANGED")
        process.send_signal(number)
        end = ended(process)

    assert (end.status, end.err) == (status, "")
    assert left_behind(tmp_path) == []


def test_nothing_survives_when_it_is_killed_outright(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        until(process, "PASSWORD CHANGED")
        process.kill()
        process.wait()

    deadline = clock.boot() + PATIENCE
    while left_behind(tmp_path) and clock.boot() < deadline:
        sleep(0.1)
    assert left_behind(tmp_path) == []


def test_a_reader_that_leaves_ends_it_without_a_word(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        until(process, "logged in")
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        status = process.wait(PATIENCE)

    assert (status, err) == (74, "")
    assert left_behind(tmp_path) == []


def test_a_full_disk_ends_it_with_a_line(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            DEMO,
            stdout=full,
            stderr=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            timeout=PATIENCE,
            check=False,
        )

    line = b"openfit-tokend: can't write the output: No space left on device\n"
    assert (done.returncode, done.stderr) == (74, line)
    assert left_behind(tmp_path) == []


@pytest.mark.long
@pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd isn't installed")
def test_a_fleet_goes_on_when_one_of_its_daemons_is_killed_in_a_refresh(tmp_path: Path) -> None:
    with demo(tmp_path, "--fleet") as process:
        end = ended(process, 2 * PATIENCE)  # a claim stands for 75 s

    assert (end.status, end.err) == (0, ""), end
    assert end.out.count("✓") == FLEET_PROMISES
    assert left_behind(tmp_path) == []


def fleet_after(first: str, tmp: Path) -> Ended:
    """Run the demo of a fleet after these statements; programs are looked for in `tmp` alone."""
    code = f"{first}; from openfit_tokend.cli import main; main(['demo', '--fleet'])"
    done = run(sys.executable, "-c", code, PATH=str(tmp), TMPDIR=str(tmp))
    return Ended(done.returncode, done.stdout, done.stderr)


def test_a_fleet_without_a_database_says_which_one_it_needs(tmp_path: Path) -> None:
    nowhere = "from openfit_emulator.demo import store; store._SERVERS /= 'nowhere'"

    line = "openfit-tokend: it needs an etcd or a PostgreSQL: apt-get install etcd-server\n"
    assert fleet_after(nowhere, tmp_path) == Ended(71, "", line)
    assert left_behind(tmp_path) == []


def test_a_fleet_without_its_extra_says_how_to_get_it(tmp_path: Path) -> None:
    """Before all else. An etcd is found, and it isn't started."""
    etcd = tmp_path / "etcd"
    etcd.write_text("#!/bin/sh\necho started >&2\n")
    etcd.chmod(0o755)
    without = "import sys; sys.modules['cryptography'] = None"

    line = f"openfit-tokend: cryptography is missing: run {package.again('fleet')}\n"
    assert fleet_after(without, tmp_path) == Ended(71, "", line)


def test_a_terminal_sees_colours_unless_told_not_to(tmp_path: Path) -> None:
    assert "\x1b[" in on_a_terminal(tmp_path, NO_COLOR="")
    assert "\x1b" not in on_a_terminal(tmp_path, NO_COLOR="1")


def on_a_terminal(tmp: Path, **changes: str) -> str:
    """Return what a terminal gets to see until Ctrl-C, after the login."""
    environment = os.environ | {"TMPDIR": str(tmp), "TERM": "xterm"} | changes
    with Terminal(DEMO, environment) as terminal:
        terminal.answer("logged in", "\x03")
        assert terminal.end() == 130
    return terminal.shown
