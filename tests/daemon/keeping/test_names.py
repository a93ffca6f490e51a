"""Names that can't be looked up hold up those alone who need them. The name server is one that never answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import RunningDaemon, prepared_daemon, profile
from emulators import RunningEmulator
from name_server import needs_another_name_server, silent_name_server

SILENT = tuple(f"silent-{number}" for number in range(12))

pytestmark = needs_another_name_server


@pytest.fixture
def daemon(tmp_path: Path, emulator: RunningEmulator) -> Iterator[RunningDaemon]:
    """A daemon with twelve profiles that hang, and at last one that is well."""
    hanging = [profile(f"https://{name}.example", name) for name in SILENT]
    well = profile(emulator.url.replace("127.0.0.1", "localhost"), "well")
    with (
        silent_name_server(tmp_path) as launcher,
        prepared_daemon(*hanging, well) as daemon,
    ):
        daemon.launcher = launcher
        daemon.start()
        yield daemon


def test_a_dozen_names_that_hang_keep_another_profile_waiting_for_a_moment_only(
    daemon: RunningDaemon,
) -> None:
    assert daemon.call("get_token", profile="well", wait=8)["profile"] == "well"

    for name in SILENT:
        assert daemon.profile_status(name)["state"] in {"logging_in", "down"}


def test_a_name_that_hangs_is_given_up_in_time_and_costs_no_login(daemon: RunningDaemon) -> None:
    line = daemon.await_log("login_failed", f"profile={SILENT[0]}")

    assert "no connection within 10 s" in line
    assert daemon.profile_status(SILENT[0])["logins_left"] == 3
    assert daemon.stop() == 0
