"""What a daemon takes: with one profile, on each Python that is supported, and at odd answers."""

import re
import sys
from pathlib import Path

import pytest

from daemons import prepared_daemon, profile
from failures import Scene, scenes

pytestmark = pytest.mark.system

MOST = {(3, 11): 38, (3, 12): 39, (3, 13): 41, (3, 14): 46, (3, 15): 47}
"""MB by Python, one or two above what was measured: docs/performance.md says why 3.14 and 3.15 take more."""
MORE = 22
"""MB more that it may have used for a moment: the longest answers and the deepest, with trio loaded."""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_daemon_with_one_profile_stays_within_what_its_python_needs(scheme: str) -> None:
    """As installed: httpcore loads trio, which is here for the tests alone."""
    with prepared_daemon(profile(f"{scheme}://127.0.0.1:9")) as daemon:
        daemon.start(without=("trio",))
        daemon.await_log("login_failed")  # so that what a request needs is loaded

        assert daemon.memory() < MOST[sys.version_info[:2]] * 1_000_000


def test_answers_of_any_length_and_depth_leave_the_daemon_small_all_the_time() -> None:
    odd = {each: Scene((f"rubbish={each}@login:1",)) for each in ("huge", "nested")}
    with scenes(**odd) as stage:
        for scene in stage.values():
            scene.token()
        status = Path(f"/proc/{stage['huge'].daemon.pid}/status").read_text()

    (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert int(peak) * 1024 < (MOST[sys.version_info[:2]] + MORE) * 1_000_000
