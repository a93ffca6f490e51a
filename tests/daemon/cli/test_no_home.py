"""A user without an account and without $HOME, as a container may have."""

import os
import subprocess
import sys

import pytest

from daemons import needs_root, prepared_daemon, profile
from others import EVE
from users import as_user

VARIABLES = ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "OPENFIT_TOKEND_CONFIG")


def run_as_eve(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run(
        [*as_user(EVE), sys.executable, "-m", "openfit_tokend", *words],
        capture_output=True,
        check=False,
        cwd="/",
        env=kept | variables,
        text=True,
        timeout=60,
    )


@needs_root
@pytest.mark.parametrize("words", [("check",), ("install", "--user")], ids=" ".join)
def test_who_has_no_home_is_told_what_to_set(words: tuple[str, ...]) -> None:
    done = run_as_eve(*words)

    assert (done.returncode, done.stdout) == (os.EX_CONFIG, "")
    assert done.stderr == (
        "openfit-tokend: this user has no home directory for its config files\n"
        "  set HOME or XDG_CONFIG_HOME to an absolute path\n"
    )


@needs_root
def test_a_configuration_that_is_named_and_not_there_is_said_to_be_so() -> None:
    done = run_as_eve("check", "--config", "/nowhere/config.toml")

    assert done.returncode == os.EX_CONFIG
    assert done.stderr.startswith("openfit-tokend: /nowhere/config.toml: does not exist")


@needs_root
def test_a_configuration_that_is_named_needs_no_home_but_the_ledger_does() -> None:
    with prepared_daemon(profile("https://127.0.0.1:9")) as daemon:
        for path in (daemon.directory, daemon.config, daemon.password):
            os.chown(path, EVE, EVE)
        socket = str(daemon.directory / "socket")

        done = run_as_eve("run", "--config", str(daemon.config), "--socket", socket)

    assert done.returncode == os.EX_CONFIG
    assert "this user has no home directory for its state files" in done.stderr
    assert "Traceback" not in done.stderr


@needs_root
def test_two_sockets_are_judged_where_only_one_has_a_place() -> None:
    with prepared_daemon(profile("https://127.0.0.1:9")) as daemon:
        text = daemon.config.read_text()
        daemon.config.write_text(f'http_socket = "{daemon.directory}/http"\n{text}')
        for path in (daemon.directory, daemon.config, daemon.password):
            os.chown(path, EVE, EVE)

        done = run_as_eve(
            "check", "--config", str(daemon.config), STATE_DIRECTORY=str(daemon.directory)
        )

    assert (done.returncode, done.stderr) == (os.EX_CANTCREAT, "")
    assert "[FAIL] socket         there is no place for the socket" in done.stdout
    assert f"[ OK ] http           {daemon.directory}/http\n" in done.stdout
