"""docs/hub.md as it stands there: a second machine gets the tokens of the first, over ssh."""

import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

import box_opt
from box import Box
from daemons import await_that
from fenced import ROOT, in_section
from machine import Machine
from processes import Completed

pytestmark = [pytest.mark.service, pytest.mark.slow]

DOCUMENT = ROOT / "docs/hub.md"
(ON_THE_HUB,) = in_section(DOCUMENT, "On the hub", "console")
PREPARE, ENABLE = in_section(DOCUMENT, "On each other host", "console")
BY_ONESELF, BY_COMMAND = in_section(DOCUMENT, "For one person", "console")
(RESTRICTED,) = in_section(DOCUMENT, "For one person", "text")
NAME = "hub.example.org"
ADDRESS = "10.99.0.1"
A_KEY = "ssh-ed25519 AAAA…"
UNIT = "openfit-token-hub"
RELAY = "openfit-hub"
SOCKET = "/run/openfit-tokend/socket"
SHARED = f"{box_opt.VENV}/share/doc/openfit-tokend"
SHIPPED = f"{box_opt.VENV}/lib/python3*/site-packages/openfit_tokend/systemd"
CABLE = "hub0"
ANSWERS = "/run/answers"
ENOUGH = "/run/enough"
WATCHED = "/run/watched"
UNREACHABLE = 69
NOT_ALLOWED = 77
SSH_FAILED = 255
KEY = f"-i /etc/ssh/openfit-hub.key -o BatchMode=yes {RELAY}@{NAME}"
THROUGH = f"""\
ssh -N -L /run/forwarded:$0 {KEY} & until [ -S /run/forwarded ]; do sleep 0.02; done
openfit-token get --wait 0 --socket /run/forwarded; got=$?
kill $!; rm /run/forwarded; exit $got
"""
"""Asks for a token over a socket of the hub; says what ssh says."""


@pytest.fixture(scope="module")
def other(box: Box, set_up: None, tmp_path_factory: pytest.TempPathFactory) -> Generator[Box]:  # noqa: ARG001 -- the hub is set up
    """Set a second machine up, which asks the first."""
    if not Path("/usr/sbin/sshd").exists():
        pytest.skip("no sshd: run .ci/install_packages")
    files = tmp_path_factory.mktemp("other")
    (files / "etc").mkdir()
    (files / "etc/hosts").write_text(f"127.0.0.1 localhost\n{ADDRESS} {NAME}\n")
    with Box(files, box.opt) as other:
        link = f"link add {CABLE} netns {box.pid} type veth peer name {CABLE} netns {other.pid}"
        subprocess.run(["/usr/bin/env", "ip", *link.split()], check=True)
        for each, address in ((box, ADDRESS), (other, "10.99.0.2")):
            each.run("ip", "address", "add", f"{address}/24", "dev", CABLE)
            each.run("ip", "link", "set", CABLE, "up")
        box.run("ssh-keygen", "-A")
        box.run("systemctl", "start", "systemd-user-sessions", "ssh")  # as any server has
        *prepare, show = ON_THE_HUB.typed("#")
        box.run("sh", "-ec", "\n".join(prepare))
        of_the_hub = box.run("sh", "-c", show).stdout.rsplit(maxsplit=1)[0]

        other.run("sh", "-c", box_opt.LINKS)
        for user in ("alice", "bob"):
            other.run("useradd", "--create-home", user)
        commands = "\n".join(PREPARE.typed("#")).replace(A_KEY, of_the_hub)
        box.outside("/etc/ssh/openfit-hub.keys").write_text(other.run("sh", "-ec", commands).stdout)
        other.run("cp", f"{SHARED}/{UNIT}.service", "/etc/systemd/system")
        other.run("sh", "-ec", "\n".join(ENABLE.typed("#")))
        yield other
    box.run("systemctl", "stop", "ssh")
    box.run("pkill", "-u", RELAY, check=False)
    box.run("rm", "/etc/ssh/sshd_config.d/openfit-hub.conf", "/etc/ssh/openfit-hub.keys")


def get(other: Box, *options: str, user: str = "alice", check: bool = True) -> Completed:
    return other.run("openfit-token", "get", *options, user=user, check=check)


def refused(machine: Machine) -> str:
    """Return the last line about a refused call."""
    return machine.box.journal("-u", "openfit-tokend", "EVENT=call_refused").splitlines()[-1]


def uid(box: Box, user: str) -> int:
    return int(box.run("id", "-u", user).stdout)


def test_the_command_finds_the_hubs_token_as_if_the_daemon_were_there(
    machine: Machine, other: Box
) -> None:
    (status,) = ENABLE.typed("$")

    assert get(other).stdout == f"{machine.token()}\n"
    assert "main     custom       fresh" in other.run(*status.split(), user="alice").stdout
    assert "6 ok" in other.run("openfit-token", "doctor", user="alice").stdout


def test_whoever_isnt_in_the_group_there_gets_none(machine: Machine, other: Box) -> None:  # noqa: ARG001 -- the hub runs
    denied = get(other, user="bob", check=False)

    assert (denied.returncode, denied.stdout) == (UNREACHABLE, "")
    assert f"permission denied: {SOCKET} ({RELAY}:openfit, mode 0660)" in denied.stderr


def test_it_is_started_once_the_socket_can_be_used(machine: Machine, other: Box) -> None:
    for _ in range(3):
        script = f"systemctl restart {UNIT} && openfit-token get"

        assert other.run("sh", "-c", script).stdout == f"{machine.token()}\n"


def test_it_takes_the_place_of_a_daemon(machine: Machine, other: Box) -> None:
    units = f"{SHIPPED}/system/openfit-tokend.*"
    other.run("sh", "-ec", f"cp {units} /run/systemd/system; systemctl daemon-reload")
    other.run("systemctl", "start", "openfit-tokend.socket")
    assert other.property(UNIT, "ActiveState") == "inactive"

    other.run("systemctl", "start", UNIT)

    assert other.property("openfit-tokend.socket", "ActiveState") == "inactive"
    assert get(other).stdout == f"{machine.token()}\n"


def test_an_upgrade_of_a_package_there_leaves_the_socket_as_it_is(
    machine: Machine, other: Box
) -> None:
    file = "tmpfiles.d/openfit-tokend.conf"
    other.run("sh", "-ec", f"cp {SHIPPED}/{file} /usr/lib/{file}")
    other.run("useradd", "--system", "openfit-tokend")
    other.run("systemd-tmpfiles", "--create", "openfit-tokend.conf")

    assert get(other).stdout == f"{machine.token()}\n"


def test_the_lists_on_the_hub_are_about_the_relays_user(machine: Machine, other: Box) -> None:
    main = machine.profile.read_text()

    machine.write_profile(f'{main}\nallow_users = ["alice"]\n')
    machine.systemctl("reload")
    assert get(other, check=False).returncode == NOT_ALLOWED
    assert f" uid={uid(machine.box, RELAY)} " in refused(machine)

    machine.write_profile(f'{main}\nallow_users = ["{RELAY}"]\n')
    machine.systemctl("reload")
    assert get(other).stdout == f"{machine.token()}\n"


@pytest.mark.parametrize("command", ["login", "logout"])
def test_root_elsewhere_is_no_operator(machine: Machine, other: Box, command: str) -> None:
    before = machine.token()

    assert other.run("openfit-token", command, check=False).returncode == NOT_ALLOWED
    assert machine.token() == before


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        (f"ssh {KEY}", "open failed"),
        (f"ssh {KEY} true", "open failed"),
        (f"sftp {KEY}", "open failed"),
        (f"ssh -W localhost:22 {KEY}", "administratively prohibited"),
        (f"ssh -o ExitOnForwardFailure=yes -N -R 8000:localhost:22 {KEY}", "forwarding failed"),
        (f"ssh -o ExitOnForwardFailure=yes -N -R /tmp/a:/tmp/b {KEY}", "forwarding failed"),
        (f"ssh -o ExitOnForwardFailure=yes -N -w 0:0 {KEY}", "open failed"),
    ],
)
def test_the_key_is_good_for_nothing_else(
    machine: Machine,  # noqa: ARG001 -- the hub runs
    other: Box,
    attempt: str,
    said: str,
) -> None:
    done = other.run("sh", "-c", f"timeout 10 {attempt}", check=False)

    assert (done.returncode, done.stdout) == (SSH_FAILED, ""), done
    assert said in done.stderr


@pytest.mark.parametrize(
    "path",
    [
        "/run/dbus/system_bus_socket",
        "/run/openfit-tokend/credential.socket",
        "/run/openfit-tokend/../openfit-tokend/socket",
    ],
)
def test_the_key_is_good_for_no_other_path(machine: Machine, other: Box, path: str) -> None:
    assert other.run("sh", "-c", THROUGH, SOCKET).stdout == f"{machine.token()}\n"

    done = other.run("sh", "-c", THROUGH, path, check=False)

    assert (done.returncode, done.stdout) == (UNREACHABLE, ""), done
    assert "open failed" in done.stderr


def test_a_restart_of_the_daemon_fails_no_call(machine: Machine, other: Box) -> None:
    answers = other.outside(ANSWERS)
    loop = f"until [ -e {ENOUGH} ]; do openfit-token get || exit; done > {ANSWERS}"
    with other.start("sh", "-c", loop) as asking:
        machine.systemctl("restart")
        pid = machine.pid
        machine.signal("KILL")
        machine.await_another(pid)
        before = answers.stat().st_size
        await_that(lambda: answers.stat().st_size > before or asking.poll() is not None)
        other.run("touch", ENOUGH)

        assert asking.wait(30) == 0
    assert set(answers.read_text().splitlines()) == {machine.token()}


def test_a_stopped_daemon_is_waited_for_until_the_call_ends(machine: Machine, other: Box) -> None:
    machine.box.run("systemctl", "stop", "openfit-tokend.socket", "openfit-tokend.service")

    done = get(other, "--wait", "1", check=False)

    assert done.returncode == UNREACHABLE
    assert "the daemon closed the connection before it answered" in done.stderr
    machine.box.run("systemctl", "start", "openfit-tokend.socket", "openfit-tokend.service")
    assert get(other).stdout == f"{machine.token()}\n"


def test_a_hub_that_is_shut_down_is_gone_at_once(machine: Machine, other: Box) -> None:
    machine.box.run("systemctl", "stop", "ssh")
    machine.box.run(
        "pkill", "-u", RELAY
    )  # ssh.service leaves what is connected; a shutdown doesn't
    socket = other.outside(SOCKET)
    await_that(lambda: not socket.exists(), other.journal)

    done = get(other, check=False)

    assert done.returncode == UNREACHABLE
    assert "no daemon: there is no " in done.stderr
    machine.box.run("systemctl", "start", "ssh")
    await_that(socket.exists, other.journal)
    assert get(other).stdout == f"{machine.token()}\n"


def test_a_call_outlasts_a_network_that_vanishes_and_comes_back(
    machine: Machine, other: Box
) -> None:
    socket = other.outside(SOCKET)
    watching = other.start("sh", "-c", f"openfit-token watch > {WATCHED}")
    try:
        await_that(lambda: len(watched(other)) == 1, other.journal)
        other.run("ip", "link", "set", CABLE, "down")
        asking = other.start("sh", "-c", f"openfit-token get --wait 60 > {ANSWERS}")

        await_that(lambda: not socket.exists(), other.journal, 30)  # ssh has noticed
        assert get(other, check=False).returncode == UNREACHABLE
        assert asking.poll() is None
        other.run("ip", "link", "set", CABLE, "up")

        assert asking.wait(30) == 0
        assert other.outside(ANSWERS).read_text() == f"{machine.token()}\n"
        machine.box.run("openfit-token", "refresh")
        await_that(lambda: len(watched(other)) > 1, other.journal)
    finally:
        watching.kill()
        watching.wait()


def watched(other: Box) -> list[str]:
    """Return the lines of the `watch` that runs there."""
    file = other.outside(WATCHED)
    return file.read_text().splitlines() if file.exists() else []


def test_a_person_with_an_account_on_the_hub_is_known_there_by_name(
    machine: Machine, other: Box
) -> None:
    key = of_alice(other)
    authorized(machine, key)
    main = machine.profile.read_text()
    machine.write_profile(f'{main}\nallow_users = ["alice"]\n')
    machine.systemctl("reload")
    runtime = f"{other.home('alice')}/run"

    try:
        commands = "\n".join(BY_ONESELF.typed("$"))
        script = f"export XDG_RUNTIME_DIR={runtime}; {commands}"
        done = other.run("sh", "-ec", script, user="alice")
    finally:
        other.run("pkill", "-u", "alice", "ssh", check=False)

    assert done.stdout == f"{machine.token()}\n"


def test_a_key_with_a_command_gets_a_token_whatever_is_asked(machine: Machine, other: Box) -> None:
    key = of_alice(other)
    authorized(machine, RESTRICTED.text.strip().replace(f"{A_KEY} batch@app1", key))
    (command,) = BY_COMMAND.typed("$")

    for asked in (command, command.replace(NAME, f"{NAME} id")):
        script = f'{asked}; printf %s "$token"'

        assert other.run("bash", "-ec", script, user="alice").stdout == machine.token()


def of_alice(other: Box) -> str:
    """Return alice's public key, made if there was none."""
    file = f"{other.home('alice')}/.ssh/id_ed25519"
    make = f"test -e {file} || ssh-keygen -q -t ed25519 -N '' -f {file}; cat {file}.pub"
    return other.run("sh", "-c", make, user="alice").stdout.strip()


def authorized(machine: Machine, line: str) -> None:
    """Let in whoever has a key, as alice, on the hub."""
    script = "umask 077; mkdir -p ~/.ssh; cat > ~/.ssh/authorized_keys"
    machine.box.run("sh", "-c", script, user="alice", stdin=f"{line}\n")
