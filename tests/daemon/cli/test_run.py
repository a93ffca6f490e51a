"""`openfit-tokend run`: what it says of a configuration with which it can't start."""

import json
from pathlib import Path

import pytest

from daemons import RunningDaemon, prepared_daemon, profile

FAULTY = profile("https://127.0.0.1:9", environment='"prod"')


@pytest.fixture
def ascii_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands be started in a locale whose paths have no character beyond ASCII."""
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)


def run(daemon: RunningDaemon, config: Path, form: str) -> tuple[int, str]:
    own = ("--config", str(config), "--socket", str(daemon.socket))
    done = daemon.run("openfit-tokend", "run", *own, "--log-format", form)
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", ["none.toml", "config.toml"])
def test_a_configuration_that_is_rejected_is_an_event_where_json_is_wanted(name: str) -> None:
    with prepared_daemon(FAULTY) as daemon:
        config = daemon.directory / name
        status, told = run(daemon, config, "json")

        (line,) = told.splitlines()
        event = json.loads(line)
        assert (status, event["event"], event["level"]) == (78, "config_rejected", "error")
        assert event["faults"].startswith(f"{config}:")


@pytest.mark.parametrize(
    ("command", "line", "key"),
    [
        ("run", 'socket = "/tmp/€/s"', "socket"),
        ("check", 'http_socket = "/tmp/€"', "http_socket"),
        ("run", 'include = "€/*.toml"', "include"),
        ("check", 'socket_group = "€"', "socket_group"),
        ("run", '[profiles.a]\nallow_users = ["€"]', "profiles.a.allow_users"),
        ("check", '[profiles.a]\npassword_file = "€"', "profiles.a.password_file"),
        ("run", '[profiles.a]\nnotify_command = ["/bin/true", "€"]', "profiles.a.notify_command"),
    ],
)
@pytest.mark.usefixtures("ascii_locale")
def test_a_path_that_the_locale_cannot_name_is_a_fault(command: str, line: str, key: str) -> None:
    with prepared_daemon(line) as daemon:
        done = daemon.run("openfit-tokend", command, "--config", str(daemon.config))

    where = f"{daemon.config}:{line.count(chr(10)) + 1}: {key}: has a character"
    assert (done.returncode, done.stdout) == (78, "")
    assert (
        f"{where} that this locale (ascii) lacks: start it with one of UTF-8,"
        " such as LC_ALL=C.UTF-8\n"
    ) in done.stderr


@pytest.mark.usefixtures("ascii_locale")
def test_a_name_that_only_the_server_gets_may_have_any_character() -> None:
    with prepared_daemon(profile("https://127.0.0.1:9", username='"€"')) as daemon:
        own = ("--config", str(daemon.config), "--socket", str(daemon.socket))
        done = daemon.run("openfit-tokend", "check", *own)

    assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_lines_for_people_otherwise() -> None:
    with prepared_daemon(FAULTY) as daemon:
        status, told = run(daemon, daemon.config, "text")

    assert status == 78
    assert told.startswith(f"openfit-tokend: {daemon.config}:2: profiles.main.environment: must be")
