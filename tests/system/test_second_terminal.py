"""A user's daemon and clients in terminals of different kinds: after a log-in, after `su -`, in cron.

One may have $XDG_RUNTIME_DIR, and another not; there may be a directory for it, or none.
"""

import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Final, NamedTuple

import pytest

from daemons import PATIENCE, await_that, needs_root
from emulators import PASSWORD, RunningEmulator, answers_of_init, one_emulator
from others import EVE, theirs
from processes import OPENFIT_TOKEN, Completed, run
from users import as_user

pytestmark = [pytest.mark.system, needs_root]

AS_EVE: Final = as_user(EVE)
OPENFIT_TOKEND: Final = (sys.executable, "-m", "openfit_tokend")

emulator = pytest.fixture(one_emulator, scope="module")


class Home(NamedTuple):
    """The home of a user, and the directory that a log-in would make."""

    path: Path
    runtime: Path

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.path), **variables}

    def do(self, *words: str, stdin: str = "", **variables: str) -> Completed:
        """Run a command in a terminal of its own."""
        own = self.environment(variables)
        return run(*AS_EVE, *words, stdin=stdin, directory=Path("/"), inherited=own)

    def init(self, emulator: RunningEmulator, password: str, **variables: str) -> Completed:
        answers = answers_of_init(emulator.url)
        return self.do(*OPENFIT_TOKEND, "init", *answers, stdin=f"{password}\n", **variables)

    @contextmanager
    def running(self, *options: str, **variables: str) -> Generator[str]:
        """Run a daemon in a terminal of its own; return what it logs until it serves."""
        with TemporaryFile("w+") as log:
            process = subprocess.Popen(
                [*AS_EVE, *OPENFIT_TOKEND, "run", *options],
                stderr=log,
                cwd="/",
                env=self.environment(variables),
            )

            def said() -> str:
                return os.pread(log.fileno(), 2**20, 0).decode()

            try:
                await_that(lambda: "token_obtained" in said() or process.poll() is not None)
                yield said()
            finally:
                process.terminate()
                process.wait(PATIENCE)


@pytest.fixture
def home() -> Generator[Home]:
    runtime = Path(f"/run/user/{EVE}")
    runtime.parent.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="oft-") as place:
        Path(place).chmod(0o755)
        try:
            yield Home(theirs(Path(place) / "eve", 0o700), runtime)
        finally:
            subprocess.run(["/bin/rm", "-rf", runtime], check=True)


@pytest.mark.parametrize("daemon_has", ["a log-in", "no log-in", "a variable", "only a variable"])
def test_a_client_finds_its_users_daemon_in_every_other_terminal(
    home: Home, emulator: RunningEmulator, daemon_has: str
) -> None:
    given = {"XDG_RUNTIME_DIR": str(home.runtime)}
    if daemon_has in {"a log-in", "a variable"}:
        theirs(home.runtime, 0o700)
    variables = given if daemon_has in {"a variable", "only a variable"} else {}
    done = home.init(emulator, PASSWORD, **variables)
    assert (done.returncode, "export" in done.stdout) == (0, False), done.stdout + done.stderr

    with home.running(**variables) as log:
        assert "export" not in log
        if not home.runtime.exists():  # she logs in later
            theirs(home.runtime, 0o700)
        got = [home.do(*OPENFIT_TOKEN, "get", **each) for each in ({}, given)]
        doctor = home.do(*OPENFIT_TOKEN, "doctor")

    assert [each.returncode for each in got] == [0, 0], got
    assert "(your own daemon's)" in doctor.stdout


def test_where_clients_would_not_look_init_and_run_say_what_to_export(
    home: Home, emulator: RunningEmulator
) -> None:
    """Also after a rejected password: whoever mends that may go on with `run`."""
    odd = theirs(home.path / "odd", 0o700)
    line = f"export OPENFIT_TOKEN_SOCKET={odd}/openfit-tokend/socket"
    rejected = home.init(emulator, "wrong", XDG_RUNTIME_DIR=str(odd))
    subprocess.run(["/bin/rm", "-rf", home.path / ".config"], check=True)
    accepted = home.init(emulator, PASSWORD, XDG_RUNTIME_DIR=str(odd))

    with home.running(XDG_RUNTIME_DIR=str(odd)) as log:
        in_cron = home.do(*OPENFIT_TOKEN, "get")
        told = home.do("/bin/sh", "-c", f'{line}; exec "$@"', "sh", *OPENFIT_TOKEN, "get")

    assert (rejected.returncode, accepted.returncode) == (77, 0)
    assert f"\nin each shell:\n  {line}\n" in rejected.stdout
    assert f"  {line}\n  openfit-token get\n" in accepted.stdout
    assert line in log
    assert (in_cron.returncode, told.returncode) == (69, 0)


def test_who_has_exported_it_is_not_told_again(home: Home, emulator: RunningEmulator) -> None:
    odd = theirs(home.path / "odd", 0o700)
    socket = f"{odd}/openfit-tokend/socket"
    done = home.init(emulator, PASSWORD, XDG_RUNTIME_DIR=str(odd), OPENFIT_TOKEN_SOCKET=socket)

    assert done.returncode == 0
    assert "export" not in done.stdout


def test_a_place_at_home_that_others_can_write_to_is_trusted_by_neither(
    home: Home, emulator: RunningEmulator
) -> None:
    home.init(emulator, PASSWORD)
    place = home.path / ".openfit-tokend"
    with home.running():
        place.chmod(0o777)
        got = home.do(*OPENFIT_TOKEN, "get")
    with home.running() as log:
        pass

    assert (got.returncode, got.stdout) == (77, "")
    assert f"{place} can be written by everybody" in got.stderr
    assert f"{place} can be written by everybody" in log


def test_a_home_whose_name_is_too_long_is_told_with_what_to_do(
    home: Home, emulator: RunningEmulator
) -> None:
    long = Home(theirs(home.path / ("x" * 90), 0o700), home.runtime)
    done = long.init(emulator, PASSWORD)

    assert done.returncode == 73
    assert "the socket's path is too long" in done.stdout
    assert "choose one of at most 98 bytes, with --socket or `socket`" in done.stdout
