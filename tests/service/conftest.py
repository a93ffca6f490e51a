"""One machine for all: booted once, and set up by README's three commands."""

import os
from collections.abc import Generator
from dataclasses import dataclass

import pytest

import box as boxes
import box_opt
from box import Box, Completed
from emulators import CLIENT_ID, PASSWORD, USERNAME, RunningEmulator, running_emulator
from machine import Machine
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
        booted.run("sh", "-c", f"ln -s {box_opt.BIN}/openfit-token* /usr/local/bin/")
        yield booted


@pytest.fixture(scope="session")
def emulator(box: Box) -> Generator[RunningEmulator]:
    """Run a token server beside the daemon."""
    with running_emulator(enter=box.enter_network) as running:
        yield running


@dataclass(frozen=True)
class SetUp:
    """What README's three commands said."""

    install: Completed
    init: Completed
    enable: Completed


@pytest.fixture(scope="session")
def set_up(box: Box, emulator: RunningEmulator) -> SetUp:
    """Set the service up as a person does who has the wheel, and nothing else."""
    install = box.run("openfit-tokend", "install")
    box.run("useradd", "--create-home", "--groups", "openfit", "alice")
    box.run("useradd", "--create-home", "bob")
    init = box.run(
        "openfit-tokend", "init", "--yes", "--environment", "custom",
        "--id-server", emulator.url, "--api-url", f"{emulator.url}/api",
        "--client-id", CLIENT_ID, "--username", USERNAME, "--password-file", "-",
        stdin=PASSWORD,
    )  # fmt: skip
    enable = box.run("systemctl", "enable", "--now", "openfit-tokend.socket", "openfit-tokend")
    return SetUp(install, init, enable)


@pytest.fixture
def machine(box: Box, emulator: RunningEmulator, set_up: SetUp) -> Generator[Machine]:  # noqa: ARG001 -- what it did
    """Give the machine with the service running; afterwards all is as it was."""
    running = Machine(box, emulator)
    config = running.config.read_text()
    running.start()
    yield running
    emulator.clear_faults()
    running.remove_secrets_but("main")
    running.remove_drop_in()
    if running.config.read_text() != config:
        running.write_config(config)
        running.systemctl("restart")
