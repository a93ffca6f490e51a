"""What a daemon with one profile takes, on each Python that is supported."""

import sys

import pytest

from daemons import prepared_daemon, profile

pytestmark = pytest.mark.system

MOST = {(3, 11): 38, (3, 12): 39, (3, 13): 41, (3, 14): 46, (3, 15): 47}
"""MB by Python, one or two above what was measured: docs/performance.md says why 3.14 and 3.15 take more."""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_daemon_with_one_profile_stays_within_what_its_python_needs(scheme: str) -> None:
    """As installed: httpcore loads trio, which is here for the tests alone."""
    with prepared_daemon(profile(f"{scheme}://127.0.0.1:9")) as daemon:
        daemon.start(without=("trio",))
        daemon.await_log("login_failed")  # so that what a request needs is loaded

        assert daemon.memory() < MOST[sys.version_info[:2]] * 1_000_000
