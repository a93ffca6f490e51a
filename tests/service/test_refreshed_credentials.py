"""systemd 260 and newer: a reload passes changed credentials, to the daemon and to those who get its tokens.

On a booted Debian testing, with its newest Python.
"""

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

import box as boxes
import box_opt
from box import Box
from daemons import await_that, profile
from emulators import PASSWORD, answers_of_init, running_emulator
from fenced import ROOT, in_section
from machine import UNIT, Machine
from openfit_tokend.setup import units
from processes import done

pytestmark = [
    pytest.mark.service,
    pytest.mark.slow,
    pytest.mark.long,  # to make the machine takes a minute
]

PYTHON = "python3.15"
RECIPES = ROOT / "docs/recipes.md"
SERVICE = "openfit-relay.service"
TOKEN = f"/run/credentials/{SERVICE}/openfit.main"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Generator[Machine]:
    """Boot it, with the service set up as docs/install.md says."""
    if reason := boxes.hindrance():
        pytest.skip(reason)
    if not shutil.which("mmdebstrap"):
        pytest.skip("no mmdebstrap: run .ci/install_packages")
    root = Path(done(ROOT / ".ci/python-root", PYTHON.removeprefix("python")).strip())
    directory = tmp_path_factory.mktemp("testing")
    opt = box_opt.make(directory, box_opt.INSTALL.replace("python3", PYTHON), root)
    (directory / "files").mkdir()
    with (
        Box(directory / "files", opt, root) as box,
        running_emulator(enter=box.enter_network) as emulator,
    ):
        for command in (box_opt.LINKS, box_opt.UNITS):
            box.run("sh", "-c", command)
        answers = answers_of_init(emulator.url, f"{emulator.url}/api")
        box.run("openfit-tokend", "init", "--yes", *answers, stdin=PASSWORD)
        running = Machine(box, emulator)
        running.start()
        yield running


def relayed(machine: Machine) -> str:
    """Return the token that the other service's process finds."""
    pid = machine.box.property(SERVICE, "MainPID")
    return machine.box.run("cat", f"/proc/{pid}/root{TOKEN}").stdout


def test_install_adds_the_line_which_this_systemd_knows_and_it_warns_of_nothing(
    machine: Machine,
) -> None:
    unit = machine.box.outside(f"/etc/systemd/system/{UNIT}").read_text()

    assert f"\n{units.REFRESH}" in unit
    assert machine.box.property(UNIT, "RefreshOnReload") == "credentials"
    assert "nknown key" not in machine.box.journal()


def test_a_changed_password_is_used_after_a_reload(machine: Machine) -> None:
    added = profile(
        machine.emulator.url, "etl", password_file="", password_credential='"password_etl"'
    )
    machine.write_secret("etl", "not yet known")
    machine.write_config(f'default_profile = "main"\n{machine.config.read_text()}\n{added}')
    machine.systemctl("reload")
    await_that(lambda: machine.emulator.state().logins_rejected == 1)
    machine.write_secret("etl", PASSWORD)
    pid = machine.pid

    machine.systemctl("reload")

    assert machine.call("get_token", profile="etl", wait=30)["access_token"]
    assert machine.pid == pid


def test_a_service_that_runs_on_gets_each_new_token_as_the_recipe_has_it(machine: Machine) -> None:
    box = machine.box
    box.outside(f"/etc/systemd/system/{SERVICE}").write_text(
        "[Service]\nExecStart=sleep infinity\n"
    )
    for block in in_section(RECIPES, "A service that may not ask", "ini"):
        path = box.outside(block.text.splitlines()[0].removeprefix("# "))
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text)
    (commands,) = in_section(RECIPES, "A service that may not ask", "console")
    for command in commands.typed("#"):
        box.run("sh", "-c", command)
    first, pid = relayed(machine), box.property(SERVICE, "MainPID")

    box.run("openfit-token", "login")

    assert first != machine.token()
    await_that(lambda: relayed(machine) == machine.token(), box.journal)
    assert box.property(SERVICE, "MainPID") == pid
