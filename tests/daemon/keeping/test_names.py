"""Names that can't be looked up hold up those alone who need them. The name server is one that never answers."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import RunningDaemon, prepared_daemon, profile
from emulators import RunningEmulator

ADDRESS = "127.0.0.77"
WITH_RESOLV_CONF = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
SILENT = tuple(f"silent-{number}" for number in range(12))

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="needs root: to name another name server",
)


@pytest.fixture
def daemon(tmp_path: Path, emulator: RunningEmulator) -> Iterator[RunningDaemon]:
    """A daemon with twelve profiles that hang, and at last one that is well."""
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text(f"nameserver {ADDRESS}\noptions timeout:30 attempts:5\n")
    hanging = [profile(f"https://{name}.example", name) for name in SILENT]
    well = profile(emulator.url.replace("127.0.0.1", "localhost"), "well")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as name_server,
        prepared_daemon(*hanging, well) as daemon,
    ):
        name_server.bind((ADDRESS, 53))
        daemon.launcher = (
            *("unshare", "--mount", "--propagation=private"),
            *("sh", "-c", WITH_RESOLV_CONF, str(resolv_conf)),
        )
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
