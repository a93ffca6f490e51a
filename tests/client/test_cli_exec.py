"""`openfit-token exec`: another program with the token in its environment."""

import subprocess
import sys
from pathlib import Path

import pytest

from fake_daemon import FakeDaemon, always, failing, token_fields
from openfit_token._cli import run as run_words
from openfit_token.errors import Unavailable
from processes import OPENFIT_TOKEN, environment

pytestmark = pytest.mark.system

SHOW = "import os; print(*(os.environ[f'OPENFIT_{n}'] for n in ('ACCESS_TOKEN', 'API_URL', 'EXPIRES_AT')))"


def run(daemon: FakeDaemon, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*OPENFIT_TOKEN, "exec", *words],
        env=environment(OPENFIT_TOKEN_SOCKET=daemon.path),
        input=given,
        capture_output=True,
        check=False,
    )


def test_the_program_finds_the_token_and_the_callers_standard_streams(place: Path) -> None:
    show = f"{SHOW}; print(input()); raise SystemExit(3)"
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        done = run(daemon, "--", sys.executable, "-c", show, given=b"hello\n")

    assert done.stdout == b"token-a https://api.openfit.care 1893456000\nhello\n"
    assert (done.returncode, done.stderr) == (3, b"")


def test_options_stand_before_the_program_and_its_own_are_left_to_it(place: Path) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        told = run(
            daemon, "--profile", "p", "--min-ttl=60", "--wait", "5", "--", "echo", "--wait", "--"
        )
        bare = run(daemon, "echo", "-h")

    assert (told.stdout, bare.stdout) == (b"--wait --\n", b"-h\n")
    assert daemon.calls[0] == ("get_token", {"profile": "p", "min_ttl": 60.0, "wait": 5.0})


def test_the_program_is_this_process_and_meets_its_signals_as_usual(place: Path) -> None:
    script = 'echo "$$"; yes | head -n 1; echo "${PIPESTATUS[0]}"'
    with (
        FakeDaemon(place / "s", always(token_fields())) as daemon,
        subprocess.Popen(
            [*OPENFIT_TOKEN, "exec", "--", "bash", "-c", script],
            env=environment(OPENFIT_TOKEN_SOCKET=daemon.path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        out, err = process.communicate()

    assert (out.split(), err) == ([str(process.pid), "y", "141"], "")


def test_a_program_that_isnt_there_ends_with_127_and_one_that_cant_run_with_126(
    place: Path,
) -> None:
    plain, orphan = place / "plain", place / "orphan"
    plain.touch()
    orphan.write_text("#!/nowhere/python\n")
    orphan.chmod(0o755)
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        told = [run(daemon, "--", word) for word in ("no-such-word", str(plain), str(orphan))]

    assert [each.returncode for each in told] == [127, 126, 126]
    assert [each.stderr.decode() for each in told] == [
        "openfit-token: exec: there is no no-such-word in $PATH\n",
        f"openfit-token: exec: {plain} can't be run: Permission denied\n  chmod +x {plain}\n",
        f"openfit-token: exec: {orphan} can't be run: its interpreter is missing\n",
    ]


def test_without_a_token_nothing_is_run(place: Path) -> None:
    with FakeDaemon(place / "s", failing(Unavailable("down"))) as daemon:
        done = run(daemon, "--", "touch", str(place / "ran"))

    assert (done.returncode, done.stderr) == (75, b"openfit-token: down\n")
    assert not (place / "ran").exists()


def test_what_fits_into_no_environment_is_a_fault_of_the_daemon(place: Path) -> None:
    with FakeDaemon(place / "s", always(token_fields(api_url="a\0b"))) as daemon:
        done = run(daemon, "--", "true")

    assert done.returncode == 76
    assert b"api_url is not plain text" in done.stderr


@pytest.mark.parametrize("words", [["exec"], ["exec", "--"], ["exec", "--profile", "p", "--"]])
def test_no_program_is_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_words(words) == 64
    assert "exec: run what?" in capsys.readouterr().err
