"""What the daemon's commands print of names and messages that somebody else chose."""

import subprocess
import sys
from pathlib import Path

import pytest

from fake_daemon import FakeDaemon, failing
from openfit_token.errors import ConfigRejected
from processes import environment

pytestmark = pytest.mark.system

CLEAR = "\x1b[2J"
TITLE = "\x1b]0;owned\x07"


def tokend(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "openfit_tokend", *words],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_refused_reload_prints_a_line_for_each_fault_and_controls_no_terminal(
    tmp_path: Path,
) -> None:
    error = ConfigRejected(f"one: {CLEAR}wrong\ntwo:\rwrong", f"mend it\n{TITLE}")
    with FakeDaemon(tmp_path / "s", failing(error)) as daemon:
        done = tokend("reload", "--socket", daemon.path)

    assert done.returncode == 78
    assert done.stderr.split("\n") == [
        r"openfit-tokend: one: \x1b[2Jwrong",
        "openfit-tokend: two:",
        "openfit-tokend: wrong",
        "  mend it",
        r"  \x1b]0;owned\x07",
        "",
    ]


def test_a_file_that_is_named_to_forge_lines_has_one_line_in_the_faults(tmp_path: Path) -> None:
    config = tmp_path / f"{CLEAR}\nopenfit-tokend: all is well.toml"
    config.write_text("nonsense = 1\n")
    config.chmod(0o600)

    done = tokend("check", "--config", str(config))

    assert done.returncode == 78
    faults = done.stderr.splitlines()
    assert all(r"\x1b[2J\nopenfit-tokend: all is well" in line for line in faults)
    assert "".join(faults).isprintable()


def test_a_verdict_of_check_is_one_line_whatever_its_file_is_called(tmp_path: Path) -> None:
    config = tmp_path / f"{CLEAR}\n[ OK ] main: secret.toml"
    config.write_text(
        '[profiles.main]\nenvironment = "test"\nclient_id = "c"\nusername = "u"\n'
        'password_file = "none"\n'
    )
    config.chmod(0o600)

    done = tokend("check", "--config", str(config), "--socket", str(tmp_path / "s"))

    assert done.returncode != 0
    assert r"\x1b[2J\n[ OK ] main: secret.toml" in done.stdout
    assert not any(line.startswith("[ OK ] main: secret") for line in done.stdout.split("\n"))
    assert "".join(done.stdout.split("\n")).isprintable()
