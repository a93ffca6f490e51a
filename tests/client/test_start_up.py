"""What a script's start must not pay for."""

import subprocess
import sys
from pathlib import Path

import pytest

from fake_daemon import FakeDaemon, always, token_fields
from processes import environment

SLOW = {
    "anyio",
    "argparse",
    "asyncio",
    "contextlib",
    "dataclasses",
    "enum",
    "httpx",
    "json",
    "pathlib",
    "platformdirs",
    "re",
    "socket",
    "subprocess",
    "threading",
    "typing",
}


def _loaded_by(code: str, *args: str) -> set[str]:
    """Return the modules that code loads, beyond those the interpreter (or coverage) had."""
    program = (
        "import sys; before = set(sys.modules)\n"
        f"{code}\n"
        "sys.stderr.write(' '.join(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *args],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())


@pytest.mark.system
def test_importing_the_client_loads_nothing_slow() -> None:
    assert _loaded_by("import openfit_token") & SLOW == set()


@pytest.mark.system
def test_the_command_get_loads_nothing_slow(place: Path) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        loaded = _loaded_by(
            "from openfit_token._cli import run; run(sys.argv[1:])",
            *("get", "--socket", daemon.path, "--format", "header", "--wait=5"),
        )

    assert loaded & SLOW == set()
    assert "openfit_token._cli.get" in loaded
