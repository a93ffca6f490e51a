"""What `openfit-tokend` says to a command line that it can't carry out."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.system


@pytest.mark.parametrize(
    ("words", "said", "where"),
    [
        ("nosuch", "argument COMMAND: invalid choice: 'nosuch'", "openfit-tokend"),
        ("run --bogus", "unrecognized arguments: --bogus", "openfit-tokend"),
        (
            "run --log-level loud",
            "argument --log-level: invalid choice: 'loud'",
            "openfit-tokend run",
        ),
        ("run --socket=", "argument --socket: the path is empty", "openfit-tokend run"),
        ("run --config=", "argument --config: the path is empty", "openfit-tokend run"),
        ("check --socket=", "argument --socket: the path is empty", "openfit-tokend check"),
        ("reload --config=", "argument --config: the path is empty", "openfit-tokend reload"),
        ("install --root=", "argument --root: the path is empty", "openfit-tokend install"),
        ("init --password-file=", "argument --password-file: the path", "openfit-tokend init"),
        ("emulator --tls-cert=", "argument --tls-cert: the path is", "openfit-tokend emulator"),
        ("emulator --port x", "argument --port: 'x' is not a whole", "openfit-tokend emulator"),
    ],
)
def test_a_wrong_command_line_ends_with_64_and_says_why_and_where_to_look(
    words: str, said: str, where: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "openfit_tokend", *words.split()],  # `run` holds signals back
        capture_output=True,
        text=True,
        check=False,
    )

    first, second = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (64, "")
    assert first.startswith(f"openfit-tokend: {said}")
    assert second == f"  see: {where} --help"
