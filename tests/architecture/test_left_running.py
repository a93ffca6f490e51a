"""A test run that is killed leaves none of the daemons running that it started."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from daemons import await_that, needs_root_to_look

SUPPORT = Path(__file__).parents[1] / "support"
KILLED = """
import os, select, signal, sys
sys.path.insert(0, sys.argv[1])
import forked
from daemons import prepared_daemon, profile
from minder import minded
with minded(), prepared_daemon(profile("http://127.0.0.1:9")) as daemon:
    daemon.is_forked = sys.argv[2] != "a program of its own"
    daemon.start()
    print(daemon.pid, flush=True)
    if sys.argv[2] == "with an answer unread":
        channel = forked._imported("")
        forked.socket.send_fds(channel, [b'{"ended": %d}' % daemon.pid], [])
        select.select([channel], [], [])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def has_ended(pid: str) -> bool:
    try:
        return Path("/proc", pid, "cmdline").read_bytes() == b""  # a zombie, for init
    except FileNotFoundError:
        return True


@pytest.mark.system
@pytest.mark.parametrize(
    "when",
    [
        "at rest",
        "with an answer unread",
        pytest.param("a program of its own", marks=needs_root_to_look),
    ],
)
def test_a_daemon_ends_with_the_tests_that_started_it(when: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, SUPPORT, when],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )

    assert ended.returncode == -signal.SIGKILL
    await_that(lambda: has_ended(ended.stdout.strip()))
