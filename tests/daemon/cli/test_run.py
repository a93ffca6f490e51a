"""`openfit-tokend run`: what it says of a configuration with which it can't start."""

import json
from pathlib import Path

import pytest

from daemons import RunningDaemon, prepared_daemon, profile

FAULTY = profile("https://127.0.0.1:9", environment='"prod"')


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


def test_it_is_lines_for_people_otherwise() -> None:
    with prepared_daemon(FAULTY) as daemon:
        status, told = run(daemon, daemon.config, "text")

    assert status == 78
    assert told.startswith(f"openfit-tokend: {daemon.config}:2: profiles.main.environment: must be")
