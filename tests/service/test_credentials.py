"""Other units get a token by LoadCredential=; nobody else gets one from that socket."""

import pytest

from daemons import await_that, profile
from emulators import PASSWORD
from machine import CREDENTIAL_SOCKET, Machine
from processes import Completed

pytestmark = [pytest.mark.service, pytest.mark.slow]

CONNECT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.settimeout(10)
    client.connect(sys.argv[1])
    print(client.recv(65536))
"""


def loaded(machine: Machine, name: str, user: str) -> Completed:
    """Run a unit that has a credential of ours, and give what it printed of it."""
    return machine.box.run(
        "systemd-run", "--quiet", "--wait", "--pipe", f"--property=User={user}",
        f"--property=LoadCredential={name}:{CREDENTIAL_SOCKET}",
        "sh", "-c", f'cat "$CREDENTIALS_DIRECTORY/{name}"', check=False,
    )  # fmt: skip


def connected(machine: Machine, user: str) -> Completed:
    """Connect as a user, and give what was sent."""
    return machine.box.run(
        "/usr/bin/python3", "-c", CONNECT, CREDENTIAL_SOCKET, user=user, check=False
    )


@pytest.mark.parametrize("name", ["openfit", "openfit.main"])
def test_a_unit_that_loads_the_credential_has_the_bare_token(machine: Machine, name: str) -> None:
    done = loaded(machine, name, "bob")

    assert (done.stdout, done.stderr) == (machine.token(), "")
    assert machine.emulator.state().users, "it asked the one that is served here"


def test_the_log_names_the_unit_that_got_a_token(machine: Machine) -> None:
    loaded(machine, "openfit.main", "bob")

    log = machine.box.journal("-u", "openfit-tokend", "-n", "20")
    assert "event=credential_served" in log
    assert "unit=run-" in log


def test_an_ordinary_user_gets_nothing_not_even_one_of_the_group(machine: Machine) -> None:
    for user in ("alice", "bob"):
        done = connected(machine, user)
        assert "PermissionError" in done.stderr
        assert done.stdout == ""


def test_the_kernel_decides_who_is_root_whatever_the_mode_of_the_socket(machine: Machine) -> None:
    machine.box.run("chmod", "666", CREDENTIAL_SOCKET)
    try:
        assert connected(machine, "alice").stdout == "b''\n"
    finally:
        machine.box.run("chmod", "600", CREDENTIAL_SOCKET)


def test_a_credential_is_had_while_the_service_is_stopped(machine: Machine) -> None:
    """Its socket starts the service."""
    machine.systemctl("stop")

    done = loaded(machine, "openfit", "bob")

    assert done.stdout == machine.token()


def test_a_password_can_be_an_encrypted_credential(machine: Machine) -> None:
    """As the unit's comment says it. What key there is depends on the machine: here the host's."""
    encrypted = "/etc/openfit-tokend/etl.encrypted"
    machine.box.run("systemd-creds", "setup")
    machine.box.run(
        "systemd-creds", "encrypt", "--with-key=host", "--name=password_etl", "-", encrypted,
        stdin=PASSWORD,
    )  # fmt: skip
    added = profile(
        machine.emulator.url, "etl", password_file="", password_credential='"password_etl"'
    )
    machine.write_config(f'default_profile = "main"\n{machine.config.read_text()}\n{added}')

    machine.drop_in(f"[Service]\nLoadCredentialEncrypted=password_etl:{encrypted}\n")

    assert machine.token("etl") != machine.token("main")


def test_a_changed_secret_is_used_after_a_restart_which_keeps_the_other_sessions(
    machine: Machine,
) -> None:
    main, requests = machine.token(), machine.emulator.state().token_requests
    added = profile(
        machine.emulator.url, "etl", password_file="", password_credential='"password_etl"'
    )
    machine.write_config(f'default_profile = "main"\n{machine.config.read_text()}\n{added}')
    machine.systemctl("reload")
    await_that(lambda: machine.profile_status("etl")["state"] == "empty")
    assert "openfit-tokend restart" in str(machine.profile_status("etl"))
    machine.write_secret("etl", PASSWORD)

    machine.systemctl("restart")

    assert machine.token("etl")
    assert machine.token() == main
    assert machine.emulator.state().token_requests == requests + 1
