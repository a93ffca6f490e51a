"""A log that nobody reads: it holds up neither the daemon nor its end, and says what is missing."""

import fcntl
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from daemons import RunningDaemon, await_that, prepared_daemon, profile, request
from emulators import running_emulator
from openfit_tokend.host.log_output import MAX_BACKLOG, LineWriter

pytestmark = pytest.mark.system

PAGE = 4096
"""Bytes of the smallest pipe."""
TO_FIFO = ("/bin/sh", "-c", 'exec "$@" 2>"$0"')
CALLS = MAX_BACKLOG // 100
"""Each is logged, with more than a hundred bytes: more than find room."""


class Reader:
    """The reading end of a daemon's standard error."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, PAGE)
        self._read = b""

    def lines(self) -> list[str]:
        """Read what there is, and return all whole lines until now."""
        try:
            while data := os.read(self._descriptor, 65536):
                self._read += data
        except BlockingIOError:
            pass
        return self._read.decode().splitlines()

    def close(self) -> None:
        """Leave."""
        os.close(self._descriptor)


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    with running_emulator() as emulator, prepared_daemon(profile(emulator.url)) as daemon:
        yield daemon


def log_much(daemon: RunningDaemon) -> None:
    """Make CALLS that are logged, and await their answers."""
    with daemon.wire() as wire:
        for _ in range(CALLS // 50):
            wire.send(b"".join(request(each, "logout") for each in range(50)))
            wire.answers(50)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_pipe_that_nobody_reads_holds_up_nobody_and_what_was_lost_is_said_later(
    daemon: RunningDaemon, form: str
) -> None:
    with closing(Reader(daemon.directory / "fifo")) as reader:
        daemon.launcher = (*TO_FIFO, str(daemon.directory / "fifo"))
        daemon.start("--log-format", form)
        log_much(daemon)

        await_that(lambda: len(reader.lines()) > MAX_BACKLOG // 200)
        daemon.call("logout")
        await_that(lambda: "lost" in reader.lines()[-1])

        lines = reader.lines()
        assert daemon.stop() == 0
        assert "stopped" in reader.lines()[-1]
    lost = sum(int(number) for line in lines for number in re.findall(r"lost\W+(\d+)", line))
    assert lost > 0
    assert sum("logout" in line for line in lines) + lost == CALLS // 50 * 50 + 1
    assert form == "text" or all(json.loads(line)["event"] for line in lines)


def test_a_daemon_whose_log_nobody_reads_ends_all_the_same(daemon: RunningDaemon) -> None:
    with closing(Reader(daemon.directory / "fifo")):
        daemon.launcher = (*TO_FIFO, str(daemon.directory / "fifo"))
        daemon.start()
        log_much(daemon)

        assert daemon.stop() == 0


def test_the_last_lines_of_a_daemon_that_does_not_start_are_written(daemon: RunningDaemon) -> None:
    daemon.socket.parent.mkdir()
    daemon.socket.write_text("no socket")

    done = daemon.run("openfit-tokend", "run", "--config", str(daemon.config), "--socket", str(daemon.socket))  # fmt: skip

    assert done.returncode == 73
    assert "event=socket_unusable" in done.stderr.splitlines()[-1]


def test_lines_are_written_whole_and_in_order_also_where_another_set_the_pipe_not_to_block() -> (
    None
):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    lines = [b"%d %s\n" % (number, b"x" * 3 * PAGE) for number in range(20)]
    with ExitStack() as stack:
        writer = LineWriter(writing)
        stack.callback(writer.close)
        assert all(writer.put(line) for line in lines)
        stack.callback(os.close, writing)
        thread = threading.Thread(target=lambda: writer.flush(20))
        thread.start()
        read = b""
        while read.count(b"\n") < len(lines):
            read += os.read(reading, 65536)
        thread.join()
        os.close(reading)

    assert read == b"".join(lines)


def test_what_cannot_be_written_is_counted() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 -- a device
        writer = LineWriter(full.fileno())
        writer.put(b"first\n")
        writer.put(b"second\n")
        writer.flush(20)
        writer.close()

    assert writer.failed == 2
