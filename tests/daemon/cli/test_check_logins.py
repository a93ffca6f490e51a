"""`openfit-tokend check --login`: one login of each profile, counted as the daemon counts it."""

import os

import pytest

from daemons import prepared_daemon, profile
from emulators import RunningEmulator, running_emulator


@pytest.mark.parametrize(
    ("changes", "password", "status", "fix"),
    [
        ({}, "wrong horse", 77, "or openfit-token login --ask --profile main\n"),
        ({"client_id": '"unknown"'}, "right horse", 78, "fix: check client_id"),
        ({"scope": '"unknown"'}, "right horse", 78, "fix: check client_id"),
        ({"password_file": '"/no/such/file"'}, "", 78, "fix: create it, or correct the path"),
        ({"password_file": ""}, "", 0, "fix: openfit-token login --profile main --ask"),
        (
            {"id_server": '"http://127.0.0.1:9"'},
            "right horse",
            75,
            "fix: check environment, id_server or token_url, and the network",
        ),
        (
            {"client_secret_env": '"NONE"'},
            "right horse",
            78,
            "client_secret_env NONE: this variable is not set",
        ),
    ],
)
def test_what_to_do_after_a_failed_login_names_the_profile(
    emulator: RunningEmulator, changes: dict[str, str], password: str, status: int, fix: str
) -> None:
    with prepared_daemon(profile(emulator.url, **changes)) as daemon:
        daemon.write_password(password)
        done = daemon.run(
            *("openfit-tokend", "check", "--network", "--login", "--config", str(daemon.config)),
            *("--socket", str(daemon.socket)),
        )

    assert (done.returncode, fix in done.stdout) == (status, True), done.stdout
    assert "{" not in done.stdout + done.stderr


def test_where_no_lock_can_be_made_nothing_is_sent() -> None:
    with running_emulator() as emulator, prepared_daemon(profile(emulator.url)) as daemon:
        daemon.state.with_suffix(".lock").mkdir(parents=True)

        words = ("--config", str(daemon.config), "--socket", str(daemon.socket))
        done = daemon.run("openfit-tokend", "check", "--login", *words)

        assert "not sent: the ledger can't be written" in done.stdout
        assert (done.returncode, emulator.state().login_requests) == (os.EX_OSERR, 0)
