"""openfit-token.pyz: the client in one file, on the system's own Python, with nothing of ours."""

import json
import os
import sys
import zipfile
from pathlib import Path

import pytest

import box_opt
import processes
from daemons import RunningDaemon, fresh_daemon
from fenced import ROOT
from openfit_token import __version__
from processes import Completed, done

pytestmark = pytest.mark.system

PYTHON = box_opt.SYSTEM_PYTHON
NO_DAEMON = 69
SCRIPT = """\
import sys
sys.path.insert(0, sys.argv[1])
from openfit_token import get_token
print(get_token().access_token)
"""


def build(path: Path) -> Path:
    done(sys.executable, ROOT / ".ci/build-pyz", path)
    return path


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it."""
    if (reason := box_opt.hindrance()) is not None:
        pytest.skip(reason)
    return build(tmp_path_factory.mktemp("pyz") / "openfit-token.pyz")


daemon = pytest.fixture(fresh_daemon, scope="module")


def run(pyz: Path, daemon: RunningDaemon, *words: str | Path, stdin: str = "") -> Completed:
    """Run the file as on a host where nothing else can be imported."""
    program = (PYTHON, "-S", "-W", "error", pyz, *words)
    variables = {"OPENFIT_TOKEN_SOCKET": str(daemon.socket), "PATH": os.defpath}
    return processes.run(*program, stdin=stdin, inherited=variables)


@pytest.mark.parametrize(
    "words",
    [("get",), ("exec", "--", "sh", "-c", 'echo "$OPENFIT_ACCESS_TOKEN"'), ("refuse",)],
    ids=["get", "exec", "refuse"],
)
def test_a_command_brings_the_token(
    pyz: Path, daemon: RunningDaemon, words: tuple[str, ...]
) -> None:
    ended = run(
        pyz, daemon, *words, stdin="an older one\n"
    )  # so the answer to `refuse` comes at once

    assert (ended.returncode, ended.stdout) == (0, f"{daemon.call('get_token')['access_token']}\n")


def test_status_tells_of_the_profiles(pyz: Path, daemon: RunningDaemon) -> None:
    ended = run(pyz, daemon, "status", "--json")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["profiles"]["main"]["state"] == "fresh"
    assert "main" in run(pyz, daemon, "status").stdout


def test_doctor_finds_all_links_well(pyz: Path, daemon: RunningDaemon) -> None:
    ended = run(pyz, daemon, "doctor")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "[ OK ]" in ended.stdout
    assert "[FAIL]" not in ended.stdout


def test_all_other_commands_are_there_too(pyz: Path, daemon: RunningDaemon) -> None:
    assert run(pyz, daemon, "--version").stdout == f"openfit-token {__version__}\n"
    for command in ("login", "logout", "refresh", "watch"):
        assert "--profile" in run(pyz, daemon, command, "--help").stdout
    assert "openfit-token" in run(pyz, daemon, "completion", "bash").stdout


def test_without_a_daemon_it_says_so_as_the_installed_command_does(
    pyz: Path, daemon: RunningDaemon, tmp_path: Path
) -> None:
    ended = run(pyz, daemon, "get", "--socket", tmp_path / "none")

    assert (ended.returncode, ended.stdout) == (NO_DAEMON, "")
    assert ended.stderr.startswith("openfit-token: no daemon")


def test_it_is_a_program_by_itself(pyz: Path) -> None:
    assert done(pyz, "--version") == f"openfit-token {__version__}\n"


def test_a_script_imports_the_client_from_it(pyz: Path, daemon: RunningDaemon) -> None:
    printed = done(PYTHON, "-S", "-c", SCRIPT, pyz, OPENFIT_TOKEN_SOCKET=str(daemon.socket))

    assert printed == f"{daemon.call('get_token')['access_token']}\n"


def test_an_older_python_is_told_which_one_is_needed(pyz: Path, daemon: RunningDaemon) -> None:
    older = f"import runpy, sys; sys.version_info = (3, 9); runpy.run_path({str(pyz)!r})"
    ended = run(Path("-c"), daemon, older)

    assert ended.returncode != 0
    assert ended.stderr.startswith(f"openfit-token needs Python 3.11 or newer; {PYTHON} is 3.")


def test_nothing_compiled_and_no_test_is_in_it_and_licences_are(pyz: Path) -> None:
    with zipfile.ZipFile(pyz) as archive:
        names = set(archive.namelist())

    assert {name.partition("/")[0] for name in names} == {"__main__.py", "msgpack", "openfit_token"}
    assert {name for name in names if not name.endswith(".py")} == {
        "msgpack/COPYING",
        "openfit_token/LICENSE",
    }
    assert not any("testing" in name for name in names)


@pytest.mark.long
def test_it_is_made_from_a_fresh_clone_as_the_documents_say(tree: Path, pyz: Path) -> None:
    assert "`.ci/build-pyz` builds it" in (ROOT / "docs/install.md").read_text()

    done(".ci/build-pyz", directory=tree, PATH="/usr/bin:/bin")

    with zipfile.ZipFile(pyz) as ours, zipfile.ZipFile(tree / "dist/openfit-token.pyz") as theirs:
        assert {*theirs.namelist()} == {*ours.namelist()}


def test_the_same_sources_make_the_same_bytes(pyz: Path, tmp_path: Path) -> None:
    assert build(tmp_path / "again.pyz").read_bytes() == pyz.read_bytes()
