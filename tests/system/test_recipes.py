"""Each block of docs/recipes.md is run as it is written.

What is in a section marked untested isn't. The other blocks are named by their section; a block that
no test knows what to do with fails.
"""

import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import processes
from api import Api, running_api
from daemons import profile, running_daemon
from emulators import PASSWORD, running_emulator
from fake_daemon import FakeDaemon, always, token_fields
from fake_http_daemon import FakeHttpDaemon, granted
from fenced import ROOT, Block, blocks
from openfit_token import get_token
from openfit_token.testing import Daemon, Emulator
from peers import PEERS, peer
from processes import Completed

pytestmark = pytest.mark.system

PAGE = ROOT / "docs/recipes.md"
RUNNABLE = ("sh", "python", "js", "go", "java", "crontab")
ANSWERS_401 = {
    "curl",
    "httpx",
    "httpx, asynchronous",
    "requests",
    "Debian's own Python",
    "cron",
    "aiohttp",
    "Node, with the command",
    "httpx, over HTTP",
    "Node, over HTTP",
    "Go",
    "Java",
}
"""The sections whose block goes on when the API refuses the token."""


def to_try() -> Iterator[Block]:
    """Return all blocks that are to be tested."""
    return (block for block in blocks(PAGE) if "untested" not in block.section)


RECIPES = [each for each in to_try() if each.language in RUNNABLE and "def test_" not in each.text]
TESTS = [each for each in to_try() if "def test_" in each.text]
UNITS = [recipe for recipe in to_try() if recipe.language == "ini"]
runnable = pytest.mark.parametrize("recipe", RECIPES, ids=[recipe.section for recipe in RECIPES])


def run(recipe: Block, directory: Path, daemon: Path | str, url: str) -> Completed:
    """Run a block in an empty directory, with a daemon's sockets and an API."""
    token = directory / "openfit.main"  # as systemd would have put it there
    if "CREDENTIALS_DIRECTORY" in recipe.text and Path(daemon).exists():
        token.write_text(get_token(socket=str(daemon)).access_token)
    path = [str(Path(sys.executable).parent), os.environ["PATH"], tools()]
    if recipe.language == "crontab":
        (directory / ".local/share/openfit").mkdir(parents=True, exist_ok=True)
        (directory / ".local/share/openfit/bin").symlink_to(path[0])
        path = ["/usr/bin", "/bin"]
    return processes.run(
        *command(recipe, directory),
        directory=directory,
        inherited={
            "PATH": ":".join(path),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(directory),
            "CREDENTIALS_DIRECTORY": str(directory),
            "OPENFIT_TOKEN_SOCKET": str(daemon),
            "OPENFIT_HTTP_SOCKET": over_http(daemon),
            "GOCACHE": os.environ.get("GOCACHE", str(Path.home() / ".cache/go-build")),
            "OPENFIT_API_URL": url,
        },
    )


def over_http(daemon: Path | str) -> str:
    """Return the HTTP socket that is beside a daemon's."""
    return f"{daemon}.http"


def command(recipe: Block, directory: Path) -> list[str]:
    """Return how a block is run; skip the test where its program isn't installed."""
    first = re.search(r"^(wget|http) ", recipe.text, re.MULTILINE)
    program = directory / f"recipe.{recipe.language}"
    program.write_text(recipe.text)
    match recipe.language:
        case "sh":
            if first and shutil.which(first[1], path=f"{os.environ['PATH']}:{tools()}") is None:
                pytest.skip(f"{first[1]} isn't installed: run .ci/install_peers")
            return ["bash", str(program)]
        case "python":
            if "aiohttp" in recipe.text:
                pytest.importorskip("aiohttp")
            return [interpreter(recipe), "-W", "error", str(program)]
        case "js":
            if shutil.which("node") is None:
                pytest.skip("node isn't installed: run .ci/install_peers")
            if "@msgpack" in recipe.text:
                (directory / "node_modules").symlink_to(peer("node_modules/@msgpack").parent)
            module = program.rename(program.with_suffix(".mjs"))
            return ["node", str(module)]
        case "go" | "java":
            if shutil.which(recipe.language) is None:
                pytest.skip(f"{recipe.language} isn't installed: run .ci/install_packages")
            # Java's costlier compiler pays only in what runs for longer.
            how = ["go", "run"] if recipe.language == "go" else ["java", "-XX:TieredStopAtLevel=1"]
            return [*how, str(program)]
        case _:
            assert recipe.language == "crontab"
            *times, line = recipe.text.split(maxsplit=5)
            assert len(times) == 5
            assert "%" not in line
            return ["/bin/sh", "-c", line]


def interpreter(recipe: Block) -> str:
    """Return the Python for a recipe: Debian's, which can't import the client, where it is named."""
    debians = "/usr/bin/python3"
    is_meant = recipe.text.startswith(f"#!{debians}\n") and Path(debians).exists()
    return debians if is_meant else sys.executable


def tools() -> str:
    return str(PEERS / "tools/bin")


@runnable
def test_a_recipe_calls_the_api(recipe: Block, world: "World", tmp_path: Path) -> None:
    done = run(recipe, tmp_path, world.daemon.socket, world.emulator.api_url)

    assert (done.returncode, done.stderr) == (0, "")
    assert '"path":"/api/v1/me"' in done.stdout.replace(" ", "")
    assert get_token(socket=str(world.daemon.socket)).access_token not in done.stdout


@pytest.mark.parametrize(
    "recipe",
    [recipe for recipe in RECIPES if recipe.section in ANSWERS_401],
    ids=[recipe.section for recipe in RECIPES if recipe.section in ANSWERS_401],
)
def test_a_recipe_goes_on_when_the_api_refuses_its_token(
    recipe: Block, world: "World", tmp_path: Path
) -> None:
    before = world.emulator.state()
    world.emulator.revoke_access_tokens()
    done = run(recipe, tmp_path, world.daemon.socket, world.emulator.api_url)
    after = world.emulator.state()

    assert (done.returncode, done.stderr) == (0, "")
    assert '"path":"/api/v1/me"' in done.stdout.replace(" ", "")
    assert after.api_refused == before.api_refused + 1
    assert (after.logins, after.refreshes) == (before.logins, before.refreshes + 1)


@runnable
def test_a_recipe_takes_the_token_to_no_other_host(
    recipe: Block, apis: tuple[Api, Api], tmp_path: Path
) -> None:
    api, other = apis
    api.seen.clear()
    other.seen.clear()
    token = token_fields(api_url=api.url)
    with (
        FakeDaemon(tmp_path / "s", always(token)) as daemon,
        FakeHttpDaemon(Path(over_http(daemon.path)), granted(token)),
    ):
        run(recipe, tmp_path, daemon.path, api.url)

    assert api.tokens == ["token-a"]
    assert set(other.tokens) <= {None}


@runnable
def test_a_recipe_sends_nothing_without_a_token(recipe: Block, tmp_path: Path) -> None:
    """And fails, even at an API that wants no token."""
    with running_api() as api:
        done = run(recipe, tmp_path, tmp_path / "none", api.url)

    assert done.returncode != 0
    assert done.stderr
    assert api.seen == []


def test_the_tests_pass(tmp_path: Path) -> None:
    """As installed: the plugin comes by its entry point. The caller's own daemon has no part in it."""
    (test,) = TESTS
    (tmp_path / "test_theirs.py").write_text(test.text)
    options = ["-q", "--strict-markers", "-W", "error", "-p", "no:cacheprovider"]
    words = (sys.executable, "-m", "pytest", *options)
    own = os.environ | {"OPENFIT_PROFILE": "theirs", "OPENFIT_TOKEN_SOCKET": "/nowhere"}
    done = processes.run(*words, directory=tmp_path, inherited=own)

    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_units_are_what_systemd_takes(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze isn't installed")
    for unit in UNITS:
        name = re.match(r"# (/\S+)\n", unit.text)
        assert name is not None, unit.text
        path = tmp_path / name[1].lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(unit.text)
    theirs = tmp_path / "usr/lib/systemd/system"  # what units depend on by themselves
    theirs.mkdir(parents=True)
    for target in Path("/usr/lib/systemd/system").glob("*.target"):
        (theirs / target.name).write_text(target.read_text())
    script = tmp_path / "usr/local/bin/openfit-report"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)

    words = ("systemd-analyze", "verify", f"--root={tmp_path}", "openfit-report.timer")
    done = processes.run(*words)
    ours = [line for line in done.stderr.splitlines() if "openfit-report" in line]

    assert ours == []


STAND_IN = """\
#!/bin/sh
[ "$*" = "$(cat "$0.words")" ] || { echo "what is $*?" >&2; exit 2; }
for variable in $(cat "$0.variables"); do
  eval "[ -n \\"\\$$variable\\" ]" || { echo "no $variable" >&2; exit 3; }
done
printf '%s\\n' '{password}'
"""
"""A secret manager that gives the password for the right words, if it has its variables."""
MANAGERS = {
    "pass": ("show openfit", ""),
    "op": ("read --no-newline op://services/openfit/password", "OP_SERVICE_ACCOUNT_TOKEN"),
    "vault": ("kv get -mount=secret -field=password openfit", "VAULT_ADDR VAULT_TOKEN"),
    "bao": ("kv get -mount=secret -field=password openfit", "BAO_ADDR BAO_TOKEN"),
}
"""How each is asked, by its own documentation, and the variables that it needs."""
SECRETS = [each for each in to_try() if each.language == "toml"]


@pytest.mark.parametrize("recipe", SECRETS, ids=[each.section for each in SECRETS])
def test_a_daemon_logs_in_with_what_a_secret_manager_tells_it(
    recipe: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = tomllib.loads(recipe.text)["password_command"][0]
    words, variables = MANAGERS[name]
    program = tmp_path / name
    program.write_text(STAND_IN.replace("{password}", PASSWORD))
    program.chmod(0o755)
    program.with_name(f"{name}.words").write_text(words)
    program.with_name(f"{name}.variables").write_text(variables)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for variable in variables.split():
        monkeypatch.setenv(variable, "set")

    with (
        running_emulator() as emulator,
        running_daemon(f"{profile(emulator.url, password_file='')}{recipe.text}") as daemon,
    ):
        assert daemon.await_state("fresh", "locked", "down")["state"] == "fresh", daemon.log()


def test_no_block_is_forgotten() -> None:
    known = {*RUNNABLE, "ini", "toml", "console"}

    assert {recipe.language for recipe in to_try()} == known
    assert {recipe.section for recipe in RECIPES} >= ANSWERS_401
    assert len(RECIPES) >= 19
    assert PAGE.read_text().count("\n```") == 2 * (
        len(RECIPES) + len(TESTS) + len(UNITS) + len(SECRETS) + 5
    )  # C# and PowerShell are not tested; the commands for systemd are, by tests/service
    assert {tomllib.loads(each.text)["password_command"][0] for each in SECRETS} == {*MANAGERS}


class World(NamedTuple):
    emulator: Emulator
    daemon: Daemon


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Emulator() as emulator:
        daemon = Daemon(emulator)
        http = f'http_socket = "{over_http(daemon.socket)}"'
        daemon.config.write_text(f"{http}\n{daemon.config.read_text()}")
        with daemon:
            yield World(emulator, daemon)


@pytest.fixture(scope="module")
def apis() -> Iterator[tuple[Api, Api]]:
    """An API that sends everybody to the other."""
    with running_api() as api, running_api() as other:
        api.elsewhere = f"{other.url}/echo"
        yield api, other
