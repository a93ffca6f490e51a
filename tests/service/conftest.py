"""One machine for all: booted once, and set up by README's commands for a server."""

import os
from collections.abc import Generator

import pytest

import box as boxes
import box_opt
from box import Box
from emulators import CLIENT_ID, PASSWORD, USERNAME, RunningEmulator, running_emulator
from machine import HTTP_UNIT, UNIT, Machine
from name_server import running_name_server

REQUIRED = "OPENFIT_REQUIRE_SYSTEMD"
"""The environment variable with which these tests fail where they can't run."""


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Generator[Box]:
    """Boot a machine on which nothing of ours is installed but the wheel, in /opt."""
    reason = boxes.hindrance() or box_opt.hindrance()
    if reason and os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set, but {reason}")
    if reason:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("box")
    files = directory / "files"
    (files / "etc").mkdir(parents=True)
    (files / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    with Box(files, box_opt.make(directory)) as booted, running_name_server(booted.enter_network):
        booted.run("sh", "-c", box_opt.LINKS)
        yield booted


@pytest.fixture(scope="session")
def emulator(box: Box) -> Generator[RunningEmulator]:
    """Run a token server beside the daemon."""
    with running_emulator(enter=box.enter_network) as running:
        yield running


@pytest.fixture(scope="session")
def set_up(box: Box, emulator: RunningEmulator) -> None:
    """Set the service up as a person does who has README.md, and nothing else."""
    _, _, init, enable, let_in = box_opt.SERVICE.typed("#")
    box.run("useradd", "--create-home", "alice")
    box.run("useradd", "--create-home", "bob")
    box.run("sh", "-c", box_opt.UNITS)
    with box.terminal("sh", "-c", init) as terminal:
        terminal.answer("environment", "custom\n")
        terminal.answer("id_server", f"{emulator.url}\n")
        terminal.answer("api_url", f"{emulator.url}/api\n")
        terminal.answer("client_id", f"{CLIENT_ID}\n")
        terminal.answer("username", f"{USERNAME}\n")
        terminal.answer("(hidden): ", f"{PASSWORD}\n")
        assert terminal.end() == 0, terminal.shown
    for command in (enable, let_in):
        box.run("sh", "-c", command)


@pytest.fixture
def machine(box: Box, emulator: RunningEmulator, set_up: None) -> Generator[Machine]:  # noqa: ARG001 -- what it did
    """Return the machine with the service running; afterwards all is as it was."""
    running = Machine(box, emulator)
    files = {path: path.read_text() for path in (running.config, running.profile)}
    running.start()
    yield running
    emulator.clear_faults()
    more = running.remove_profiles_but("main")
    running.remove_drop_in()
    if more or any(path.read_text() != text for path, text in files.items()):
        for path, text in files.items():
            path.write_text(text)
        running.systemctl("restart")


@pytest.fixture
def enabled(machine: Machine) -> Generator[Machine]:
    """The machine with HTTP, as docs/install.md says; and then without."""
    box = machine.box
    assert box.run("systemctl", "is-enabled", HTTP_UNIT, check=False).stdout == "disabled\n"
    machine.enable_http()
    yield machine
    box.run("systemctl", "disable", HTTP_UNIT)
    box.run("systemctl", "stop", HTTP_UNIT, UNIT)
    box.run("systemctl", "start", UNIT)
