"""`install` without a systemd that runs: what it leaves alone, and what it advises."""

import os
import shutil
import sys
from pathlib import Path

import pytest

import box_opt
from daemons import needs_root
from fenced import ROOT
from processes import Completed, done, run
from users import IS_ROOT

pytestmark = [pytest.mark.system, pytest.mark.slow]

SYSTEM, NOT_ALLOWED = 71, 77


def tokend(*words: str | Path, python: str | Path = sys.executable, **variables: str) -> Completed:
    without = ("XDG_RUNTIME_DIR",)
    kept = {name: value for name, value in os.environ.items() if name not in without}
    return run(python, "-m", "openfit_tokend", *words, inherited=kept | variables)


def test_an_example_that_was_edited_is_neither_overwritten_nor_removed(tmp_path: Path) -> None:
    example = tmp_path / "openfit-tokend/config.toml.example"
    tokend("install", "--user", XDG_CONFIG_HOME=str(tmp_path))
    shipped = example.read_text()
    example.write_text("# mine\n")

    again = tokend("install", "--user", XDG_CONFIG_HOME=str(tmp_path))
    gone = tokend("uninstall", "--user", XDG_CONFIG_HOME=str(tmp_path))

    assert (again.returncode, gone.returncode) == (0, 0), again.stderr + gone.stderr
    assert "# openfit-tokend" in shipped
    assert example.read_text() == "# mine\n"
    for each in (again, gone):
        assert f"kept           {example}\n" in each.stdout


@pytest.mark.skipif(
    shutil.which("systemctl") is None, reason="needs systemctl: apt install systemd"
)
def test_units_of_a_user_whose_manager_does_not_run_are_disabled_too(tmp_path: Path) -> None:
    place = {"XDG_CONFIG_HOME": str(tmp_path)}
    tokend("install", "--user", **place)
    enable = ("systemctl", "--user", "--no-reload", "enable", "openfit-tokend.socket")
    done(*enable, inherited=os.environ | place)
    wanted = tmp_path / "systemd/user/sockets.target.wants/openfit-tokend.socket"
    assert wanted.is_symlink()

    gone = tokend("uninstall", "--user", **place)

    assert gone.returncode == 0, gone.stderr
    assert not wanted.is_symlink()


AS_STRANGER = """
import os
import openfit_tokend.cli.install
from openfit_tokend.host import package
package.is_systems()  # now, since a stranger may not read every interpreter's library
if os.geteuid() == 0:
    os.seteuid(50002)
openfit_tokend.cli.main()
"""


@pytest.mark.skipif(
    os.geteuid() == 0 and not IS_ROOT, reason="needs root: to be another user than root"
)
@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_who_is_not_root_is_told_how_to_do_what_was_asked(command: str) -> None:
    refused = run(sys.executable, "-c", AS_STRANGER, command)

    assert refused.returncode == NOT_ALLOWED
    assert refused.stderr == (
        f"openfit-tokend: only root can {command} the system service\n"
        f"  sudo openfit-tokend {command}, or for yourself only: openfit-tokend {command} --user\n"
    )


@pytest.mark.long  # it installs all packages twice
@needs_root
def test_the_advice_for_a_program_that_others_cannot_run_makes_one_that_they_can(
    tmp_path: Path,
) -> None:
    """Even by one with a umask that closes directories to others."""
    if (reason := box_opt.hindrance()) is not None:
        pytest.skip(reason)
    venv, tree = tmp_path / "venv", tmp_path / "tree"
    tree.mkdir()
    done(box_opt.SYSTEM_PYTHON, "-m", "venv", venv)
    done(venv / "bin/pip", "install", "--quiet", ROOT)

    refused = tokend("install", "--root", tree, python=venv / "bin/python")

    assert refused.returncode == SYSTEM
    _, _, advice = refused.stderr.partition("use one that every user can run:\n")
    assert advice.rstrip().endswith("install"), refused.stderr
    made = box_opt.make(tmp_path, f"set -e; umask 077\n{advice.rstrip()} --root {tree}")

    unit = (tree / "etc/systemd/system/openfit-tokend.service").read_text()
    assert "\nExecStart=/opt/openfit-tokend/bin/openfit-tokend run\n" in unit
    assert (made / "openfit-tokend").is_symlink()
