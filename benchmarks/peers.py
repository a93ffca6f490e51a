"""The rows of the table: each is a server that runs while the block runs, or isn't installed."""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.measure import Loads, Server
from benchmarks.places import (
    Bare,
    answer_size,
    daemon,
    daemon_command,
    first_answer,
    issuer,
    running,
)
from openfit_token._shared.protocol import encode_request

OURS: Final = "openfit-tokend"
FLOOR: Final = "C floor"
STREAMS: Final = "asyncio streams"
ANYIO: Final = "anyio serve()"
BARE_EPOLL: Final = "bare Python epoll"
GIT: Final = "git credential-cache"
SSH: Final = "ssh-agent"
OIDC: Final = "oidc-agent"

_RIVALS: Final = {ANYIO: "anyio_serve", STREAMS: "asyncio_streams", BARE_EPOLL: "bare_epoll"}
_ASK: Final = encode_request(1, "get_token", {})
_TOKEN: Final = "x" * 970
_GIT_DAEMON: Final = Path("/usr/lib/git-core/git-credential-cache--daemon")
_GIT_ENTRY: Final = "protocol=https\nhost=example.org\n"
_SSH_LIST: Final = b"\0\0\0\1\x0b"
"""SSH_AGENTC_REQUEST_IDENTITIES (draft-miller-ssh-agent, 4.4)."""


class Missing(Exception):
    """It isn't installed; the text says what is."""


@dataclass(frozen=True)
class Means:
    """What the rows are started with."""

    loads: Loads
    bare: Bare
    answer: Path
    """A file with an answer of the daemon's: the others give as many bytes."""


@dataclass(frozen=True)
class Peer:
    """A row: its server, the start of one to its first answer (seconds), and its command line."""

    server: Server
    start: Callable[[], float]
    client: list[str]
    """Empty: it has none."""
    environment: dict[str, str]
    stdin: str = ""


def ours(means: Means) -> Generator[Peer]:
    """Run the daemon, with a token server beside it."""
    with issuer() as (url, _), daemon(means.bare, url) as (server, _):
        client = [str(means.bare.bin / "openfit-token"), "get", "--socket", str(server.path)]

        def start(directory: Path) -> list[str]:
            return daemon_command(means.bare, directory, url)

        yield Peer(server, lambda: _time(start, server.request), client, {})


def floor(means: Means) -> Generator[Peer]:
    """Run the C server."""

    def start(directory: Path) -> list[str]:
        return [means.loads.floor, str(directory / "socket"), str(means.answer)]

    with _running(FLOOR, start, _ASK) as server:
        client = means.loads.command(server, "once", 0, 1, -1)
        yield Peer(server, lambda: _time(start, _ASK), client, {})


def rival(name: str) -> Callable[[Means], Generator[Peer]]:
    """Return what runs one of the Python servers beside this file."""

    def run(means: Means) -> Generator[Peer]:
        script = Path(__file__).parent / "rivals" / f"{_RIVALS[name]}.py"

        def start(directory: Path) -> list[str]:
            socket = str(directory / "socket")
            return [means.bare.python, "-I", str(script), socket, str(means.answer)]

        with _running(name, start, _ASK) as server:
            yield Peer(server, lambda: _time(start, _ASK), [], {})

    return run


def git(_means: Means) -> Generator[Peer]:
    """Run git's credential cache. It answers once and hangs up."""
    if not _GIT_DAEMON.exists():
        raise Missing("git")

    def start(directory: Path) -> list[str]:
        return [str(_GIT_DAEMON), str(directory / "socket")]

    store = f"action=store\ntimeout=86400\n{_GIT_ENTRY}username=main\npassword={_TOKEN}\n\n"
    ask = f"action=get\ntimeout=86400\n{_GIT_ENTRY}\n".encode()
    with _running(GIT, start, store.encode(), wanted=ask, keeps=False) as server:
        client = ["git", "credential-cache", "--socket", str(server.path), "get"]
        yield Peer(
            server, lambda: _time(start, store.encode(), whole=True), client, {}, f"{_GIT_ENTRY}\n"
        )


def ssh(_means: Means) -> Generator[Peer]:
    """Run ssh-agent with one key, whose comment makes the answer as long as the others'.

    It looks at all its connections at each turn: 10,000 would take it minutes.
    """
    agent, keygen, add = (shutil.which(name) for name in ("ssh-agent", "ssh-keygen", "ssh-add"))
    if not agent or not keygen or not add:
        raise Missing("openssh-client")

    def start(directory: Path) -> list[str]:
        return [agent, "-D", "-a", str(directory / "socket")]

    with _running(SSH, start, _SSH_LIST) as server:
        key = server.path.with_name("key")
        make = [keygen, "-q", "-t", "ed25519", "-N", "", "-C", _TOKEN[:960], "-f", str(key)]
        subprocess.run(make, check=True)
        environment = {"SSH_AUTH_SOCK": str(server.path)}
        quiet = subprocess.DEVNULL
        subprocess.run([add, str(key)], check=True, env=environment, stderr=quiet)
        size = answer_size(server.path, _SSH_LIST)
        served = replace(server, size=size, most=1000)
        yield Peer(served, lambda: _time(start, _SSH_LIST), [add, "-l"], environment)


def oidc(_means: Means) -> Generator[Peer]:
    """Run oidc-agent, which has two processes, answers once and hangs up.

    It is asked in plain JSON; its own client adds a key exchange.
    """
    agent, token = shutil.which("oidc-agent"), shutil.which("oidc-token")
    if not agent or not token:
        raise Missing("oidc-agent-cli")

    def start(directory: Path) -> list[str]:
        return [agent, "--console", "--no-autoload", "-a", str(directory / "socket")]

    with issuer() as (url, _):
        account = {
            "name": "main",
            "issuer_url": f"{url}/",
            "client_id": "benchmark",
            "client_secret": "",
            "refresh_token": "none",
            "scope": "openid offline_access",
        }
        zeros = dict.fromkeys(("lifetime", "confirm", "always_allow_id"), 0)
        add = json.dumps({"request": "add", "config": account, "pw_entry": {}, **zeros}).encode()
        ask = json.dumps({"request": "access_token", "account": "main", "min_valid_period": 0})
        with _running(OIDC, start, add, wanted=ask.encode(), keeps=False) as server:
            environment = {"OIDC_SOCK": str(server.path)}
            yield Peer(server, lambda: _time(start, add, whole=True), [token, "main"], environment)


ROWS: Final[dict[str, Callable[[Means], Generator[Peer]]]] = {
    OURS: ours,
    FLOOR: floor,
    BARE_EPOLL: rival(BARE_EPOLL),
    STREAMS: rival(STREAMS),
    ANYIO: rival(ANYIO),
    GIT: git,
    SSH: ssh,
    OIDC: oidc,
}


def start(means: Means, stack: ExitStack, name: str) -> Peer:
    """Start one row.

    Raises:
        Missing: it isn't installed.
    """
    return stack.enter_context(contextmanager(ROWS[name])(means))


def start_all(means: Means, stack: ExitStack) -> tuple[list[Peer], list[str]]:
    """Start what is installed. Gives the rows, and what is missing for the others."""
    peers: list[Peer] = []
    missing: list[str] = []
    for name in ROWS:
        try:
            peers.append(start(means, stack, name))
        except Missing as error:
            missing.append(f"{name} ({error} isn't installed)")
    return peers, missing


Start = Callable[[Path], list[str]]
"""Gives the command of a server whose socket is `socket` in this directory."""


@contextmanager
def _running(
    name: str,
    start: Start,
    first: bytes,
    *,
    wanted: bytes | None = None,
    keeps: bool = True,
) -> Generator[Server]:
    """Run a server. `first` is asked once; `wanted` (the same, if left out) is then measured."""
    with tempfile.TemporaryDirectory(prefix="openfit-") as text:
        directory = Path(text)
        with running(start(directory)) as process:
            path = directory / "socket"
            first_answer(path, first, whole=not keeps)
            request = wanted or first
            size = answer_size(path, request, whole=not keeps)
            yield Server(name, path, _family(process.pid), request, size, keeps)


def _family(pid: int) -> tuple[int, ...]:
    """Return a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (pid, *map(int, children))


def _time(start: Start, request: bytes, *, whole: bool = False) -> float:
    """Start another one, and give the seconds to its first answer."""
    with tempfile.TemporaryDirectory(prefix="openfit-") as text:
        directory = Path(text)
        words = start(directory)
        environment = {"STATE_DIRECTORY": text, "BENCHMARK_PASSWORD": "none"}
        began = time.monotonic()
        with running(words, **environment):
            first_answer(directory / "socket", request, whole=whole)
            return time.monotonic() - began
