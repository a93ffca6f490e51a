"""Processes that are run to their end; the client's command as one, whether or not it is installed."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import openfit_token

PATIENCE: Final = 300.0
"""Seconds: a package is built in less, on a busy machine too."""
Completed = subprocess.CompletedProcess[str]

OPENFIT_TOKEN = [
    sys.executable,
    "-c",
    "import sys; from openfit_token._cli import main; sys.exit(main())",
]


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which a process finds the client as this one does."""
    return os.environ | {"PYTHONPATH": str(Path(openfit_token.__file__).parents[1])} | more


def run(
    *command: str | Path,
    stdin: str = "",
    directory: Path | None = None,
    inherited: Mapping[str, str] = os.environ,
    **more: str,
) -> Completed:
    """Run a command to its end, whatever that is. `more`: variables beside those that it inherits."""
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
        cwd=directory,
        env={**inherited, **more},
    )


def done(
    *command: str | Path,
    directory: Path | None = None,
    inherited: Mapping[str, str] = os.environ,
    **more: str,
) -> str:
    """Run a command that must succeed, and return its output."""
    ended = run(*command, stdin="", directory=directory, inherited=inherited, **more)
    assert ended.returncode == 0, f"{command}:\n{ended.stdout}{ended.stderr}"
    return ended.stdout
