"""`openfit-tokend init`, as a person or a script uses it."""

import json
import os
import sys
from pathlib import Path

import pytest

import forked
from daemons import RunningDaemon, await_that, needs_root, prepared_daemon, profile
from emulators import CLIENT_ID, PASSWORD, USERNAME, RunningEmulator, one_emulator, running_emulator
from openfit_tokend.config import config_file
from openfit_tokend.core.budget import WINDOW
from processes import Completed, run
from terminals import Terminal

pytestmark = [pytest.mark.system, pytest.mark.slow]

USAGE = 64
REJECTED = 77
CONFIG_REJECTED = 78
INTERRUPTED = 130

emulator = pytest.fixture(one_emulator, scope="module")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return where the configuration will be: in a directory that isn't there yet."""
    return tmp_path / "config" / "config.toml"


def environment(place: Path) -> dict[str, str]:
    without = ("CREDENTIALS_DIRECTORY", "CONFIGURATION_DIRECTORY")
    kept = {name: value for name, value in os.environ.items() if name not in without}
    return kept | {
        "HOME": str(place.parent.parent),
        "OPENFIT_TOKEND_CONFIG": str(place),
        "STATE_DIRECTORY": str(place.parent.parent / "state"),
        "XDG_CONFIG_HOME": str(place.parent.parent / ".config"),
        "XDG_RUNTIME_DIR": str(place.parent.parent),
    }


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "openfit_tokend", "init", *options]


def answers(emulator: RunningEmulator) -> list[str]:
    """Return the options that leave nothing to be asked but the password."""
    return [
        "--environment", "custom", "--id-server", emulator.url, "--api-url", emulator.url,
        "--client-id", CLIENT_ID, "--username", USERNAME,
    ]  # fmt: skip


def init(place: Path, *options: str, stdin: str = PASSWORD) -> Completed:
    """Run it as a script does: with nobody to be asked."""
    words = ["openfit-tokend", "init", *options, "--password-file", "-"]
    return forked.run(words, environment(place), stdin)


def at_terminal(place: Path, *options: str) -> Terminal:
    """Run it as a person does."""
    return Terminal(command(*options), environment(place))


def own(place: Path, suffix: str = "toml") -> Path:
    """Return the file of the profile `main`, or that of its password."""
    return place.parent / "conf.d" / f"main.{suffix}"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_person_is_asked_for_what_is_needed_and_one_login_is_tried(
    emulator: RunningEmulator, place: Path
) -> None:
    logins = emulator.state().login_requests
    terminal = at_terminal(place)

    terminal.answer("environment (production, test or custom) [production]: ", "customs\n")
    terminal.answer("it must be production, test or custom", "")
    terminal.answer("environment (production, test or custom) [production]: ", "custom\n")
    terminal.answer("id_server", f"{emulator.url}\n")
    terminal.answer("api_url", f"{emulator.url}\n")
    terminal.answer("client_id", f"{CLIENT_ID}\n")
    terminal.answer("username", f"{USERNAME}\n")
    terminal.answer(f"password of {USERNAME} (hidden): ", f"{PASSWORD}\n")

    assert terminal.end() == 0
    assert PASSWORD not in terminal.shown
    assert "[\x1b[32m OK \x1b[0m] main: login" in terminal.shown
    assert emulator.state().login_requests == logins + 1
    assert own(place, "password").read_text() == f"{PASSWORD}\n"
    assert {mode(each) for each in (place, own(place), own(place, "password"))} == {0o600}


def test_a_profile_of_another_server_may_have_no_password_and_stays_so(place: Path) -> None:
    words = ("--environment", "custom", "--api-url", "https://api.example", "--client-id", "c")
    others = (
        "--token-url",
        "https://login.example/oauth/token",
        "--username",
        "u",
        "--no-password",
    )

    first = run(*command("--yes", *words, *others), inherited=environment(place))
    assert (first.returncode, "openfit-token login --refresh-token" in first.stdout) == (0, True)
    again = init(place, "--yes", "--replace", "--client-id", "d", "--no-login")
    assert again.returncode == 0, again.stderr

    main = config_file.load(place).profiles["main"]
    assert main.identity.token_url == "https://login.example/oauth/token"
    assert (main.identity.client_id, main.password is not None) == ("d", True)


def test_a_person_who_leaves_leaves_nothing(emulator: RunningEmulator, place: Path) -> None:
    terminal = at_terminal(place, *answers(emulator))

    terminal.answer("(hidden): ", "\x03")  # Ctrl-C

    assert terminal.end() == INTERRUPTED
    assert terminal.shown.endswith("\r\n"), "the shell's prompt begins a line"
    assert not place.parent.exists()


def test_who_mistypes_the_password_is_asked_again_until_the_last_login_is_spent(
    place: Path,
) -> None:
    """The same one again costs nothing, and before the last it is said what that costs."""
    with running_emulator() as emulator, at_terminal(place, *answers(emulator)) as terminal:
        for password in ("wrong", "wrong", "also wrong", "wrong too"):
            terminal.answer("(hidden): ", f"{password}\n")
        status = terminal.end()
        said = " ".join(terminal.shown.split())
        prompts = said.split("(hidden): ")

        assert status == REJECTED
        assert ["no login is sent for 15 minutes" in each for each in prompts] == [
            *(False, False, False, True, False)
        ]
        assert [each.count("fix: ") for each in prompts] == [0, 0, 1, 0, 0], "it isn't sent again"
        assert "to correct it: openfit-tokend init --replace" in prompts[-1]
        assert emulator.state().login_requests == 3


def test_who_types_it_right_the_second_time_goes_on(emulator: RunningEmulator, place: Path) -> None:
    terminal = at_terminal(place, *answers(emulator))
    terminal.answer("(hidden): ", "wrong\n")
    terminal.answer("(hidden): ", f"{PASSWORD}\n")

    assert terminal.end() == 0
    assert own(place, "password").read_text() == f"{PASSWORD}\n"
    assert "\r\n  openfit-token get\r\n" in terminal.shown


def test_an_existing_profile_is_replaced_for_a_person_who_says_yes_alone(
    emulator: RunningEmulator, place: Path
) -> None:
    init(place, "--no-login", *answers(emulator))
    before = own(place).read_bytes()
    terminal = at_terminal(place, *answers(emulator), "--no-login")
    terminal.answer("Replace it? [y/N] ", "\n")
    assert terminal.end() == USAGE
    assert own(place).read_bytes() == before

    terminal = at_terminal(place, *answers(emulator), "--username", "another", "--no-login")
    terminal.answer("Replace it? [y/N] ", "y\n")
    terminal.answer("(hidden): ", "another\n")

    assert terminal.end() == 0
    assert config_file.load(place).profiles["main"].identity.username == "another"
    assert own(place, "password").read_text() == "another\n"


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_a_script_gives_all_and_the_umask_changes_nothing(
    emulator: RunningEmulator, place: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        done = init(place, "--yes", *answers(emulator))
    finally:
        os.umask(before)

    assert (done.returncode, done.stderr) == (0, "")
    assert {mode(place.parent), mode(own(place).parent)} == {0o700}
    files = (own(place, "password"), own(place), place)
    assert {mode(each) for each in files} == {0o600}
    assert done.stdout.splitlines()[:3] == [f"created        {each}" for each in files]


def test_what_a_script_leaves_out_is_named_and_nothing_is_written(place: Path) -> None:
    done = init(place, "--yes", "--client-id", CLIENT_ID)

    assert done.returncode == USAGE
    assert "--username is missing" in done.stderr
    assert not place.parent.exists()


@pytest.mark.parametrize(
    ("options", "stdin", "said"),
    [
        (["--client-id", " c "], "p", "--client-id: must not begin or end with a blank"),
        (["--environment", "prod"], "p", "--environment: must be production, test or custom"),
        (["--profile", "a b"], "p", "--profile: a profile's name consists of"),
        ([], "", "the password on standard input: is empty"),
        ([], "p" * 101, "longer than 100 characters"),
    ],
)
def test_what_could_not_work_is_refused_before_anything_is_written_or_sent(
    emulator: RunningEmulator, place: Path, options: list[str], stdin: str, said: str
) -> None:
    requests = emulator.state().token_requests

    done = init(place, *answers(emulator), *options, stdin=stdin)

    assert (done.returncode, said in done.stderr) == (USAGE, True), done.stderr
    assert not place.parent.exists()
    assert emulator.state().token_requests == requests


def test_a_password_is_never_taken_from_the_command_line(place: Path) -> None:
    done = init(place, "--password", "secret")

    assert done.returncode == USAGE
    assert "unrecognized arguments" in done.stderr


def test_a_rejected_password_is_said_and_sent_once_also_by_a_second_try(place: Path) -> None:
    with running_emulator() as emulator:
        first = init(place, *answers(emulator), stdin="wrong")
        again = init(place, *answers(emulator), "--replace", stdin="wrong")

        assert (first.returncode, again.returncode) == (REJECTED, REJECTED)
        assert "rejected user name or password" in first.stdout
        assert "openfit-tokend init --replace" in first.stderr
        assert "is not sent again" in again.stdout
        assert emulator.state().login_requests == 1

        assert init(place, *answers(emulator), "--replace").returncode == 0


def reject_three(place: Path, emulator: RunningEmulator) -> None:
    """Have three wrong passwords rejected, as one who mistypes does."""
    for number in range(3):
        done = init(place, *answers(emulator), "--replace", stdin=f"wrong {number}")
        assert done.returncode == REJECTED


def test_the_right_password_after_too_many_wrong_ones_is_stored_and_the_daemon_logs_in_by_itself(
    place: Path,
) -> None:
    with running_emulator() as emulator:
        reject_three(place, emulator)

        done = init(place, *answers(emulator), "--replace")

        assert (done.returncode, done.stderr) == (0, "")
        assert "stored; the daemon will log in by itself in 15 min" in done.stdout
        assert "  openfit-tokend run " in done.stdout
        assert emulator.state().login_requests == 3

        let_a_window_pass(place.parent.parent / "state" / "ledger.json")
        with prepared_daemon() as daemon:
            daemon.config, daemon.state = place, place.parent.parent / "state" / "ledger.json"
            daemon.start()
            daemon.await_state("fresh")


def let_a_window_pass(ledger: Path) -> None:
    """Have all that a ledger says be a quarter of an hour older."""
    state = json.loads(ledger.read_text())
    (account,) = state["accounts"]
    account["entries"] = [[at - WINDOW, clear] for at, clear in account["entries"]]
    account["announced"] -= WINDOW
    account["refused_sent"] -= WINDOW
    ledger.write_text(json.dumps(state))


def test_a_password_that_was_rejected_before_is_kept_for_who_is_sure_of_it(place: Path) -> None:
    """The account may have been locked, and rejected the right one."""
    with running_emulator() as emulator:
        init(place, *answers(emulator), stdin="wrong")

        again = init(place, *answers(emulator), "--replace", stdin="wrong")

        assert again.returncode == REJECTED
        assert "this password was rejected before" in again.stdout
        assert "start the daemon and run: openfit-token login --profile main" in again.stdout


def test_who_replaces_a_profile_is_offered_its_values_and_keeps_what_is_not_asked_for(
    emulator: RunningEmulator, place: Path
) -> None:
    init(place, "--no-login", *answers(emulator))
    own(place).write_text(
        own(place)
        .read_text()
        .replace(f'username = "{USERNAME}"', 'username = "another"\nallow_users = [\n  "root",\n]')
    )
    terminal = at_terminal(place, "--replace", "--no-login")

    terminal.answer("[custom]: ", "\n")
    terminal.answer(f"id_server (https://..., the token server) [{emulator.url}]: ", "\n")
    terminal.answer(f"[{emulator.url}]: ", "\n")
    terminal.answer(f"[{CLIENT_ID}]: ", "\n")
    terminal.answer("username (for the login) [another]: ", f"{USERNAME}\n")
    terminal.answer(f"password of {USERNAME} (hidden): ", "another\n")

    assert terminal.end() == 0
    found = config_file.load(place).profiles["main"]
    assert found.identity.username == USERNAME
    assert found.allow_users == ("root",)


def test_a_script_that_replaces_a_profile_gives_what_changes_alone(
    emulator: RunningEmulator, place: Path
) -> None:
    init(place, "--no-login", *answers(emulator), stdin="an old one")
    by_hand = f"{own(place).read_text()}# by hand\n"
    own(place).write_text(by_hand)

    done = init(place, "--replace", "--yes", "--no-login", stdin="a new one")

    assert (done.returncode, done.stderr) == (0, "")
    assert own(place).read_text() == by_hand
    assert own(place, "password").read_text() == "a new one\n"


def test_another_profile_is_added_and_only_its_login_is_tried(
    emulator: RunningEmulator, place: Path
) -> None:
    init(place, "--no-login", *answers(emulator), stdin="never sent")
    by_hand = f"# by hand\n{place.read_text()}"
    place.write_text(by_hand)
    place.chmod(0o640)
    requests = emulator.state().token_requests

    done = init(place, *answers(emulator), "--profile", "etl.x")

    assert done.returncode == 0
    assert "default_profile = main" in done.stdout, "it says what else it wrote"
    assert by_hand.strip() in place.read_text()
    assert {mode(place), mode(place.parent / "conf.d/etl.x.toml")} == {0o640}
    found = config_file.load(place)
    assert (set(found.profiles), found.default_profile) == ({"main", "etl.x"}, "main")
    assert emulator.state().token_requests == requests + 1


def test_a_faulty_configuration_is_left_and_its_fault_is_named(
    emulator: RunningEmulator, place: Path
) -> None:
    place.parent.mkdir()
    place.write_text("[profiles.main]\nenvironmen = 1\n")

    done = init(place, *answers(emulator), "--profile", "etl")

    assert done.returncode == CONFIG_REJECTED
    assert "environmen: unknown key" in done.stderr
    assert "fix it first" in done.stderr
    assert place.read_text() == "[profiles.main]\nenvironmen = 1\n"


@needs_root
def test_root_is_advised_to_install_the_systems_service(
    emulator: RunningEmulator, place: Path
) -> None:
    done = init(place, *answers(emulator), "--no-login")

    assert "(or openfit-tokend install, for a systemd service)" in done.stdout
    assert "export" not in done.stdout


def test_beside_a_running_daemon_no_login_is_spent(emulator: RunningEmulator) -> None:
    """It counts the logins; and it logs in by itself when it has read the new profile."""
    with prepared_daemon(profile(emulator.url)) as daemon:
        daemon.start()
        daemon.await_state("fresh")
        requests = emulator.state().token_requests

        done = init_beside(daemon, *answers(emulator), "--profile", "etl")

        assert done.returncode == 0
        assert "no login tried: a daemon uses this configuration" in done.stdout
        assert "  openfit-tokend reload\n  openfit-token login --profile etl  " in done.stdout
        assert emulator.state().token_requests == requests
        assert daemon.run("openfit-tokend", "reload").returncode == 0
        daemon.await_state("fresh", name="etl")


def test_a_configuration_has_one_ledger_however_its_path_is_spelled() -> None:
    with (
        running_emulator() as emulator,
        prepared_daemon(
            profile(emulator.url, api_url=f'"{emulator.url}"', password_file='"main.password"')
        ) as daemon,
    ):
        daemon.password = daemon.directory / "main.password"
        daemon.write_password("wrong")
        plain, link = daemon.config, daemon.directory / "link"
        link.symlink_to(daemon.directory)
        daemon.launcher = ("env", "STATE_DIRECTORY=")  # so each configuration has its own

        daemon.config = link / plain.name
        daemon.start()
        daemon.await_state("locked")
        tried = init_beside(daemon, *answers(emulator), "--replace", stdin="wrong")
        checked = beside(daemon, sys.executable, "-m", "openfit_tokend", "check", "--login")
        daemon.stop()
        for config in (plain, link / ".." / daemon.directory.name / plain.name):
            daemon.config = config
            daemon.start()
            daemon.await_state("locked")
            daemon.stop()

        assert "no login tried: a daemon uses this configuration" in tried.stdout
        assert "a daemon runs with this configuration" in checked.stdout
        assert emulator.state().login_requests == 1


def init_beside(daemon: RunningDaemon, *options: str, stdin: str = PASSWORD) -> Completed:
    return beside(daemon, *command(*options, "--password-file", "-"), stdin=stdin)


def beside(daemon: RunningDaemon, *line: str, stdin: str = "") -> Completed:
    """Run a command as this daemon's user would, with the same configuration."""
    variables = daemon.environment | {"OPENFIT_TOKEND_CONFIG": str(daemon.config)}
    return run(*daemon.launcher, *line, stdin=stdin, inherited=variables)


def test_a_stop_in_the_middle_of_the_login_leaves_both_files_whole(
    emulator: RunningEmulator, place: Path
) -> None:
    emulator.fault("hang=20@*")
    terminal = at_terminal(place, *answers(emulator))
    terminal.answer("(hidden): ", f"{PASSWORD}\n")
    await_that(place.exists)
    terminal.answer("main: secret", "\x03")  # Ctrl-C

    assert terminal.end() == INTERRUPTED
    emulator.clear_faults()
    assert config_file.load(place).profiles["main"].identity.username == USERNAME
    found = {each for each in place.parent.rglob("*") if each.is_file()}
    assert found == {place, own(place), own(place, "password")}
