"""What a daemon without [fleet] must not pay for a fleet."""

import subprocess
import sys

import pytest

from processes import environment

FLEETS = ("cryptography", "psycopg", "openfit_tokend.fleet")


@pytest.mark.system
def test_a_daemon_without_a_fleet_loads_nothing_of_it() -> None:
    program = "import sys, openfit_tokend.cli.run; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = done.stdout.split()
    assert "openfit_tokend.app" in loaded
    assert not [name for name in loaded if name.startswith(FLEETS)]
