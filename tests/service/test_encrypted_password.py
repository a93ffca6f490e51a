"""docs/recipes.md: the password encrypted with the host's key, as the lines there have it."""

import pytest

from fenced import ROOT, in_section
from machine import UNIT, Machine

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
    finally:
        place.unlink()
        place.parent.rmdir()
        machine.write_secret("main", plain)
        machine.box.outside(ENCRYPTED).unlink()
        machine.box.run("systemctl", "daemon-reload")
        machine.box.run("systemctl", "restart", UNIT)
