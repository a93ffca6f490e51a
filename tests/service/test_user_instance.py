"""`install --user`: the same three commands, for one user alone."""

from pathlib import Path

import pytest

from box import Box
from daemons import await_that
from emulators import PASSWORD, RunningEmulator, answers_of_init
from processes import Completed

pytestmark = [pytest.mark.service, pytest.mark.slow]

PAM = list(Path("/usr/lib").glob("*/security/pam_systemd.so"))
UNITS = ("openfit-tokend.socket", "openfit-tokend")


class Carol:
    """A user with a systemd of her own, as after a log-in."""

    def __init__(self, box: Box) -> None:
        self._box = box
        box.run("useradd", "--create-home", "carol")
        box.run("loginctl", "enable-linger", "carol")
        self._uid = box.run("id", "-u", "carol").stdout.strip()
        unit = f"user@{self._uid}.service"
        await_that(lambda: box.property(unit, "ActiveState") == "active", box.journal)

    def run(self, *command: str, stdin: str = "") -> Completed:
        runtime = f"XDG_RUNTIME_DIR=/run/user/{self._uid}"
        return self._box.run("env", runtime, *command, user="carol", stdin=stdin)


@pytest.mark.skipif(
    not PAM, reason="no pam_systemd: apt-get install libpam-systemd dbus-user-session"
)
def test_a_user_has_a_daemon_of_their_own(box: Box, emulator: RunningEmulator) -> None:
    carol = Carol(box)

    carol.run("openfit-tokend", "install", "--user")
    answers = answers_of_init(emulator.url)
    carol.run("openfit-tokend", "init", "--yes", "--no-login", *answers, stdin=PASSWORD)
    carol.run("systemctl", "--user", "enable", "--now", *UNITS)

    token, requests = carol.run("openfit-token", "get").stdout, emulator.state().token_requests
    carol.run("systemctl", "--user", "reload", "openfit-tokend")
    carol.run("systemctl", "--user", "restart", "openfit-tokend")
    assert carol.run("openfit-token", "get").stdout == token
    assert emulator.state().token_requests == requests
    assert (
        'Status: "1 profile: main fresh'
        in carol.run("systemctl", "--user", "status", *UNITS).stdout
    )

    said = carol.run("openfit-tokend", "uninstall", "--user").stdout

    config = f"{box.home('carol')}/.config"
    assert f"kept           {config}/openfit-tokend\n" in said
    left = carol.run("find", config, "-type", "f", "-o", "-type", "l").stdout
    assert sorted(left.splitlines()) == [
        f"{config}/openfit-tokend/conf.d/main.password",
        f"{config}/openfit-tokend/conf.d/main.toml",
        f"{config}/openfit-tokend/config.toml",
    ]
