"""Wheel and sdist of a tree, and Python versions to try them on."""

import os
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from processes import done, run

IMPORT_ALL: Final = """\
import importlib, pkgutil

missing = set()
for package in ("openfit_token", "openfit_tokend", "openfit_emulator"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not module.name.endswith((".__main__", ".demo.script")):  # they are run
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                missing.add(error.name.partition(".")[0])
print(*sorted(missing))
"""
"""Imports every module of ours, and prints the packages that are missing for it."""


class Built(NamedTuple):
    """The two packages."""

    wheel: Path
    sdist: Path


def build(tree: Path, directory: Path, **environment: str) -> Built:
    """Build both packages of a tree with the backend that pip uses."""
    words = (sys.executable, "-m", "hatchling", "build", "--directory", directory)
    done(*words, directory=tree, inherited=os.environ | environment)
    (wheel,), (sdist,) = directory.glob("*.whl"), directory.glob("*.tar.gz")
    return Built(wheel, sdist)


def unpack(sdist: Path, directory: Path) -> Path:
    """Unpack an sdist, and return the tree that was in it."""
    # Not with tarfile: Debian 12's has no `filter`, and later ones want one.
    done("tar", "--extract", "--no-same-owner", f"--file={sdist}", f"--directory={directory}")
    return directory / sdist.name.removesuffix(".tar.gz")


def python(version: str) -> Path:
    """Return a Python of this version; skip the test if there is none."""
    command = (f"python{version}", "-c", "import sys; print(sys.executable)")
    try:
        ended = run(*command, PYENV_VERSION=version)  # pyenv's command runs only when it is told
    except FileNotFoundError:
        pytest.skip(f"needs Python {version}: there is none here")
    if ended.returncode != 0:
        pytest.skip(f"needs Python {version}: {ended.stderr.strip()}")
    return Path(ended.stdout.strip())


def environment(base: str | Path, directory: Path, *packages: str | Path) -> Path:
    """Create a virtual environment with only these, and return its `bin`."""
    done(base, "-m", "venv", "--without-pip", directory)
    pip = (sys.executable, "-m", "pip", "--quiet", "--python", directory / "bin/python")
    done(*pip, "install", *packages)
    return directory / "bin"
