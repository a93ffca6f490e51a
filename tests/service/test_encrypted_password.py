"""What drop-ins pass to the service, and `check` as root to what it judges: encrypted passwords, variables.

The first as docs/recipes.md has it.
"""

import pytest

from daemons import write_secret
from fenced import ROOT, in_section
from machine import UNIT, Machine
from processes import Completed

pytestmark = [pytest.mark.service, pytest.mark.slow]

RECIPES = ROOT / "docs/recipes.md"
ENCRYPTED = "/etc/openfit-tokend/main.encrypted"
PLAIN = "/etc/openfit-tokend/credentials/main"


def test_the_service_logs_in_with_a_password_that_the_host_key_encrypts(machine: Machine) -> None:
    (commands,) = in_section(RECIPES, "systemd-creds", "console")
    (drop_in,) = in_section(RECIPES, "systemd-creds", "ini")
    *encrypt, restart = commands.typed("#")
    place = machine.box.outside(drop_in.text.splitlines()[0].removeprefix("# "))
    plain, logins = machine.box.outside(PLAIN).read_text(), machine.emulator.state().logins
    try:
        place.parent.mkdir()
        place.write_text(drop_in.text)
        for command in encrypt:
            machine.box.run("sh", "-c", command)
        assert not machine.box.outside(PLAIN).exists()
        machine.box.run("sh", "-c", restart)

        assert plain.strip() not in machine.box.outside(ENCRYPTED).read_text()
        assert machine.profile_status()["state"] == "fresh"
        assert machine.emulator.state().logins > logins
        assert secret_is_ok(machine.box.run("openfit-tokend", "check"))
        machine.box.outside(ENCRYPTED).write_text("x")
        refused = machine.box.run("openfit-tokend", "check", check=False)
        assert refused.returncode == 71
        assert "the credential password_main can't be decrypted" in refused.stderr
    finally:
        place.unlink()
        place.parent.rmdir()
        machine.write_secret("main", plain)
        machine.box.outside(ENCRYPTED).unlink()
        machine.box.run("systemctl", "daemon-reload")
        machine.box.run("systemctl", "restart", UNIT)


def test_check_judges_the_variables_that_a_drop_in_passes_and_none_of_its_callers(
    machine: Machine,
) -> None:
    profile, file = (
        machine.profile.read_text(),
        machine.box.outside("/etc/openfit-tokend/variables"),
    )
    password = machine.box.outside(PLAIN).read_text().strip()
    check = ("env", f"FROM_CALLER={password}", "openfit-tokend", "check")
    by_variable = profile.replace('password_credential = "password_main"', "password_env = {}")
    try:
        machine.write_profile(by_variable.format('"FROM_CALLER"'))
        refused = machine.box.run(*check, check=False)
        assert refused.returncode == 78
        assert "password_env FROM_CALLER: this variable is not set" in refused.stdout

        machine.write_profile(by_variable.format('"FROM_FILE"'))
        write_secret(file, f"# a comment\nOTHER=a b\nFROM_FILE='{password}'\n")
        machine.drop_in("[Service]\nEnvironmentFile=/etc/openfit-tokend/variables\n")
        assert machine.profile_status()["state"] == "fresh"
        assert secret_is_ok(machine.box.run(*check))

        file.unlink()
        refused = machine.box.run(*check, check=False)
        assert refused.returncode == 71
        assert "EnvironmentFile /etc/openfit-tokend/variables can't be read" in refused.stderr
    finally:
        machine.write_profile(profile)
        file.unlink(missing_ok=True)
        machine.remove_drop_in()


def secret_is_ok(done: Completed) -> bool:
    return "[ OK ] main: secret" in done.stdout
