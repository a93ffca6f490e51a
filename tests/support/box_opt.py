"""The /opt of a box, as created by the README's first command for a server."""

import os
import subprocess
from pathlib import Path
from typing import Final

from fenced import README, ROOT, in_section

SYSTEM_PYTHON: Final = Path("/usr/bin/python3")
"""A Python that every user can run."""
VENV: Final = "/opt/openfit-tokend"
(SERVICE,) = in_section(README, "Run it as a service", "console")
INSTALL, *_AND_THEN = SERVICE.typed("#")
LINKS, _, UNITS = _AND_THEN[0].partition(" && ")
_PRIVATELY: Final = ("unshare", "--mount", "--propagation=private")
_OWN_OPT: Final = """\
set -e
mount -t tmpfs tmpfs "$0/layers"
mkdir "$0/layers/upper" "$0/layers/work"
mount -t overlay overlay -o "lowerdir=/opt,upperdir=$0/layers/upper,workdir=$0/layers/work" /opt
rm -rf "$2" "$2"-*
sh -c "$1"
cp -a "$2" "$2"-* "$0/opt"
"""
"""Runs a command that sees this machine's /opt, without the program's directories and read-only; keeps
what it created of those."""


def hindrance() -> str | None:
    """Return why the command can't be run here as on a server."""
    check = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"
    try:
        trial = subprocess.run([SYSTEM_PYTHON, "-c", check], check=False, capture_output=True)
    except FileNotFoundError:
        return f"no {SYSTEM_PYTHON}: apt-get install python3 python3-venv"
    if trial.returncode != 0:
        return f"no {SYSTEM_PYTHON} from 3.11 on with venv: apt-get install python3-venv"
    return None


def make(directory: Path, command: str = INSTALL, root: Path = Path("/")) -> Path:
    """Run a command in this tree with a new, writable /opt, and return that directory.

    The programs are those of `root`, a whole system's.
    """
    for name in ("opt", "layers"):
        (directory / name).mkdir()
    done = subprocess.run(
        [ROOT / ".ci/in-root", root, *_PRIVATELY, "sh", "-c", _OWN_OPT, directory, command, VENV],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return directory / "opt"
