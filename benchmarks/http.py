"""What must hold for the HTTP face: forward-auth beside the other socket and nginx, and its crowds."""

import os
import shutil
import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.bars import Bar, judge
from benchmarks.hostile import FLOODS, GREEDY, SLOW, harm
from benchmarks.measure import CROWD, Loads, Server, memory, pin, ratio
from benchmarks.places import daemon, first_answer, issuer, running
from benchmarks.probes import Bystander
from benchmarks.table import Effort, prepare

HALVES: Final = CROWD - SLOW - GREEDY - FLOODS - 100
"""Connections that send half a request."""
REQUEST: Final = b"GET /v1/auth HTTP/1.1\r\nHost: localhost\r\n\r\n"
HTTP: Final = 'http_socket = "{directory}/http"'
"""The setting of the daemon's."""
_NGINX: Final = """\
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log /dev/null;
events {{}}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen unix:{directory}/socket;
    location / {{ add_header X-Filler "{filler}"; return 200; }}
  }}
}}
"""


def measure(effort: Effort) -> None:
    """Print the figures, and which bars hold."""
    with ExitStack() as stack:
        means = prepare(stack)
        url, _ = stack.enter_context(issuer())
        rpc, _ = stack.enter_context(daemon(means.bare, url, settings=HTTP))
        http = _asked(rpc, rpc.path.with_name("http"), "openfit-tokend, HTTP")
        pin(rpc.pids)
        servers = [rpc, http]
        if shutil.which("nginx"):
            servers.append(stack.enter_context(_nginx(http.size)))
            pin(servers[-1].pids)
        else:
            print("Left out: nginx, which isn't installed.")
        cpu = _rounds(means.loads, servers, effort)
        bystander = Bystander(means.loads, rpc, effort)
        before = memory(rpc.pids)
        with harm(means.loads, http), _halves(http):
            beside = [bystander.p99() for _ in range(effort.rounds)]
        grown = (memory(rpc.pids) - before) / 1024
    ours, rows = cpu[http.name], [f"| {name} | {median(each):.2f} |" for name, each in cpu.items()]
    print("| kept: one request after the other | CPU µs |\n|---|---|", *rows, "", sep="\n")
    bars = [
        Bar(
            "forward-auth: CPU a request, times the other socket's",
            ratio(ours, cpu[rpc.name]),
            1.35,
        )
    ]
    if len(servers) > 2:
        times = ratio(ours, cpu[servers[-1].name])
        bars.append(Bar("forward-auth: CPU a request, times nginx's static answer", times, 2))
    crowd = f"{SLOW:,} slow, {HALVES:,} half, {GREEDY} that never read, {FLOODS} floods, all HTTP"
    bars += [
        Bar(f"{crowd}: a client of the other socket, p99, ms", median(beside), 20),
        Bar("the same: its worst p99, ms", max(beside), 20),
        Bar("the same: MiB of growth", grown, 30),
    ]
    judge(bars)


@contextmanager
def _halves(server: Server) -> Generator[None]:
    """Connect, and send half of a request."""
    with ExitStack() as stack:
        for _ in range(HALVES):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(os.fspath(server.path))
            sock.sendall(server.request[:-2])
        yield


def _rounds(loads: Loads, servers: list[Server], effort: Effort) -> dict[str, list[float]]:
    cpu: dict[str, list[float]] = {server.name: [] for server in servers}
    for _ in range(effort.rounds):
        for server in servers:
            cpu[server.name].append(loads.run(server, "kept", effort.seconds).cpu)
    return cpu


def _asked(server: Server, path: Path, name: str) -> Server:
    """Return a server as it is asked by HTTP at another socket."""
    first_answer(path, REQUEST)
    size = len(first_answer(path, REQUEST))
    return replace(server, name=name, path=path, request=REQUEST, size=size)


@contextmanager
def _nginx(size: int) -> Generator[Server]:
    """Run an nginx whose answer has as many bytes, as far as its own fields let it."""
    with TemporaryDirectory(prefix="openfit-") as place, ExitStack() as stack:
        directory = Path(place)
        filler = "x" * max(1, size - 170)
        config = directory / "config"
        config.write_text(_NGINX.format(directory=directory, filler=filler))
        process = stack.enter_context(running(["nginx", "-c", str(config), "-e", "stderr"]))
        first_answer(directory / "socket", REQUEST)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        pids = (process.pid, *map(int, children))
        empty = Server("nginx, static", directory / "socket", pids, REQUEST, 0)
        yield _asked(empty, empty.path, empty.name)
