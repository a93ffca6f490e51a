"""Wherever the wheel is installed, its commands run, whatever that path is made of."""

import shutil
import sys
from pathlib import Path

import pytest

from openfit_token import __version__
from packages import Built, environment
from processes import done, run

pytestmark = [pytest.mark.system, pytest.mark.slow]

SYSTEM_ERROR = 71
VERSION = f"openfit-token {__version__}\n"
PATHS = {
    "plain": "plain",
    "odd": f"in a long path  with blanks, Größe_日本 and [a]*?/{'x' * 200}",
}


@pytest.fixture(scope="module", params=list(PATHS.values()), ids=list(PATHS))
def commands(
    request: pytest.FixtureRequest, built: Built, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Install the wheel below such a path, and give the directory of its commands."""
    directory = tmp_path_factory.mktemp("any") / str(request.param)
    return environment(sys.executable, directory / "venv", "--no-deps", built.wheel, "msgpack")


def test_it_runs_by_a_link_and_by_its_name_alone(commands: Path, tmp_path: Path) -> None:
    link = tmp_path / "openfit-token"
    link.symlink_to(commands / "openfit-token")

    assert done(link, "--version") == VERSION
    assert done("openfit-token", "--version", PATH=f"{tmp_path}:/usr/bin:/bin") == VERSION


def test_its_arguments_arrive_as_they_were_given(commands: Path) -> None:
    given = "a  b'\"$(false)*"

    assert repr(given) in run(commands / "openfit-token", "get", "--format", given).stderr


def test_it_needs_no_python_beside_it(commands: Path, tmp_path: Path) -> None:
    """As after `pip install --user`, where another Python may lie, too."""
    for name in ("openfit-token", "openfit-tokend"):
        shutil.copy(commands / name, tmp_path)
    (tmp_path / "python3").symlink_to("/bin/false")

    assert done(tmp_path / "openfit-token", "--version") == VERSION


@pytest.mark.parametrize("other", [None, "#!/bin/bash\n\n", ""])
def test_without_openfit_tokend_it_says_what_it_misses(
    commands: Path, tmp_path: Path, other: str | None
) -> None:
    shutil.copy(commands / "openfit-token", tmp_path)
    if other is not None:
        (tmp_path / "openfit-tokend").write_text(other)

    ended = run(tmp_path / "openfit-token", "--version")

    assert ended.returncode == SYSTEM_ERROR
    assert f"{tmp_path}/openfit-tokend" in ended.stderr
