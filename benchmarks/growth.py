"""Cost against size: connections that all ask, connections that idle, and profiles."""

from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.many_profiles import all_logged_in, asking
from benchmarks.measure import CROWD, memory, pin
from benchmarks.peers import FLOOR, OURS, STREAMS, start
from benchmarks.places import daemon, issuer
from benchmarks.plot import Line, Plot
from benchmarks.table import Effort, prepare

SIZES: Final = (1, 10, 100, 1000, CROWD)
PROFILES: Final = (1, 10, 100, 1000)
EACH: Final = 2e-4
"""Seconds for each connection, so that all are answered several times."""
_PICTURES: Final = Path(__file__).parents[1] / "docs" / "pictures"


def measure(effort: Effort) -> None:
    """Print both tables, and draw them."""
    with ExitStack() as stack:
        _connections(stack, effort)
    with ExitStack() as stack:
        _profiles(stack, effort)


def _connections(stack: ExitStack, effort: Effort) -> None:
    means = prepare(stack)
    rows = {name: start(means, stack, name).server for name in (OURS, STREAMS, FLOOR)}
    for server in rows.values():
        pin(server.pids)
    busy: dict[str, list[float]] = {name: [] for name in rows}
    idle: dict[str, list[float]] = {name: [] for name in rows}
    for size in SIZES:
        rounds = max(3, effort.rounds // 3)
        for name, server in rows.items():
            seconds = max(effort.seconds, size * EACH)
            runs = [means.loads.run(server, "many", seconds, size) for _ in range(rounds)]
            busy[name].append(median(run.cpu for run in runs))
            with means.loads.beside(server, "hold", 0, size):
                runs = [means.loads.run(server, "kept", effort.seconds) for _ in range(rounds)]
            idle[name].append(median(run.p50 for run in runs))
    _table("connections", SIZES, {f"{name}, all ask: CPU µs": busy[name] for name in rows})
    _table("connections", SIZES, {f"{name}, all idle but one: µs": idle[name] for name in rows})
    Plot("Server CPU a request, µs", "connections, all asking", SIZES).draw(
        [Line(name, busy[name]) for name in rows], _PICTURES / "growth-connections.svg"
    )


def _profiles(stack: ExitStack, effort: Effort) -> None:
    means = prepare(stack)
    url, _ = stack.enter_context(issuer())
    servers = [stack.enter_context(daemon(means.bare, url, size))[0] for size in PROFILES]
    cpu: list[list[float]] = [[] for _ in PROFILES]
    for server, size in zip(servers, PROFILES, strict=True):
        all_logged_in(server, size)
        pin(server.pids)
    share = [memory(server.pids) / 1024 for server in servers]
    asked = [asking(server, f"p{size - 1}") for server, size in zip(servers, PROFILES, strict=True)]
    for _ in range(effort.rounds):
        for server, runs in zip(asked, cpu, strict=True):
            runs.append(means.loads.run(server, "kept", effort.seconds).cpu)
    cost = [median(runs) for runs in cpu]
    _table("profiles", PROFILES, {"CPU a request, µs": cost, "resident memory, MB": share})
    Plot("Server CPU a request, µs; memory, MB", "profiles", PROFILES).draw(
        [Line("CPU a request, µs", cost), Line("memory, MB", share)],
        _PICTURES / "growth-profiles.svg",
    )


def _table(what: str, sizes: tuple[int, ...], lines: dict[str, list[float]]) -> None:
    print(f"| {what} |" + "".join(f" {size:,} |" for size in sizes))
    print("|---" * (len(sizes) + 1) + "|")
    for name, figures in lines.items():
        print(f"| {name} |" + "".join(f" {figure:.1f} |" for figure in figures))
    print(flush=True)
