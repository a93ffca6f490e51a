"""What systemd itself says of the files that are shipped."""

import os
from pathlib import Path

import pytest

from fenced import ROOT
from openfit_tokend.config import config_file
from openfit_tokend.core.settings.values import Settings
from openfit_tokend.setup import units
from openfit_tokend.setup.program import Program
from processes import Completed, run

pytestmark = pytest.mark.service

THRESHOLD = 13
"""In tenths: `systemd-analyze security` says 1.2 of the unit on systemd 252."""
ANALYZE = "/usr/bin/systemd-analyze"
PROGRAM = Program(Path("/bin/true"), (Path("/usr"), Path("/opt/a b")))


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """Put the units of both kinds into a directory each."""
    if not Path(ANALYZE).exists():
        reason = "no systemd-analyze: apt-get install systemd"
        if os.environ.get("OPENFIT_REQUIRE_SYSTEMD"):
            pytest.fail(reason)
        pytest.skip(reason)
    for part in (*units.SYSTEM_PARTS, *units.USER_PARTS):
        path = tmp_path / part.source
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(units.content(part, PROGRAM))
    return tmp_path


def analyze(*arguments: str | Path, **variables: str) -> Completed:
    return run(ANALYZE, *arguments, inherited=os.environ | variables)


def test_systemd_finds_no_fault_in_the_systems_units(shipped: Path) -> None:
    done = analyze("verify", "--man=no", *(shipped / "system").iterdir())

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_finds_no_fault_in_a_users_units(shipped: Path) -> None:
    runtime = str(shipped)
    done = analyze(
        "--user", "verify", "--man=no", *(shipped / "user").iterdir(), XDG_RUNTIME_DIR=runtime
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("kind", ["system", "user"])
def test_a_daemon_is_not_started_again_after_what_only_a_person_can_mend(
    kind: str, shipped: Path
) -> None:
    lasting = f"{os.EX_USAGE} {os.EX_CANTCREAT} {os.EX_CONFIG}"

    unit = (shipped / kind / "openfit-tokend.service").read_text()

    assert f"\nRestartPreventExitStatus={lasting}\n" in unit


def test_the_service_starts_once_users_and_groups_can_be_looked_up(shipped: Path) -> None:
    """An unknown one in the configuration ends the daemon, and it isn't started again."""
    unit = (shipped / "system" / "openfit-tokend.service").read_text()

    (after,) = [line for line in unit.splitlines() if line.startswith("After=")]

    assert "nss-user-lookup.target" in after.split()


def test_systemd_finds_no_fault_in_the_unit_of_a_host_that_asks_a_hub(shipped: Path) -> None:  # noqa: ARG001 -- systemd is there
    if not Path("/usr/bin/ssh").exists():
        pytest.skip("no ssh: run .ci/install_packages")
    done = analyze("verify", ROOT / "docs/hub/openfit-token-hub.service")

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_services_exposure_is_at_most_1_3(shipped: Path) -> None:
    unit = shipped / "system" / units.SYSTEM_UNITS[0]
    done = analyze("security", "--offline=true", f"--threshold={THRESHOLD}", "--no-pager", unit)

    assert done.returncode == 0, done.stdout


def test_the_example_configuration_is_valid_as_it_stands(shipped: Path) -> None:
    assert isinstance(config_file.load(shipped / units.EXAMPLE), Settings)


def test_each_key_of_the_example_that_is_commented_out_is_valid_too(shipped: Path) -> None:
    """Where two exclude each other, one at a time."""
    text = (shipped / units.EXAMPLE).read_text()
    for line in [line for line in text.splitlines() if line.startswith("#") and " = " in line]:
        key = line.removeprefix("#").partition(" ")[0]
        changed = text.replace(line, line.removeprefix("#"))
        if key.startswith("password_"):
            changed = changed.replace("\npassword_credential", "\n#password_credential")
        if key == "password_environment":
            changed = changed.replace("#password_command", "password_command")
        if key in {"id_server", "api_url"}:
            changed = changed.replace('"production"', '"custom"')
            changed = changed.replace("#id_server", "id_server").replace("#api_url", "api_url")
        if key == "include":
            (shipped / "conf.d").mkdir()
        for name in ('"openfit-admin"', '"alice"', '"etl"'):
            changed = changed.replace(name, '"root"')  # must be there, and so is root everywhere
        (shipped / "config.toml").write_text(changed)

        assert isinstance(config_file.load(shipped / "config.toml"), Settings), line
