"""The Debian package, on a booted Debian 12 and 13: what it puts, starts, keeps and removes."""

import re
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

import box as boxes
import debian
from box import PATIENCE, Box
from emulators import PASSWORD, RunningEmulator, answers_of_init, running_emulator
from fenced import INSTALL, ROOT, in_section
from machine import DROP_IN, UNIT, Machine, getting
from openfit_token import __version__
from openfit_tokend.host import clock
from packages import IMPORT_ALL
from processes import run

pytestmark = [
    pytest.mark.service,
    pytest.mark.slow,
    pytest.mark.long,  # to make the package and the machine takes two minutes
]

CALLS = 100
"""A second, at least, while it is upgraded."""
NO_DAEMON = 69
SYSTEM = 71
PROGRAM = "/usr/lib/openfit-tokend"
PYTHON = f"{PROGRAM}/current/bin/python3"
CONFIG = "/etc/openfit-tokend/config.toml"
OURS = "find / /run -xdev -path '*openfit*' ! -path '/srv/*.deb'"
"""Prints each path in which it is named."""
INSTALLED = "dpkg-query --show --showformat='${db:Status-Abbrev}${Version}' openfit-tokend"
UPGRADE = f"dpkg --install /srv/*_{debian.NEWER}.deb"
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#]+)")
"""What a document's link names, besides other hosts and headings of its own."""
COMPILED = "import msgpack, psycopg.pq; print(msgpack.Packer.__module__, psycopg.pq.__impl__)"
(BUILD, ADD, _INIT, ENABLE, LET_IN) = in_section(INSTALL, "Debian package", "console")[0].typed("#")
REMOVE, PURGE = in_section(INSTALL, "Debian package", "console")[1].typed("#")

SUITES = ("bookworm", "trixie")


@pytest.fixture(scope="session")
def package(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it from the sources as they are released."""
    if reason := boxes.hindrance() or debian.hindrance():
        pytest.skip(reason)
    return debian.build(tree, tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="session")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one of a newer version."""
    return debian.newer(package, tmp_path_factory.mktemp("newer"))


@pytest.fixture(scope="module", params=SUITES)
def box(
    request: pytest.FixtureRequest,
    package: Path,
    newer: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Box]:
    """Boot a machine that has both packages, neither of them installed."""
    directory = tmp_path_factory.mktemp(request.param)
    with debian.booted(request.param, directory, package, newer) as booted:
        booted.run("useradd", "--create-home", "alice")
        yield booted


@pytest.fixture(scope="module")
def emulator(box: Box) -> Generator[RunningEmulator]:
    with running_emulator(enter=box.enter_network) as running:
        yield running


@pytest.fixture
def installed(box: Box, package: Path) -> Box:
    """Install the package, which isn't configured."""
    if box.outside(CONFIG).exists():
        apt(box, PURGE)
    return having(box, package)


@pytest.fixture
def machine(box: Box, emulator: RunningEmulator, package: Path) -> Machine:
    """Install and configure it, as docs/install.md says."""
    if not having(box, package).outside(CONFIG).exists():
        answers = answers_of_init(emulator.url, f"{emulator.url}/api")
        box.run("openfit-tokend", "init", "--yes", *answers, stdin=PASSWORD)
    for command in (ENABLE, LET_IN):
        box.run("sh", "-c", command)
    return Machine(box, emulator)


def having(box: Box, package: Path) -> Box:
    """Install the package, unless this version is installed."""
    there = box.run("sh", "-c", INSTALLED, check=False).stdout
    if there != f"ii {package.name.split('_')[1]}":
        add = ADD.replace("./dist/openfit-tokend_*.deb", f"/srv/{package.name}")
        apt(box, f"{add} --allow-downgrades")
    return box


def apt(box: Box, command: str) -> None:
    """Have apt do something, and not ask."""
    box.run("sh", "-c", f"DEBIAN_FRONTEND=noninteractive {command} --yes")


def ours(box: Box) -> set[str]:
    """Return all paths in which it is named."""
    return {*box.run("sh", "-c", OURS).stdout.splitlines()}


def administrators(box: Box) -> set[str]:
    """Return those of them that aren't the package's own, nor dpkg's."""
    return {path for path in ours(box) if path.startswith(("/etc/", "/run/", "/var/lib/openfit"))}


def programs(box: Box) -> list[str]:
    """Return the directories of the versions that are kept to be run."""
    return box.run("sh", "-c", f"ls -d {PROGRAM}/run-*").stdout.split()


def test_lintian_has_nothing_to_complain_of(package: Path) -> None:
    ended = run("lintian", "--allow-root", "--fail-on=error,warning", package)

    assert (ended.returncode, ended.stdout) == (0, "")


def test_it_is_built_as_the_document_says() -> None:
    assert BUILD == ".ci/build-deb"


def test_each_link_of_its_documents_leads_to_a_file_in_it(package: Path, tmp_path: Path) -> None:
    run("dpkg-deb", "--extract", package, tmp_path)
    documents = [*(tmp_path / "usr/share/doc").rglob("*.md")]

    missing = {
        f"{document.name}: {link}"
        for document in documents
        for link in LINK.findall(document.read_text())
        if not (document.parent / link).exists()
    }

    assert len(documents) > len([*(ROOT / "docs").glob("*.md")])
    assert missing == set()


def test_its_files_are_the_same_whenever_the_sources_were_written(
    package: Path,
) -> None:
    listing = run("dpkg-deb", "--contents", package, TZ="UTC").stdout.splitlines()

    released = run("dpkg-parsechangelog", "--show-field=Timestamp", directory=ROOT).stdout
    date = run("date", "--utc", f"--date=@{released.strip()}", "+%F %R").stdout.strip()
    assert {" ".join(line.split()[3:5]) for line in listing} == {date}


def test_its_version_is_the_programs() -> None:
    first = (ROOT / "debian/changelog").read_text().partition("\n")[0]

    assert first.startswith(f"openfit-tokend ({__version__}-")


def test_an_install_starts_and_enables_nothing(installed: Box) -> None:
    for unit in (UNIT, "openfit-tokend.socket", "openfit-tokend-credential.socket"):
        assert installed.property(unit, "ActiveState") == "inactive"
        assert installed.property(unit, "UnitFileState") == "disabled"
    ended = installed.run("openfit-token", "get", check=False)
    assert (ended.returncode, ended.stdout) == (NO_DAEMON, "")


@pytest.mark.parametrize("suite", SUITES)
def test_it_installs_together_with_a_python_that_was_not_there(
    suite: str, package: Path, tmp_path: Path
) -> None:
    """Python's own installation calls what the package has for a new Python, before that is complete."""
    with debian.booted(suite, tmp_path, package) as box:
        assert not box.outside("/usr/bin/python3").exists()

        having(box, package)

        assert box.run("dpkg", "--audit").stdout == ""
        assert box.run("openfit-tokend", "--version").stdout == f"openfit-tokend {__version__}\n"


def test_all_that_the_daemon_can_do_is_there_compiled_for_this_python(installed: Box) -> None:
    found = installed.run(
        PYTHON, "-I", "-W", "error", "-c", f"{IMPORT_ALL}{COMPILED}"
    ).stdout.split()

    assert found == ["pytest", "requests", "msgpack._cmsgpack", "python"]
    for name in ("openfit-token", "openfit-tokend"):
        assert installed.run(name, "--version").stdout == f"{name} {__version__}\n"


def test_no_variable_of_the_callers_changes_which_modules_a_command_loads(installed: Box) -> None:
    installed.run("sh", "-c", "echo 'raise SystemExit(1)' > /tmp/msgpack.py")

    installed.run("env", "PYTHONPATH=/tmp", "openfit-tokend", "--version")
    ended = installed.run("env", "PYTHONPATH=/tmp", "openfit-token", "get", check=False)

    assert ended.returncode == NO_DAEMON


def test_another_python_gets_its_bytecode(installed: Box) -> None:
    """Without it every command would start slowly, for ever: users can't write it there."""
    installed.run("sh", "-c", f"find {PROGRAM}/current/ -name '*.pyc' -delete")

    installed.run("/usr/share/python3/runtime.d/openfit-tokend.rtupdate", "rtupdate", "a", "b")

    count = f"find {PROGRAM}/current/ -name '*.%s' -path '*/openfit_token/*' | wc -l"
    assert (
        installed.run("sh", "-c", count % "pyc").stdout
        == installed.run("sh", "-c", count % "py").stdout
        != "0\n"
    )


def test_completions_are_those_that_the_commands_print(installed: Box) -> None:
    for name in ("openfit-token", "openfit-tokend"):
        for shell, path in (
            ("bash", f"/usr/share/bash-completion/completions/{name}"),
            ("zsh", f"/usr/share/zsh/vendor-completions/_{name}"),
            ("fish", f"/usr/share/fish/vendor_completions.d/{name}.fish"),
        ):
            printed = installed.run(name, "completion", shell).stdout
            assert installed.outside(path).read_text() == printed != ""


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_the_programs_own_installation_leaves_the_packages_alone(
    installed: Box, command: str
) -> None:
    before = ours(installed)

    ended = installed.run("openfit-tokend", command, check=False)

    assert (ended.returncode, ended.stdout) == (SYSTEM, "")
    assert "this program is a Debian package" in ended.stderr
    assert ours(installed) == before


def test_a_user_gets_a_token_after_what_the_document_says(machine: Machine) -> None:
    got = machine.box.run("openfit-token", "get", user="alice")

    assert got.stdout == f"{machine.token()}\n"
    assert "[FAIL]" not in machine.box.run("openfit-tokend", "check", "--network").stdout


def test_a_fleets_packages_work_within_what_the_unit_allows(machine: Machine) -> None:
    """psycopg's own Python, and Debian's libpq: elsewhere the tests have a compiled one."""
    code = "import psycopg.pq as p, cryptography.hazmat.primitives.ciphers.aead as a; "
    code += "p.PGconn.connect(b'host=/none'); print('libpq', p.__impl__, a.AESGCM)"
    try:
        machine.drop_in(f'[Service]\nExecStartPre={PYTHON} -I -c "{code}"\n')

        assert "libpq python" in machine.box.journal("-u", UNIT)
    finally:
        machine.remove_drop_in()
        machine.box.outside(DROP_IN).parent.rmdir()


def test_the_unit_passes_the_fleets_secrets_that_the_document_names(machine: Machine) -> None:
    settings = re.findall(r"\w+_credential = \"\w+\"", (ROOT / "docs/fleet.md").read_text())
    valid = machine.config.read_text()
    machine.write_secret("fleet_key", machine.box.run("openfit-tokend", "fleet-key").stdout)
    machine.write_secret("fleet_store", PASSWORD)
    fleet = ["[fleet]", 'store = "etcd+http://openfit@localhost"', *settings]
    try:
        machine.write_config("\n".join([valid, *fleet, ""]))

        said = machine.box.run("openfit-tokend", "check").stdout

        assert len(settings) == 2
        assert "has 1 key" in said
    finally:
        machine.write_config(valid)
        machine.remove_profiles_but("main")


def test_an_upgrade_keeps_the_session_and_fails_no_call(machine: Machine) -> None:
    """Nor between unpacking and configuring: with many packages apt takes its time for that."""
    box, token, logins = machine.box, machine.token(), machine.emulator.state().login_requests
    old, before, began = machine.pid, programs(box), clock.boot()
    box.run("systemd-run", "--quiet", "--unit=watcher", "openfit-token", "watch")
    try:
        with machine.asking() as asked, getting(box, "openfit-token") as failures:
            box.run("sh", "-c", UPGRADE.replace("--install", "--unpack"))
            asked.await_an_answer_each()
            said = box.run("openfit-token", "--version").stdout
            assert (machine.pid, said) == (old, f"openfit-token {__version__}\n")
            box.run("dpkg", "--configure", "openfit-tokend")

        assert (asked.library_failures, asked.script_failures, failures) == ([], [], [])
        assert sum(asked.answers) > CALLS * (clock.boot() - began)
        assert asked.tokens == {token}
        assert machine.emulator.state().login_requests == logins
        assert machine.call("hello")["version"] == debian.NEWER
        assert {*before} < {*programs(box)}, "the watcher still runs it"
    finally:
        box.run("systemctl", "stop", "watcher")


def test_a_script_on_the_packages_python_stays_with_its_version_over_an_upgrade(
    machine: Machine, package: Path
) -> None:
    """What it loads later has another name in the newer version."""
    code = "import openfit_token; open('/run/begun', 'w').close(); open('/run/go').read(); "
    code += "openfit_token.AsyncTokenClient"
    machine.box.run("mkfifo", "/run/begun", "/run/go")
    script = machine.box.start("openfit-python", "-c", code)
    try:
        machine.box.run("cat", "/run/begun")

        machine.box.run("sh", "-c", UPGRADE)

        machine.box.run("sh", "-c", "echo > /run/go")
        assert script.wait(PATIENCE) == 0
    finally:
        script.kill()
        machine.box.run("rm", "/run/begun", "/run/go")
        having(machine.box, package)


def test_an_upgrade_starts_nothing_that_was_stopped_and_leaves_one_version(
    machine: Machine,
) -> None:
    before = programs(machine.box)
    machine.box.run("systemctl", "stop", "openfit-tokend.socket", UNIT)

    machine.box.run("sh", "-c", UPGRADE)

    assert machine.box.property(UNIT, "ActiveState") == "inactive"
    assert machine.box.property("openfit-tokend.socket", "ActiveState") == "inactive"
    (now,) = programs(machine.box)
    assert before != [now]


def test_an_upgrade_leaves_a_service_running_whose_next_daemon_would_not_start(
    machine: Machine, package: Path
) -> None:
    box, pid, token = machine.box, machine.pid, machine.token()
    valid = machine.config.read_text()
    machine.write_config("[profiles.main]\n")
    try:
        said = box.run("sh", "-c", UPGRADE).stderr

        assert "client_id: is missing" in said
        assert "not restarted" in said
        assert box.run("dpkg", "--audit").stdout == ""
        assert (machine.pid, machine.token()) == (pid, token)
    finally:
        machine.write_config(valid)

    box.run("openfit-tokend", "restart")

    assert machine.pid != pid
    assert machine.token() == token
    assert machine.call("hello")["version"] == debian.NEWER
    having(box, package)


@pytest.mark.parametrize(
    ("trace", "begin", "end"),
    [
        (
            "/usr/local/bin/openfit-tokend",
            "ln -s /bin/true /usr/local/bin/openfit-tokend",
            "rm /usr/local/bin/openfit-tokend",
        ),
        (
            "/etc/systemd/system/openfit-token-hub.service",
            "cp /srv/hub.service /etc/systemd/system/openfit-token-hub.service",
            "rm /etc/systemd/system/openfit-token-hub.service",
        ),
        (
            "/run/openfit-tokend/socket",
            "systemd-run --unit=other --socket-property=ListenStream=/run/openfit-tokend/socket true",
            "systemctl stop other.socket",
        ),
    ],
    ids=["program", "unit", "socket"],
)
def test_purge_leaves_what_another_installation_uses_and_says_so(
    machine: Machine, package: Path, trace: str, begin: str, end: str
) -> None:
    """The package was removed long ago."""
    box = machine.box
    shutil.copy(ROOT / "docs/hub/openfit-token-hub.service", box.outside("/srv/hub.service"))
    apt(box, REMOVE)
    box.run("sh", "-c", begin)
    kept = administrators(box)
    try:
        said = box.run("dpkg", "--purge", "openfit-tokend").stderr

        assert f"which another installation uses: {trace}\n" in said
        assert administrators(box) == kept
        assert CONFIG in kept
    finally:
        box.run("sh", "-c", end)
        having(box, package)


def test_remove_keeps_what_is_the_administrators_and_purge_leaves_nothing(
    machine: Machine, package: Path
) -> None:
    box = machine.box

    apt(box, REMOVE)

    kept = ours(box)
    written = ("config.toml", "conf.d/main.toml", "credentials/main")
    assert {f"/etc/openfit-tokend/{name}" for name in written} < kept
    assert "/var/lib/openfit-tokend/ledger.json" in kept
    assert [path for path in kept if path.startswith(("/usr", "/run/openfit-tokend/"))] == []
    assert box.run("pgrep", "-u", "openfit-tokend", check=False).returncode == 1

    box.run("dpkg", "--install", f"/srv/{package.name}")
    box.run("systemctl", "start", "openfit-tokend.socket", UNIT)
    assert machine.token()

    apt(box, PURGE)

    assert ours(box) == set()
    assert "0 unit files" in box.run("systemctl", "list-unit-files", "openfit*", check=False).stdout
