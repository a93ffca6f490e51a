"""Each command of README.md, docs/install.md and docs/clients.md is run as it stands there.

"Run it as a service" is done by tests/service: its machine is set up by these lines. "Debian package"
is done by test_deb.py. The test command is what .ci/run runs first of all. Here is the rest, from the
sources as they are released.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

import pytest

import box_opt
from api import running_api
from daemons import NOBODY, await_that
from emulators import CLIENT_ID, PASSWORD, USERNAME, running_emulator
from fenced import API, CLIENTS, INSTALL, README, ROOT, Block, blocks, in_section
from openfit_token.testing import Daemon, Emulator
from openfit_tokend.config import config_file
from openfit_tokend.core.settings.values import Settings
from pictures import texts, without_figures
from processes import Completed, run
from terminals import Terminal
from users import IS_ROOT

pytestmark = [pytest.mark.system, pytest.mark.slow]

TRY, TEST = in_section(README, "openfit-tokend", "sh")
(DIAGRAM,) = in_section(README, "openfit-tokend", "text")
(BY_HAND,) = in_section(README, "Install", "console")
(IN_A_SHELL,) = in_section(README, "Get a token", "bash")
(WITH_HTTPX,) = in_section(README, "Get a token", "python")
(HTTP,) = in_section(INSTALL, "The HTTP socket", "console")
DEBIAN = in_section(INSTALL, "Debian package", "console")
(USER_SERVICE,) = in_section(INSTALL, "For one user", "console")
(AT_BOOT,) = in_section(INSTALL, "For one user", "crontab")
(CONFIGURATION,) = in_section(INSTALL, "A configuration by hand", "toml")
(LISTS,) = in_section(INSTALL, "Who may use a profile", "toml")
(IN_A_SCRIPT,) = in_section(CLIENTS, "The command", "sh")
(WITH_CLIENT,) = in_section(CLIENTS, "Python", "python")

DEMO = ROOT / "docs/pictures/demo.svg"

BASH = "/bin/bash"
INTERRUPT = "\x03"
"""What Ctrl-C types."""


class World(NamedTuple):
    emulator: Emulator
    daemon: Daemon

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a script on a machine where the daemon runs."""
        return os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OPENFIT_TOKEN_SOCKET": str(self.daemon.socket),
        }


@pytest.fixture(scope="module")
def world() -> Generator[World]:
    with Emulator() as emulator, Daemon(emulator) as daemon:
        yield World(emulator, daemon)


def test_no_block_is_forgotten() -> None:
    known = [TRY, TEST, BY_HAND, IN_A_SHELL, WITH_HTTPX, box_opt.SERVICE]

    assert list(blocks(README)) == [DIAGRAM, *known]
    assert list(blocks(INSTALL)) == [*(HTTP, *DEBIAN, USER_SERVICE, AT_BOOT, CONFIGURATION, LISTS)]
    assert list(blocks(CLIENTS)) == [IN_A_SCRIPT, WITH_CLIENT]


def test_readme_can_be_read_in_a_minute_or_two() -> None:
    text = README.read_text()

    assert len(text.split()) <= 900
    assert text.count("\n") <= 110


@pytest.mark.long  # whoever runs the tests has installed it, and .ci/run does
def test_the_first_command_shows_the_demo_as_its_picture_does(tree: Path) -> None:
    """With other ports, tokens and times; the bars are as long as the tokens still live."""
    assert f"({DEMO.relative_to(ROOT)})" in README.read_text()
    ended = run(BASH, "-c", TRY.text, directory=tree, PYTHONIOENCODING="utf-8")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "  write a config     .venv/bin/openfit-tokend init\n" in ended.stdout
    assert " .venv/bin/openfit-token exec -- ./nightly.sh" in ended.stdout
    printed = {without_figures(line) for line in ended.stdout.splitlines()}
    prompt, *lines = texts(DEMO.read_text().replace("  openfit", "  .venv/bin/openfit"))
    assert prompt == "$ openfit-tokend demo"
    assert [each for each in lines if without_figures(each) not in printed] == []


def test_the_test_command_is_what_ci_runs() -> None:
    function = re.search(
        r"^readme_test_command\(\) \{\n.*?^\}",
        (ROOT / ".ci/run").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert function is not None

    found = run(BASH, "-c", f"{function[0]}\nreadme_test_command", directory=ROOT).stdout

    assert found == TEST.text
    assert TEST.text.endswith("&& .venv/bin/pytest\n")


@contextmanager
def users_home() -> Generator[Path]:
    """Make a home, with the runtime directory that a log-in brings; root gives it to a stranger."""
    home = Path(mkdtemp(prefix="oft-"))
    (home / "run").mkdir()
    if IS_ROOT:
        for directory in (home, home / "run"):
            os.chown(directory, NOBODY, NOBODY)
    try:
        yield home
    finally:
        shutil.rmtree(home)


def users_environment(home: Path) -> dict[str, str]:
    """Return what a log-in leaves one; how pip finds packages stays as it is here."""
    of_pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    return of_pip | {
        "PIP_PROGRESS_BAR": "off",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        "PS1": "ready> ",
        "XDG_RUNTIME_DIR": str(home / "run"),
    }


@pytest.mark.long
def test_the_lines_of_install_lead_to_a_token(tree: Path) -> None:
    if (reason := box_opt.hindrance()) is not None:
        pytest.skip(reason)
    install, export, init, start = BY_HAND.typed("$")
    get = "openfit-token get"
    assert f"`{get}`" in README.read_text()
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    with users_home() as home, running_emulator() as emulator:
        sources = home / "sources"
        shutil.copytree(tree, sources)
        shell = [*(user if IS_ROOT else []), BASH, "--norc", "--noediting"]
        with Terminal(shell, users_environment(home), sources) as terminal:
            terminal.answer("ready> ", f"{install} && {export}\n")
            terminal.answer("ready> ", f"{init}\n")
            terminal.answer("environment", "custom\n")
            terminal.answer("id_server", f"{emulator.url}\n")
            terminal.answer("api_url", f"{emulator.url}\n")
            terminal.answer("client_id", f"{CLIENT_ID}\n")
            terminal.answer("username", f"{USERNAME}\n")
            terminal.answer("(hidden): ", f"{PASSWORD}\n")
            terminal.answer("ready> ", f"{start}\n")
            terminal.read_until("event=token_obtained")
            with Terminal(shell, users_environment(home)) as another:
                for line in (export, get, "exit"):
                    another.answer("ready> ", f"{line}\n")
                got = another.end()
            terminal.answer("", INTERRUPT)
            terminal.answer("ready> ", "exit $?\n")
            status = terminal.end()

        assert (status, got) == (0, 0), terminal.shown + another.shown
        assert re.search(r"^[\w.-]{100,}\r$", another.shown, re.MULTILINE), another.shown
        assert emulator.state().logins == 2, "init's, and the daemon's"


@pytest.mark.parametrize("block", [IN_A_SHELL, IN_A_SCRIPT], ids=["README", "clients"])
def test_a_block_for_a_shell_calls_the_api(world: World, block: Block, tmp_path: Path) -> None:
    before = world.emulator.state().api_ok
    done = in_bash(world, block.text.replace(API, f"{world.emulator.api_url}/v1/me"), tmp_path)

    assert done.returncode == 0, done.stderr
    assert '"path":"/api/v1/me"' in done.stdout.replace(" ", "")
    assert world.emulator.state().api_ok == before + 1


@pytest.mark.parametrize("block", [IN_A_SHELL, IN_A_SCRIPT], ids=["README", "clients"])
def test_a_block_for_a_shell_sends_nothing_without_a_token(
    world: World, block: Block, tmp_path: Path
) -> None:
    with running_api() as api:
        lines = block.text.replace(API, f"{api.url}/v1/me")
        done = in_bash(world, f"export OPENFIT_TOKEN_SOCKET=/nowhere\n{lines}", tmp_path)

    assert done.returncode != 0
    assert api.seen == []


def in_bash(world: World, command: str, directory: Path) -> Completed:
    """Run a command where there is the program that the documents let it run."""
    (directory / "nightly.sh").write_text('#!/bin/sh\ntest -n "$OPENFIT_ACCESS_TOKEN"\n')
    (directory / "nightly.sh").chmod(0o755)
    words = (BASH, "-c", f"set -e\n{command}")
    return run(*words, directory=directory, inherited=world.environment, token="older")


@pytest.mark.parametrize(
    ("document", "command"),
    [
        (README, "openfit-token doctor"),
        (README, "openfit-token status"),
        (CLIENTS, "openfit-token get --min-ttl 10m"),
        (CLIENTS, "openfit-token get --wait 5"),
        (CLIENTS, "openfit-token exec -- ./nightly.sh"),
        (CLIENTS, 'printf %s "$token" | openfit-token refuse'),
        (CLIENTS, 'eval "$(openfit-token completion bash)"'),
    ],
)
def test_a_command_that_stands_in_a_sentence_works(
    world: World, document: Path, command: str, tmp_path: Path
) -> None:
    assert f"`{command}`" in document.read_text().replace("\\|", "|")

    done = in_bash(world, f"set -o pipefail; {command}", tmp_path)

    assert done.returncode == 0, done.stderr


def test_the_configuration_is_valid_with_and_without_the_lists(tmp_path: Path) -> None:
    """The users and groups have to be there: root is."""
    path = tmp_path / "config.toml"
    (tmp_path / "main.password").write_text(PASSWORD)
    path.write_text(CONFIGURATION.text)
    assert isinstance(config_file.load(path), Settings)

    one = tomllib.loads(CONFIGURATION.text)["profiles"]["main"]
    as_above = "\n".join(f'{key} = "{value}"' for key, value in one.items())
    lists = re.sub(r'\["[\w-]+"\]', '["root"]', LISTS.text).replace("# as above", as_above)
    (admins, *rest) = lists.splitlines()
    path.write_text("\n".join([admins, CONFIGURATION.text, *rest]))
    found = config_file.load(path)
    assert isinstance(found, Settings)
    assert list(found.profiles) == ["main", "payroll"]


def test_crons_line_runs_a_daemon_at_home(world: World, tmp_path: Path) -> None:
    """With the variables that cron sets; root's configuration would be in /etc."""
    when, command = AT_BOOT.text.split(maxsplit=1)
    programs = tmp_path / ".local/share/openfit"
    programs.mkdir(parents=True)
    (programs / "bin").symlink_to(Path(sys.executable).parent)
    config = tmp_path / ".config/openfit-tokend/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(world.daemon.config.read_text())
    as_cron = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "me"}
    as_cron["OPENFIT_TOKEND_CONFIG"] = str(config)
    socket = tmp_path / ".openfit-tokend/socket"
    with subprocess.Popen(["/bin/sh", "-c", f"exec {command}"], env=as_cron) as daemon:
        try:
            await_that(lambda: socket.exists() or daemon.poll() is not None)
            got = run(
                programs / "bin/openfit-token", "get", "--socket", str(socket), directory=tmp_path
            )
        finally:
            daemon.terminate()

    assert when == "@reboot"
    assert got.returncode == 0, got.stderr
    assert "event=stopped" in (tmp_path / ".openfit-tokend.log").read_text()


def test_in_python_the_adapter_calls_the_api(world: World) -> None:
    call = 'print(api.get("/v1/me").json())'
    program = ("-W", "error::DeprecationWarning", "-c", f"{WITH_HTTPX.text}\n{call}")
    done = run(sys.executable, *program, inherited=world.environment)

    assert done.returncode == 0, done.stderr
    assert "/api/v1/me" in done.stdout


def test_in_python_the_client_tells_of_changes(world: World) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", "-c", WITH_CLIENT.text],
        stdout=subprocess.PIPE,
        text=True,
        env=world.environment,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.kill()  # it goes on for ever

    assert first == "main fresh\n"
