"""What is measured, installed as a user would, and a token server for it."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.measure import Server
from openfit_token._shared.protocol import encode_request

READY: Final = 30.0
"""Seconds until a server that is started must have answered."""
_PROJECT: Final = Path(__file__).parents[1]
_PROFILE: Final = """\
[profiles.{name}]
environment = "custom"
id_server = "{url}"
api_url = "{url}/api"
client_id = "benchmark"
username = "{name}@example.org"
password_env = "BENCHMARK_PASSWORD"
"""


@dataclass(frozen=True)
class Bare:
    """A virtual environment with nothing but the wheel and what it needs."""

    bin: Path

    @property
    def python(self) -> str:
        """Return its interpreter."""
        return str(self.bin / "python")


def install(directory: Path) -> Bare:
    """Make a virtual environment and install the project there."""
    venv.create(directory, with_pip=True)
    bare = Bare(directory / "bin")
    words = [bare.python, "-m", "pip", "install", "--quiet", str(_PROJECT)]
    subprocess.run(words, check=True, stdout=sys.stderr)
    return bare


@contextmanager
def running(words: Sequence[str], **environment: str) -> Generator[subprocess.Popen[str]]:
    """Run a program until the block ends. It can be written to and read from."""
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def issuer(
    delay: str = "0", certificate: Path | None = None
) -> Generator[tuple[str, subprocess.Popen[str]]]:
    """Run the token server: its URL and process. See issuer.py for `delay` and `certificate`."""
    script = str(Path(__file__).with_name("issuer.py"))
    words = [sys.executable, "-I", script, delay, *([] if certificate is None else [certificate])]
    with running([str(each) for each in words]) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process


def daemon_command(  # noqa: PLR0913 -- each is one thing that a benchmark has another way
    bare: Bare,
    directory: Path,
    url: str,
    profiles: int = 1,
    *,
    settings: str = "",
    more: str = "",
) -> list[str]:
    """Write a configuration and give the command that runs the daemon with it."""
    config = directory / "config.toml"
    config.write_text(
        f'default_profile = "p0"\n{settings.format(directory=directory)}\n'
        + "".join(_PROFILE.format(name=f"p{each}", url=url) + more for each in range(profiles))
    )
    words = ("run", "--config", str(config), "--socket", str(directory / "socket"))
    return [str(bare.bin / "openfit-tokend"), *words]


@contextmanager
def daemon(  # noqa: PLR0913 -- each is one thing that a benchmark has another way
    bare: Bare,
    url: str,
    profiles: int = 1,
    *,
    logged_in: bool = True,
    settings: str = "",
    more: str = "",
    instead: Sequence[str] = (),
) -> Generator[tuple[Server, subprocess.Popen[str]]]:
    """Run a daemon. It holds a token, unless that isn't to be waited for: `size` is 0 then.

    `settings`, `more`: lines of its configuration, and of each profile's; `instead`: what is run in
    place of its command.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="openfit-")))
        words = daemon_command(bare, directory, url, profiles, settings=settings, more=more)
        environment = {"STATE_DIRECTORY": str(directory), "BENCHMARK_PASSWORD": "none"}
        process = stack.enter_context(running([*(instead or words[:1]), *words[1:]], **environment))
        request = encode_request(1, "get_token", {"wait": 60})
        hello = encode_request(1, "hello", {})
        first_answer(directory / "socket", request if logged_in else hello)
        size = answer_size(directory / "socket", request) if logged_in else 0
        yield (
            Server("openfit-tokend", directory / "socket", (process.pid,), request, size),
            process,
        )


def first_answer(path: Path, request: bytes, *, whole: bool = False) -> bytes:
    """Ask until there is an answer. `whole`: it ends when the server hangs up."""
    deadline = time.monotonic() + READY
    while True:
        try:
            return _ask(path, request, whole=whole)
        except (FileNotFoundError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.0002)


def answer_size(path: Path, request: bytes, *, whole: bool = False) -> int:
    """Return the bytes of an answer."""
    return len(first_answer(path, request, whole=whole))


def _ask(path: Path, request: bytes, *, whole: bool) -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(READY)
        sock.connect(os.fspath(path))
        sock.sendall(request)
        answer = sock.recv(65536)
        while whole and (part := sock.recv(65536)):
            answer += part
        if not answer and not whole:
            raise ConnectionResetError
        return answer
