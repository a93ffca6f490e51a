"""What the demo's last lines name: commands that can be typed as they stand."""

import sys
from pathlib import Path

import pytest

from openfit_emulator.demo.solo import typed


def command(directory: Path) -> Path:
    """Make a directory with the program in it."""
    directory.mkdir()
    made = directory / "openfit-token"
    made.touch(0o755)
    return made


@pytest.fixture(autouse=True)
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python that has started the demo as a module; $PATH leads to `found`."""
    (tmp_path / "usr").mkdir()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "usr/python3"))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "openfit_tokend/__main__.py")])
    monkeypatch.setenv("PATH", str(tmp_path / "found"))
    return tmp_path


@pytest.mark.parametrize("found", ["found", "elsewhere"])
def test_a_command_is_named_where_none_is_beside_python(python: Path, found: str) -> None:
    """As after `pip install --user`, with `python3 -m openfit_tokend demo`."""
    command(python / found)

    assert typed("openfit-token") == "openfit-token"


def test_a_command_beside_python_that_path_finds_too_is_named(python: Path) -> None:
    (python / "found").symlink_to(python / "a b")
    beside = command(python / "a b")
    sys.executable = str(beside.with_name("python3"))

    assert typed("openfit-token") == "openfit-token"


@pytest.mark.parametrize("found", ["found", "elsewhere"])
def test_the_path_of_a_command_is_quoted_if_path_finds_none_or_another(
    python: Path, found: str
) -> None:
    command(python / found)
    beside = command(python / "a b")
    sys.executable = str(beside.with_name("python3"))

    assert typed("openfit-token") == f"'{beside}'"


def test_a_command_beside_the_one_that_was_started_goes_before_that_beside_python(
    python: Path,
) -> None:
    command(python / "found")
    started, beside = command(python / "bin"), command(python / "venv")
    sys.argv[0] = str(started.with_name("openfit-tokend"))
    sys.executable = str(beside.with_name("python3"))

    assert typed("openfit-token") == str(started)
