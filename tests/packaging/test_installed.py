"""The wheel in an environment with nothing else, on each Python that is supported."""

import socket
import sys
from pathlib import Path

import pytest

from daemons import prepared_daemon, profile
from emulators import running_emulator
from packages import IMPORT_ALL, Built, environment, python
from processes import done, run

pytestmark = [pytest.mark.system, pytest.mark.slow]

OS_ERROR = 71
THIS = f"3.{sys.version_info.minor}"
OTHERS = [
    pytest.param(each, marks=pytest.mark.long)
    for each in ("3.11", "3.12", "3.13", "3.14", "3.15")
    if each != THIS
]


@pytest.fixture(scope="module", params=[THIS, *OTHERS])
def commands(
    request: pytest.FixtureRequest, built: Built, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Install the wheel, and give the directory of its commands."""
    directory = tmp_path_factory.mktemp("installed")
    return environment(python(request.param), directory / "venv", built.wheel)


def test_what_cannot_be_imported_wants_an_extra_and_nothing_warns(commands: Path) -> None:
    found = done(commands / "python", "-W", "error", "-c", IMPORT_ALL)

    assert found.split() == [
        "cryptography",
        "psycopg",
        "pytest",
        "requests",
    ]


def test_a_command_that_wants_an_extra_says_how_to_get_it_from_where_it_came(
    built: Built, commands: Path, tmp_path: Path
) -> None:
    etcd = tmp_path / "etcd"
    etcd.touch(mode=0o755)

    ended = run(commands / "openfit-tokend", "demo", "--fleet", PATH=str(tmp_path))

    assert (ended.returncode, ended.stdout) == (OS_ERROR, "")
    assert ended.stderr.endswith(
        f"missing: run pip install 'openfit-tokend[fleet] @ {built.wheel.as_uri()}'\n"
    )


def test_the_emulator_needs_no_extra(commands: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with taken:
        ended = run(commands / "openfit-tokend", "emulator", f"--port={taken.getsockname()[1]}")

    assert ended.returncode == OS_ERROR
    assert "can't serve at 127.0.0.1" in ended.stderr


def test_it_serves_tokens(commands: Path) -> None:
    with running_emulator() as emulator, prepared_daemon(profile(emulator.url)) as daemon:
        daemon.python = commands / "python"
        daemon.start()
        got = daemon.run("openfit-token", "get")
        own = ("--config", str(daemon.config), "--socket", str(daemon.socket))
        checked = daemon.run("openfit-tokend", "check", *own)

        assert (got.returncode, got.stderr) == (0, "")
        assert got.stdout == f"{daemon.call('get_token')['access_token']}\n"
        assert checked.returncode == 0, checked.stdout
        assert daemon.stop() == 0
