"""A person with README.md on a fresh Debian: install, init, enable --now, and then get."""

import pytest

from box_opt import SERVICE
from emulators import PASSWORD, answers_of_init
from fenced import API, README, in_section
from machine import Machine

pytestmark = [pytest.mark.service, pytest.mark.slow]

UNITS = ("openfit-tokend.service", "openfit-tokend.socket", "openfit-tokend-credential.socket")


def test_three_commands_lead_from_nothing_to_a_token(machine: Machine) -> None:
    done = machine.box.run("openfit-token", "get", user="alice")

    assert done.stdout == f"{machine.token()}\n"
    assert machine.profile_status()["state"] == "fresh"


def test_a_user_of_the_group_types_what_readme_says_and_calls_the_api(machine: Machine) -> None:
    (status,) = SERVICE.typed("$")
    (block,) = in_section(README, "Get a token", "bash")
    call, _run = block.text.splitlines()
    api = f"{machine.emulator.url}/api/v1/me"

    said = [
        machine.box.run("bash", "-c", line, user="alice").stdout
        for line in (status, call.replace(API, api))
    ]

    assert "fresh" in said[0]
    assert '"path":"/api/v1/me"' in said[-1].replace(" ", "")


def test_install_says_what_comes_next_and_that_works_as_it_stands(machine: Machine) -> None:
    said = machine.box.run("openfit-tokend", "install").stdout

    commands = [line.strip() for line in said.partition("next:\n")[2].splitlines()]
    enable = next(command for command in commands if "enable" in command)
    machine.box.run(*enable.split())
    assert "openfit-tokend init" not in commands, "it has been configured already"


def test_what_is_enabled_is_the_service_and_both_its_sockets(machine: Machine) -> None:
    for unit in UNITS:
        assert machine.box.property(unit, "UnitFileState") == "enabled"
        assert machine.box.property(unit, "ActiveState") == "active"


def test_a_user_of_the_group_gets_a_token_and_another_does_not(machine: Machine) -> None:
    alice = machine.box.run("openfit-token", "get", user="alice")
    bob = machine.box.run("openfit-token", "get", user="bob", check=False)

    assert (alice.stdout, alice.stderr) == (f"{machine.token()}\n", "")
    assert (bob.returncode, bob.stdout) == (69, "")
    assert "usermod -aG openfit bob" in bob.stderr


def test_nobody_but_root_and_the_service_can_read_configuration_secret_and_state(
    machine: Machine,
) -> None:
    places = [
        *("", "/config.toml", "/config.toml.example", "/conf.d", "/conf.d/main.toml"),
        *("/credentials", "/credentials/main"),
    ]
    paths = [f"/etc/openfit-tokend{place}" for place in places]
    paths += ["/var/lib/openfit-tokend", "/run/openfit-tokend", *SOCKETS]

    found = machine.box.run("stat", "--format=%n %U:%G %a", *paths).stdout.splitlines()

    assert found == [
        "/etc/openfit-tokend root:openfit-tokend 750",
        "/etc/openfit-tokend/config.toml root:openfit-tokend 640",
        "/etc/openfit-tokend/config.toml.example root:openfit-tokend 640",
        "/etc/openfit-tokend/conf.d root:root 755",
        "/etc/openfit-tokend/conf.d/main.toml root:openfit-tokend 640",
        "/etc/openfit-tokend/credentials root:root 700",
        "/etc/openfit-tokend/credentials/main root:root 600",
        "/var/lib/openfit-tokend openfit-tokend:openfit-tokend 700",
        "/run/openfit-tokend root:root 755",
        "/run/openfit-tokend/socket root:openfit 660",
        "/run/openfit-tokend/credential.socket root:root 600",
    ]


SOCKETS = ("/run/openfit-tokend/socket", "/run/openfit-tokend/credential.socket")


def test_check_looks_as_the_service_would_and_says_that_all_is_well(machine: Machine) -> None:
    done = machine.box.run("openfit-tokend", "check", "--network")

    assert "[FAIL]" not in done.stdout
    assert "main: secret   can be read" in done.stdout


def test_init_makes_the_directories_again_with_their_owners_and_modes(machine: Machine) -> None:
    directories = ("/etc/openfit-tokend", "/etc/openfit-tokend/credentials")
    look = ("stat", "--format=%n %U:%G %a", *directories)
    before = machine.box.run(*look).stdout
    machine.box.run("mv", directories[0], "/etc/aside")
    try:
        answers = answers_of_init(machine.emulator.url)
        machine.box.run("openfit-tokend", "init", "--yes", "--no-login", *answers, stdin=PASSWORD)

        assert machine.box.run(*look).stdout == before
        assert "[FAIL]" not in machine.box.run("openfit-tokend", "check").stdout
    finally:
        machine.box.run("rm", "-r", directories[0])
        machine.box.run("mv", "/etc/aside", directories[0])


def test_init_beside_a_running_service_says_how_it_learns_of_the_new_profile(
    machine: Machine,
) -> None:
    requests = machine.emulator.state().token_requests

    words = ("init", "--profile", "etl.x", "--yes", *answers_of_init(machine.emulator.url))
    said = machine.box.run("openfit-tokend", *words, stdin=PASSWORD).stdout
    restart = next(line for line in said.splitlines() if "openfit-tokend restart" in line)
    machine.box.run(*restart.partition("(")[0].split())

    etl, main = machine.token("etl.x"), machine.token()
    assert etl != main == machine.token("main"), "the default is still what it was"
    assert machine.emulator.state().token_requests == requests + 1
