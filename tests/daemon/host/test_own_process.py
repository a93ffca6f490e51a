"""What the daemon does to its own process before it reads a secret."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import RunningDaemon, await_that, prepared_daemon, profile
from emulators import PASSWORD, RunningEmulator, one_emulator
from users import IS_ROOT

pytestmark = pytest.mark.system

POWERLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if IS_ROOT else ()
"""The same user, without any capability: as a service's user is, and who else runs as that."""
INSIDES = ("environ", "mem", "maps", "auxv")
"""Files of /proc/PID that show what a process holds."""


SAY_WHETHER_IT_IS_OPEN = """
import ctypes, sys
asked = set()
def hook(event, words):
    if event == "import" and words[0] == "anyio" and not asked:
        asked.add(words[0])
        dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
        print(f"at the import of anyio {dumpable=}", file=sys.stderr)
sys.addaudithook(hook)
"""


emulator = pytest.fixture(one_emulator, scope="module")


@pytest.fixture(scope="module")
def daemon(emulator: RunningEmulator) -> Iterator[RunningDaemon]:
    with prepared_daemon(profile(emulator.url)) as daemon:
        daemon.launcher = POWERLESS
        daemon.start()
        daemon.await_state("fresh")
        yield daemon


def can_read(pid: int, file: str) -> bool:
    """Return whether a powerless process of the same user can read a byte."""
    words = [*POWERLESS, "head", "--bytes=1", f"/proc/{pid}/{file}"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    return "Permission denied" not in done.stderr


def status(daemon: RunningDaemon, field: str) -> str:
    lines = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
    (found,) = [line.partition(":\t")[2] for line in lines if line.startswith(f"{field}:")]
    return found


def test_no_program_of_its_own_user_can_look_into_it_or_trace_it(daemon: RunningDaemon) -> None:
    with subprocess.Popen([*POWERLESS, "sleep", "60"]) as another:
        await_that(lambda: Path(f"/proc/{another.pid}/comm").read_text() == "sleep\n")
        assert can_read(another.pid, "environ"), "it is nothing else that forbids it"
        another.kill()

    assert [file for file in INSIDES if can_read(daemon.pid, file)] == []


def test_it_is_closed_before_what_serves_is_loaded(emulator: RunningEmulator) -> None:
    """What another program opened before that, it can read to the end: see decision 43."""
    with prepared_daemon(profile(emulator.url)) as daemon:
        daemon.is_forked = False
        daemon.start(first=SAY_WHETHER_IT_IS_OPEN)

        assert "at the import of anyio dumpable=0" in daemon.log()


def test_it_leaves_no_core(daemon: RunningDaemon) -> None:
    limits = Path(f"/proc/{daemon.pid}/limits").read_text().splitlines()

    (core,) = [line.split()[4:6] for line in limits if line.startswith("Max core file size")]
    assert core == ["0", "0"]


def test_what_it_makes_is_its_own_alone(daemon: RunningDaemon) -> None:
    assert status(daemon, "Umask") == "0077"
    made = [daemon.state, daemon.state.parent, daemon.socket, daemon.socket.parent]
    assert [path for path in made if path.stat().st_mode & 0o077] == []


def test_all_of_it_was_had(daemon: RunningDaemon) -> None:
    assert "process_open" not in daemon.log()


def test_what_cannot_be_had_is_said_and_it_goes_on(emulator: RunningEmulator) -> None:
    with prepared_daemon(profile(emulator.url)) as daemon:
        daemon.start(without=("ctypes",))

        assert "lacking=PR_SET_DUMPABLE" in daemon.await_log("process_open")
        assert daemon.call("get_token")["profile"] == "main"


def test_a_password_in_a_variable_is_out_of_the_environment_but_used_again(
    emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is one that commands are given, if it is there."""
    monkeypatch.setenv("GNUPGHOME", PASSWORD)
    variable = profile(emulator.url, password_file="", password_env='"GNUPGHOME"')
    with prepared_daemon() as daemon:
        daemon.is_forked = False
        tell = f'["/bin/sh", "-c", "env > {daemon.directory}/env; cat {daemon.password}"]'
        command = profile(emulator.url, "command", password_file="", password_command=tell)
        daemon.write_config('default_profile = "main"', variable, command)
        daemon.start()
        daemon.await_state("fresh", name="command")

        assert daemon.call("login")["profile"] == "main"
        given = (daemon.directory / "env").read_text()

    assert "PATH=" in given
    assert PASSWORD not in given
