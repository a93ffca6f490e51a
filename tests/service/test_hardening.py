"""The whole job within the shipped unit's walls."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from daemons import await_that, profile
from emulators import PASSWORD, RunningEmulator, running_emulator
from machine import Machine
from openfit_emulator.server import Address

pytestmark = [pytest.mark.service, pytest.mark.slow]

HOST = "ids.example.org"
CA_FILE = "/etc/openfit-tokend/our-ca.pem"
TLS = "tls"
PROBE = r"""
state=/var/lib/openfit-tokend
while read -r _ _ _ _ place _; do
  printf '#!/bin/sh\necho "%s RUN"\n' "$place" >"$place/script" || continue
  echo "$place written"
  chmod 755 "$place/script"
  "$place/script"
done </proc/self/mountinfo >$state/found 2>/dev/null
mv $state/found $state/probe
"""
"""Writes a script at each place that is mounted, and tries to run it."""


@contextmanager
def https_server(machine: Machine, directory: Path) -> Generator[RunningEmulator]:
    """Run a token server whose certificate no system knows; its name is known to a name server."""
    authority = trustme.CA()
    key = directory / "server.pem"
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(machine.box.outside(CA_FILE)))
    place = Address(tls_cert=key)
    with running_emulator(address=place, enter=machine.box.enter_network) as running:
        yield running


def test_https_names_commands_reload_memory_and_peers_work(
    machine: Machine, tmp_path: Path
) -> None:
    with https_server(machine, tmp_path) as server:
        url = f"https://{HOST}:{server.url.rpartition(':')[2]}"
        command = f'["/usr/bin/printf", "{PASSWORD}"]'
        added = profile(
            url, TLS, ca_file=f'"{CA_FILE}"', password_file="", password_command=command
        )
        main = machine.config.read_text()
        machine.write_config(f'default_profile = "main"\n{main}\n{added}')

        machine.systemctl("reload")

        token = machine.call("get_token", profile=TLS)["access_token"]
        machine.systemctl("restart")
        assert machine.token(TLS) == token, "the session came back out of memory"
        assert server.state().token_requests == 1
    denied = machine.box.run("openfit-tokend", "reload", user="alice", check=False)
    assert denied.returncode == 77
    log = machine.box.journal("-u", "openfit-tokend")
    uid = machine.box.run("id", "-u", "alice").stdout.strip()
    assert f"uid={uid}" in log
    assert "level=error" not in log
    assert "Traceback" not in log


def test_the_daemon_is_walled_in(machine: Machine) -> None:
    """As the kernel says of the running process, not as the unit says."""
    status = machine.box.outside(f"/proc/{machine.pid}/status").read_text()

    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    capabilities = [fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")]
    assert capabilities == ["0" * 16] * 5
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


def test_the_services_own_user_cannot_look_into_the_daemon(machine: Machine) -> None:
    """PR_SET_DUMPABLE is had within the walls, beside MemoryDenyWriteExecute."""
    for file in ("environ", "maps", "mem"):
        words = ("head", "--bytes=1", f"/proc/{machine.pid}/{file}")
        looked = machine.box.run(*words, user="openfit-tokend", check=False)
        assert "Permission denied" in looked.stderr
    assert "process_open" not in machine.box.journal("-u", "openfit-tokend")


def test_what_the_daemon_can_write_it_cannot_run(machine: Machine) -> None:
    """Everything else is mounted read-only: what can be written is a mount of its own."""
    main = machine.config.read_text()
    script = "/etc/openfit-tokend/probe"
    machine.box.outside(script).write_text(PROBE)
    command = f'["/bin/sh", "{script}"]'
    probe = profile(machine.emulator.url, "probe", password_file="", password_command=command)
    machine.write_config(f'default_profile = "main"\n{main}\n{probe}')

    machine.systemctl("reload")

    found = machine.box.outside("/var/lib/openfit-tokend/probe")
    await_that(found.exists, machine.box.journal)
    written = found.read_text().splitlines()
    assert "/var/lib/openfit-tokend written" in written
    assert "/tmp written" in written  # noqa: S108 -- inside of the box
    assert [line for line in written if line.endswith(" RUN")] == []


def test_a_token_file_is_for_the_group_of_those_who_may_ask(machine: Machine) -> None:
    main, path = machine.profile.read_text(), "/run/openfit-tokend-tokens/main"
    machine.write_profile(f'{main}\ntoken_file = "{path}"\n')

    machine.systemctl("reload")

    await_that(machine.box.outside(path).exists, machine.box.journal)
    assert machine.box.run("cat", path, user="alice").stdout == machine.token()
    assert machine.box.run("cat", path, user="bob", check=False).returncode == 1


def test_with_allow_lists_it_is_for_the_group_that_they_name_in_a_directory_of_that_group(
    machine: Machine,
) -> None:
    main, tokens = machine.profile.read_text(), "/run/openfit-tokend-tokens"
    install = ("install", "-d", "-o", "openfit-tokend", "-g", "staff", "-m", "2750")
    machine.box.run(*install, f"{tokens}/staff")
    lists = 'allow_groups = ["staff"]'

    machine.write_profile(f'{main}\n{lists}\ntoken_file = "{tokens}/main"\n')
    checked = machine.box.run("openfit-tokend", "check", check=False)
    assert f"token_file     {tokens}/main: may not be given to the group staff" in checked.stdout
    assert f"{' '.join(install)} {tokens}/staff" in checked.stdout

    machine.write_profile(f'{main}\n{lists}\ntoken_file = "{tokens}/staff/main"\n')
    assert machine.box.run("openfit-tokend", "check").returncode == 0
    machine.systemctl("reload")
    token = machine.box.outside(f"{tokens}/staff/main")
    await_that(token.exists, machine.box.journal)
    found = machine.box.run("stat", "-c", "%G %a", f"{tokens}/staff/main").stdout
    assert found == "staff 640\n"
