"""`install` and `uninstall`: what they put, what they never touch, what they refuse."""

import pytest

from box import Box, Completed
from box_opt import VENV
from machine import UNIT, Machine

pytestmark = [pytest.mark.service, pytest.mark.slow]

SYSTEM = 71
NOT_ALLOWED = 77
ROOTS_HOME = "/root"
IMAGE = [
    "/etc/openfit-tokend drwxr-x---",
    "/etc/openfit-tokend/config.toml.example -rw-r-----",
    "/etc/openfit-tokend/credentials drwx------",
    "/etc/systemd/system/openfit-tokend-credential.socket -rw-r--r--",
    "/etc/systemd/system/openfit-tokend.service -rw-r--r--",
    "/etc/systemd/system/openfit-tokend.socket -rw-r--r--",
    "/etc/sysusers.d/openfit-tokend.conf -rw-r--r--",
    "/etc/tmpfiles.d/openfit-tokend.conf -rw-r--r--",
]


def unit(machine: Machine) -> str:
    return machine.box.outside(f"/etc/systemd/system/{UNIT}").read_text()


def ours(machine: Machine) -> str:
    """Return what an administrator has there: content, owners, modes, times."""
    find = "find /etc/openfit-tokend -type f ! -name '*.example'"
    look = f"{find} -exec stat -c '%n %U %G %a %Y' {{}} + -exec sha256sum {{}} +"
    return machine.box.run("sh", "-c", look).stdout


def copied(box: Box, place: str) -> Completed:
    """Copy the program to another place, and have it install itself from there."""
    box.run("cp", "-a", VENV, place)
    script = f"{place}/bin/openfit-tokend"
    box.run("sed", "-i", f"1s|{VENV}|{place}|", script)
    return box.run(script, "install", check=False)


def test_a_second_install_changes_nothing_and_says_so(machine: Machine) -> None:
    before, pid = ours(machine), machine.pid

    said = machine.box.run("openfit-tokend", "install").stdout.partition("\n\n")[0]

    assert all(line.startswith("there already") for line in said.splitlines()), said
    assert (ours(machine), machine.pid) == (before, pid)


def test_a_unit_that_was_changed_is_as_shipped_again_and_drop_ins_stay(machine: Machine) -> None:
    shipped = unit(machine)
    machine.drop_in("[Service]\nLimitNOFILE=70000\n")
    machine.box.run("sed", "-i", "s/^UMask=.*/UMask=0000/", f"/etc/systemd/system/{UNIT}")

    said = machine.box.run("openfit-tokend", "install").stdout

    assert f"changed        /etc/systemd/system/{UNIT}" in said
    assert unit(machine) == shipped
    assert machine.box.property(UNIT, "LimitNOFILE") == "70000"


@pytest.mark.parametrize("umask", ["000", "777"])
def test_another_tree_gets_the_same_files_with_the_same_modes_whatever_the_umask(
    machine: Machine, umask: str
) -> None:
    root = f"/tmp/image-{umask}"  # noqa: S108 -- inside of the box
    machine.box.run("mkdir", root)

    machine.box.run("sh", "-c", f"umask {umask}; exec openfit-tokend install --root {root}")

    find = f"find {root} -path '*/openfit*' -printf '/%P %M\\n'"
    assert sorted(machine.box.run("sh", "-c", find).stdout.splitlines()) == IMAGE
    found = machine.box.outside(f"{root}/etc/systemd/system/{UNIT}").read_text()
    assert found == unit(machine)
    machine.box.run("openfit-tokend", "uninstall", "--root", root)
    assert machine.box.run("sh", "-c", find).stdout == ""


def test_uninstall_takes_back_what_install_put_and_leaves_what_is_not_its_own(
    machine: Machine,
) -> None:
    before, token = ours(machine), machine.token()
    try:
        said = machine.box.run("openfit-tokend", "uninstall").stdout

        units = machine.box.run("systemctl", "list-unit-files", "openfit*", check=False).stdout
        assert "0 unit files listed" in units
        assert machine.box.run("pgrep", "-f", "openfit-tokend run", check=False).stdout == ""
        links = machine.box.run("find", "/etc/systemd/system", "-name", "openfit*").stdout
        assert (links, machine.socket.exists()) == ("", False)
        assert ours(machine) == before
        assert machine.box.outside("/var/lib/openfit-tokend/ledger.json").exists()
        assert [line for line in said.splitlines() if line.startswith("left")] == [
            "left           /etc/openfit-tokend",
            "left           /var/lib/openfit-tokend",
            "left           user openfit-tokend, group openfit",
        ]
    finally:
        machine.box.run("openfit-tokend", "install")
        machine.box.run("systemctl", "enable", "--now", "openfit-tokend.socket", "openfit-tokend")
    assert machine.token() != token
    assert ours(machine) == before


def test_a_program_below_roots_home_is_refused_and_one_to_use_is_named(machine: Machine) -> None:
    before = unit(machine)

    done = copied(machine.box, f"{ROOTS_HOME}/venv")

    assert (done.returncode, done.stdout) == (SYSTEM, "")
    assert f"the service's user can't run {ROOTS_HOME}/venv/bin/python" in done.stderr
    assert "/root, which the service can't see" in done.stderr
    assert "/usr/bin/python3 -m venv --clear /opt/openfit-tokend" in done.stderr
    assert unit(machine) == before


def test_a_program_that_others_cannot_reach_is_refused_by_the_directory_in_the_way(
    machine: Machine,
) -> None:
    before = unit(machine)
    machine.box.run("mkdir", "-m", "0700", "/srv/closed")

    done = copied(machine.box, "/srv/closed/venv")

    assert (done.returncode, done.stdout) == (SYSTEM, "")
    assert "others have no right to /srv/closed" in done.stderr
    assert unit(machine) == before


def test_a_program_whose_packages_others_cannot_read_is_refused_too(machine: Machine) -> None:
    """All directories are open then, but not all files."""
    before = unit(machine)
    box = machine.box
    box.run(
        "sh",
        "-c",
        f"cp -a {VENV} /srv/half && chmod -R go-r /srv/half/lib/python3*/site-packages/anyio",
    )
    box.run("sed", "-i", f"1s|{VENV}|/srv/half|", "/srv/half/bin/openfit-tokend")

    done = box.run("/srv/half/bin/openfit-tokend", "install", check=False)

    assert (done.returncode, done.stdout) == (SYSTEM, "")
    assert "the service's user can't run /srv/half/bin/python" in done.stderr
    assert unit(machine) == before


def test_only_root_installs_for_all_and_each_for_themselves(machine: Machine) -> None:
    alice = machine.box.run("openfit-tokend", "install", user="alice", check=False)
    home = machine.box.home("alice")
    root = machine.box.run(
        "env", f"HOME={home}", "openfit-tokend", "install", "--user", check=False
    )

    assert (alice.returncode, root.returncode) == (NOT_ALLOWED, NOT_ALLOWED)
    assert "sudo openfit-tokend install" in alice.stderr
    assert f"{home} belongs to uid" in root.stderr
