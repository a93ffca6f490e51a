"""Connect, ask, close: the server's CPU, beside the same answer from anyio's own listener.

Server and load are pinned to one CPU, the load as SCHED_BATCH: else the woken client hides a part
of what the server costs.
"""

import os
import statistics
import tempfile
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket

from benchmarks.places import cpu, daemon, running
from openfit_token.protocol import encode_request

ROUNDS = 7
CONNECTIONS = 2000
_REQUEST = encode_request(1, "get_token", {})
_ANSWER_SIZE = 65536

_ANYIO = """
import sys
import anyio
from msgpack import packb, unpackb

answer = unpackb(bytes.fromhex(sys.argv[2]))

async def handle(stream):
    async with stream:
        while True:
            try:
                request = unpackb(await stream.receive())
            except anyio.EndOfStream:
                return
            await stream.send(packb([1, request[1], None, answer[3]]))

async def main():
    listener = await anyio.create_unix_listener(sys.argv[1])
    print("ready", flush=True)
    await listener.serve(handle)

anyio.run(main)
"""


def measure() -> None:
    """Print the median CPU a connection of both, and their ratio."""
    one_cpu = {min(os.sched_getaffinity(0))}
    with daemon() as (ours, our_pid), tempfile.TemporaryDirectory() as directory:
        theirs = Path(directory) / "socket"
        answer = _ask(ours)
        with running("-c", _ANYIO, str(theirs), answer.hex()) as process:
            assert process.stdout is not None
            process.stdout.readline()
            for pid in (our_pid, process.pid, 0):
                os.sched_setaffinity(pid, one_cpu)
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            sides = {"openfit-tokend": (ours, our_pid), "anyio serve()": (theirs, process.pid)}
            costs = {name: [_cost(*side) for _ in range(1)] for name, side in sides.items()}
            for _ in range(ROUNDS):
                for name, side in sides.items():
                    costs[name].append(_cost(*side))
    medians = {name: statistics.median(each[1:]) for name, each in costs.items()}
    ratios = [a / b for a, b in zip(*(each[1:] for each in costs.values()), strict=True)]
    print(f"connect-ask-close, server CPU a connection, answer of {len(answer)} bytes")
    for name, median in medians.items():
        print(f"  {name:<16} {median * 1e6:7.1f} us")
    print(f"  ratio            {statistics.median(ratios):7.2f}  (at most 0.40)")


def _cost(path: Path, pid: int) -> float:
    before = cpu(pid)
    for _ in range(CONNECTIONS):
        _ask(path)
    return (cpu(pid) - before) / CONNECTIONS


def _ask(path: Path) -> bytes:
    with socket(AF_UNIX, SOCK_STREAM) as sock:
        sock.connect(os.fspath(path))
        sock.send(_REQUEST)
        return sock.recv(_ANSWER_SIZE)
