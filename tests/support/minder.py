"""Ends what a test run leaves running when it is killed.

with minded():
    ... whatever is started here, and by that, ends with this process at the latest ...

A process of its own waits for the end of this one. It knows the others by a variable of their environment, or by
what started them.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

_NAME: Final = "OPENFIT_TEST_RUN"
_ROUNDS: Final = 3


@contextmanager
def minded() -> Generator[None]:
    """Let all that is started meanwhile end with the block, or with this process."""
    run = token_hex(8)
    words = [sys.executable, "-I", __file__, f"{_NAME}={run}"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True) as minder:
        os.environ[_NAME] = run
        yield
        del os.environ[_NAME]
        minder.communicate()


def _of_run(mark: bytes) -> set[int]:
    """Return the processes that have this in their environment, and those that they started."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            with suppress(OSError):  # it ended, or isn't ours
                pid, status = int(directory.name), (directory / "stat").read_text()
                parents[pid] = int(status.rpartition(")")[2].split()[1])
                if mark in (directory / "environ").read_bytes().split(b"\0"):
                    found.add(pid)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


if __name__ == "__main__":
    sys.stdin.read()
    for _ in range(_ROUNDS):  # what is killed may have started something just before
        for each in _of_run(os.fsencode(sys.argv[1])):
            with suppress(OSError):  # it ended
                os.kill(each, signal.SIGKILL)
