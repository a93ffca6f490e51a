"""The /opt of a box: the wheel of this working tree, installed as README says."""

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SYSTEM_PYTHON: Final = Path("/usr/bin/python3")
"""One that every user can run."""
VENV: Final = "/opt/openfit-tokend"
BIN: Final = f"{VENV}/bin"


def hindrance() -> str | None:
    """Give the reason why the wheel can't be installed for every user here."""
    check = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"
    try:
        trial = subprocess.run([SYSTEM_PYTHON, "-c", check], check=False, capture_output=True)
    except FileNotFoundError:
        return f"no {SYSTEM_PYTHON}: apt-get install python3 python3-venv"
    if trial.returncode != 0:
        return f"no {SYSTEM_PYTHON} from 3.11 on with venv: apt-get install python3-venv"
    return None


def make(directory: Path) -> Path:
    """Install into a new directory, for which nothing but itself is /opt; give it."""
    opt, wheels = directory / "opt", directory / "wheels"
    opt.mkdir()
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run(*_within(opt), SYSTEM_PYTHON, "-m", "venv", "--without-pip", VENV)
    _run(
        *pip, "--python", opt / "openfit-tokend/bin/python",
        "wheel", "--wheel-dir", wheels, f"{ROOT}[demo]",
    )  # fmt: skip
    _run(
        *_within(opt), *pip, "--isolated", "--python", f"{BIN}/python",
        "install", "--no-index", "--find-links", wheels, "openfit-tokend[demo]",
    )  # fmt: skip
    return opt


def _within(opt: Path) -> list[str | Path]:
    """Have a command see this directory as /opt: paths are written into what it makes."""
    mount = 'mount --bind "$0" /opt && exec "$@"'
    return ["unshare", "--mount", "--propagation=private", "sh", "-c", mount, opt]


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}"
