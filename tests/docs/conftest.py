"""A daemon that holds a token, for what is only true of a running one."""

from collections.abc import Iterator

import pytest

from daemons import RunningDaemon, profile, running_daemon
from emulators import running_emulator


@pytest.fixture(scope="session")
def daemon() -> Iterator[RunningDaemon]:
    with running_emulator() as emulator, running_daemon(profile(emulator.url)) as daemon:
        daemon.await_state("fresh")
        yield daemon
