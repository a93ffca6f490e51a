"""`install` and `uninstall`: what they put, what they never touch, what they refuse."""

import pytest

from box import Box
from box_opt import VENV
from machine import UNIT, Machine, getting

pytestmark = [pytest.mark.service, pytest.mark.slow]

SYSTEM = 71
NOT_ALLOWED = 77
ROOTS_HOME = "/root"
IMAGE = [
    "/etc/openfit-tokend drwxr-x---",
    "/etc/openfit-tokend/config.toml.example -rw-r-----",
    "/etc/openfit-tokend/credentials drwx------",
    "/etc/systemd/system/openfit-tokend-credential.socket -rw-r--r--",
    "/etc/systemd/system/openfit-tokend-http.socket -rw-r--r--",
    "/etc/systemd/system/openfit-tokend.service -rw-r--r--",
    "/etc/systemd/system/openfit-tokend.socket -rw-r--r--",
    "/etc/sysusers.d/openfit-tokend.conf -rw-r--r--",
    "/etc/tmpfiles.d/openfit-tokend.conf -rw-r--r--",
    "/usr/local/share/man/man1/openfit-token.1 -rw-r--r--",
    "/usr/local/share/man/man5/openfit-tokend.toml.5 -rw-r--r--",
    "/usr/local/share/man/man7/openfit-tokend-protocol.7 -rw-r--r--",
    "/usr/local/share/man/man8/openfit-tokend.8 -rw-r--r--",
]
OF_A_VERSION = f"1s|{VENV}[^/]*|%s|"
"""Has the copy of a script, in another directory, run that one's interpreter."""


def unit(machine: Machine) -> str:
    return machine.box.outside(f"/etc/systemd/system/{UNIT}").read_text()


def box_prefix(machine: Machine) -> str:
    """Return the directory of the version that is in use."""
    return machine.box.run("readlink", VENV).stdout.strip()


def ours(machine: Machine) -> str:
    """Return what an administrator has there: content, owners, modes, times."""
    find = "find /etc/openfit-tokend -type f ! -name '*.example'"
    look = f"{find} -exec stat -c '%n %U %G %a %Y' {{}} + -exec sha256sum {{}} +"
    return machine.box.run("sh", "-c", look).stdout


def copy(box: Box, place: str) -> None:
    """Copy the program to another place, with both of its commands."""
    box.run("cp", "-aT", f"{VENV}/", place)
    scripts = [f"{place}/bin/{name}" for name in ("openfit-token", "openfit-tokend")]
    box.run("sed", "-i", OF_A_VERSION % place, *scripts)


def test_a_second_install_changes_nothing_and_says_so(machine: Machine) -> None:
    before, pid = ours(machine), machine.pid

    said = machine.box.run("openfit-tokend", "install").stdout.partition("\n\n")[0]

    assert all(line.startswith("unchanged") for line in said.splitlines()), said
    assert (ours(machine), machine.pid) == (before, pid)


def test_the_units_start_the_program_by_the_link_and_man_finds_its_pages(machine: Machine) -> None:
    assert f"\nExecStart={VENV}/bin/openfit-tokend run\n" in unit(machine)
    assert f"\nExecPaths=/usr {VENV} -/bin " in unit(machine)
    found = machine.box.run("man", "-w", "openfit-token").stdout.strip()
    page = machine.box.run("realpath", found).stdout
    assert page == "/usr/local/share/man/man1/openfit-token.1\n"


def test_systemd_warns_of_nothing_in_the_units(machine: Machine) -> None:
    """Older ones don't know RefreshOnReload=, which newer ones get."""
    assert "Unknown key" not in machine.box.journal()


@pytest.mark.long
def test_an_upgrade_beside_the_old_version_fails_no_call(machine: Machine) -> None:
    """In /srv, since the box's /opt can't be written to; as docs/operations.md has it."""
    box, link = machine.box, "/srv/openfit-tokend"
    copy(box, f"{link}-1")
    box.run("ln", "-s", f"{link}-1", link)
    try:
        box.run("sh", "-c", f"{link}/bin/openfit-tokend install && systemctl restart {UNIT}")
        with machine.asking() as asked, getting(box, f"{link}/bin/openfit-token") as failures:
            copy(box, f"{link}-2")
            box.run("ln", "-sfT", f"{link}-2", link)
            said = box.run(f"{link}/bin/openfit-tokend", "install").stdout.partition("\n\n")[0]
            machine.systemctl("restart")
            box.run(f"{link}/bin/openfit-token", "get")

        assert all(line.startswith("unchanged") for line in said.splitlines()), said
        running = box.run("readlink", f"/proc/{machine.pid}/cwd", f"/proc/{machine.pid}/exe").stdout
        command = box.run("cat", f"/proc/{machine.pid}/cmdline").stdout
        assert f"{link}-2/bin/python" in command, f"{command} {running}"
        assert (asked.library_failures, asked.script_failures, failures) == ([], [], [])
    finally:
        box.run("openfit-tokend", "install")
        machine.systemctl("restart")


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
        assert [line for line in said.splitlines() if line.startswith("kept")] == [
            "kept           /etc/openfit-tokend",
            "kept           /var/lib/openfit-tokend",
            f"kept           {box_prefix(machine)}, the program itself",
            "kept           user openfit-tokend, group openfit",
        ]
    finally:
        machine.box.run("openfit-tokend", "install")
        machine.box.run("systemctl", "enable", "--now", "openfit-tokend.socket", "openfit-tokend")
    assert machine.token() != token
    assert ours(machine) == before


def test_a_program_below_roots_home_is_refused_and_one_to_use_is_named(machine: Machine) -> None:
    before = unit(machine)

    copy(machine.box, f"{ROOTS_HOME}/venv")
    done = machine.box.run(f"{ROOTS_HOME}/venv/bin/openfit-tokend", "install", check=False)

    assert (done.returncode, done.stdout) == (SYSTEM, "")
    assert f"the service's user can't run {ROOTS_HOME}/venv/bin/python" in done.stderr
    assert "/root, which is hidden from the service" in done.stderr
    assert "/usr/bin/python3 -m venv /opt/openfit-tokend-" in done.stderr
    assert unit(machine) == before


def test_a_program_whose_packages_others_cannot_read_is_refused_too(machine: Machine) -> None:
    """All directories are open then, but not all files."""
    before = unit(machine)
    box = machine.box
    box.run(
        "sh",
        "-c",
        f"cp -aT {VENV}/ /srv/half && chmod -R go-r /srv/half/lib/python3*/site-packages/anyio",
    )
    box.run("sed", "-i", OF_A_VERSION % "/srv/half", "/srv/half/bin/openfit-tokend")

    done = box.run("/srv/half/bin/openfit-tokend", "install", check=False)

    assert (done.returncode, done.stdout) == (SYSTEM, "")
    assert "the service's user can't run /srv/half/bin/python" in done.stderr
    assert unit(machine) == before


def test_root_installs_into_nobody_elses_home(machine: Machine) -> None:
    home = machine.box.home("alice")
    words = ("env", f"HOME={home}", "openfit-tokend", "install", "--user")

    done = machine.box.run(*words, check=False)

    assert done.returncode == NOT_ALLOWED
    assert f"{home} belongs to uid" in done.stderr
