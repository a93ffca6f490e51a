"""A real daemon and a real token server for a measurement."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from openfit_token import TokenClient, TokenError

_CONFIG = """\
[profiles.main]
environment = "custom"
id_server = "{url}"
api_url = "{url}/api"
client_id = "openfit-emulator"
username = "demo@example.org"
password_command = ["echo", "emulated"]
"""


@contextmanager
def running(*command: str, **environment: str) -> Generator[subprocess.Popen[str]]:
    """Run a program of ours until the block ends."""
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def daemon() -> Generator[tuple[Path, int]]:
    """Give the socket and the pid of a daemon that holds a token for an hour."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        emulator = stack.enter_context(
            running("-m", "openfit_tokend", "emulator", "--port", "0", "--token-lifetime", "3600")
        )
        assert emulator.stdout is not None
        url = emulator.stdout.readline().split()[4].rstrip(".")
        config, socket = directory / "config.toml", directory / "socket"
        config.write_text(_CONFIG.format(url=url))
        arguments = ("run", "--config", str(config), "--socket", str(socket))
        served = stack.enter_context(
            running("-m", "openfit_tokend", *arguments, STATE_DIRECTORY=str(directory))
        )
        _wait_for_token(socket)
        yield socket, served.pid


def _wait_for_token(socket: Path) -> None:
    ends = time.monotonic() + 20
    while True:
        try:
            with TokenClient(socket=str(socket)) as client:
                client.get_token()
        except TokenError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.05)
        else:
            return


def cpu(pid: int) -> float:
    """Give the CPU seconds a process has used (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)
