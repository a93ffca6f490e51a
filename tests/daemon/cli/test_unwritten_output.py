"""What the daemon's commands do if their output can't be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemons import needs_root, profile
from processes import environment

FULL = "openfit-tokend: can't write the output: No space left on device\n"
# As root checks the system's service; its places are given.
IN_ITS_PLACE = """
import os, pwd, sys
from pathlib import Path
from openfit_tokend.cli import main
from openfit_tokend.setup import passed, service

place = Path(sys.argv[1])
service.CONFIG, passed.CREDENTIALS = place / "config.toml", place / "none"
service.account = lambda: pwd.getpwuid(os.geteuid())
(place / service.SYSTEM_UNITS[0]).touch()
service.UNIT_PLACES = (str(place),)
main(["check", "--config", str(service.CONFIG)])
"""


@pytest.fixture(params=["as oneself", pytest.param("in the service's place", marks=needs_root)])
def check(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Return a `check` that has something to say."""
    config = tmp_path / "config.toml"
    config.write_text(profile("http://127.0.0.1:9"))
    config.chmod(0o600)
    if request.param == "as oneself":
        return [sys.executable, "-m", "openfit_tokend", "check", "--config", str(config)]
    return [sys.executable, "-c", IN_ITS_PLACE, str(tmp_path)]


def test_output_that_cannot_be_written_is_said_in_a_line(check: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            check, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment()
        )

    assert (done.returncode, done.stderr) == (74, FULL)


def test_a_reader_that_leaves_is_no_error_to_speak_of(check: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            check, stdout=closed, stderr=subprocess.PIPE, text=True, check=False, env=environment()
        )

    assert (done.returncode, done.stderr) == (74, "")
