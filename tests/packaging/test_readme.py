"""Each command of README.md is run as it stands there.

"On a server" is done by tests/service: its machine is set up by these lines. The test command is
what .ci/run runs first of all. Here is the rest, from the sources as they are released.
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
from daemons import NOBODY
from emulators import CLIENT_ID, PASSWORD, USERNAME, running_emulator
from fenced import API, README, ROOT, Block, blocks, of_readme
from openfit_token.testing import Daemon, Emulator
from openfit_tokend.core.settings import Settings
from openfit_tokend.io import config_file
from packages import run
from terminals import Terminal

pytestmark = [pytest.mark.system, pytest.mark.slow]

TRY, TEST = of_readme("openfit-tokend", "sh")
BY_HAND, ELSEWHERE = of_readme("Without systemd", "console")
(CONFIGURATION,) = of_readme("Without systemd", "toml")
(IN_SCRIPTS,) = of_readme("In scripts", "sh")
(WITH_HTTPX, WITH_CLIENT) = of_readme("In Python", "python")
(LISTS,) = of_readme("Who may ask", "toml")
ON_A_SERVER = of_readme("On a server", "console")
SHOWN = of_readme("openfit-tokend", "text")


BASH = "/bin/bash"
INTERRUPT = "\x03"
"""What Ctrl-C types."""


class World(NamedTuple):
    emulator: Emulator
    daemon: Daemon

    @property
    def environment(self) -> dict[str, str]:
        """Give the environment of a script on a machine where the daemon runs."""
        return os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OPENFIT_TOKEN_SOCKET": str(self.daemon.socket),
        }


@pytest.fixture(scope="module")
def world() -> Generator[World]:
    with Emulator() as emulator, Daemon(emulator) as daemon:
        yield World(emulator, daemon)


def test_no_block_is_forgotten() -> None:
    known = [TRY, *SHOWN, TEST, *ON_A_SERVER, BY_HAND, ELSEWHERE, CONFIGURATION, IN_SCRIPTS]

    assert list(blocks(README)) == [*known, WITH_HTTPX, WITH_CLIENT, LISTS]


def test_the_first_command_shows_the_demo(tree: Path) -> None:
    ended = run(BASH, "-c", TRY.text, directory=tree, PYTHONIOENCODING="utf-8")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    for line in SHOWN[0].text.splitlines():
        if line.startswith("  ✓"):
            assert line in ended.stdout


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
    if os.geteuid() == 0:
        for directory in (home, home / "run"):
            os.chown(directory, NOBODY, NOBODY)
    try:
        yield home
    finally:
        shutil.rmtree(home)


def users_environment(home: Path) -> dict[str, str]:
    """Give what a log-in leaves one; how pip finds packages stays as it is here."""
    of_pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    return of_pip | {
        "PIP_PROGRESS_BAR": "off",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        "PS1": "ready> ",
        "XDG_RUNTIME_DIR": str(home / "run"),
    }


def test_without_systemd_the_lines_lead_to_a_token(tree: Path) -> None:
    if (reason := box_opt.hindrance()) is not None:
        pytest.skip(reason)
    install, export, init, start = BY_HAND.typed("$")
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    with users_home() as home, running_emulator() as emulator:
        sources = home / "sources"
        shutil.copytree(tree, sources)
        shell = [*(user if os.geteuid() == 0 else []), BASH, "--norc", "--noediting"]
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
                for line in [*ELSEWHERE.typed("$"), "exit"]:
                    another.answer("ready> ", f"{line}\n")
                got = another.end()
            terminal.answer("", INTERRUPT)
            terminal.answer("ready> ", "exit $?\n")
            status = terminal.end()

        assert (status, got) == (0, 0), terminal.shown + another.shown
        assert re.search(r"^[\w.-]{100,}\r$", another.shown, re.MULTILINE), another.shown
        assert emulator.state().logins == 2, "init's, and the daemon's"


def script(block: Block, world: World) -> str:
    return block.text.replace(API, f"{world.emulator.api_url}/v1/me")


def test_in_scripts_the_block_calls_the_api(world: World) -> None:
    before = world.emulator.state().api_ok
    done = subprocess.run(
        [BASH, "-c", script(IN_SCRIPTS, world)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=world.environment,
    )

    assert done.returncode == 0, done.stderr
    assert '"path":"/api/v1/me"' in done.stdout.replace(" ", "")
    assert world.emulator.state().api_ok == before + 1


@pytest.mark.parametrize(
    "command",
    [
        'printf %s "$token" | openfit-token refuse',
        'eval "$(openfit-token completion bash)"',
        "openfit-token doctor",
        "openfit-token exec -- ./nightly.sh",
        "openfit-token status",
    ],
)
def test_a_command_that_stands_in_a_sentence_works(
    world: World, command: str, tmp_path: Path
) -> None:
    assert f"`{command}`" in README.read_text()
    (tmp_path / "nightly.sh").write_text('#!/bin/sh\ntest -n "$OPENFIT_ACCESS_TOKEN"\n')
    (tmp_path / "nightly.sh").chmod(0o755)

    done = subprocess.run(
        [BASH, "-c", f"set -e -o pipefail; {command}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        env=world.environment | {"token": "older"},
    )

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


def test_in_python_the_adapter_calls_the_api(world: World) -> None:
    call = 'print(api.get("/v1/me").json())'
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", f"{WITH_HTTPX.text}\n{call}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=world.environment,
    )

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
