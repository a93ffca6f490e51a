"""The command line of both simulations."""

import argparse
from collections.abc import Callable
from time import perf_counter, process_time

from whole.seeds import P, Simulation, W


def run(
    program: str,
    description: str | None,
    simulation: Simulation[P, W],
    count: Callable[[W], str] = lambda _: "",
) -> int:
    """Run what the command line asks for, and return the exit status.

    `count` is given each world at its end, and returns what was counted in all.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("kind", nargs="?", choices=simulation.plans, default="hard")
    parser.add_argument("--seeds", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--go-on", action="store_true", help="name all failing seeds, no story")
    parser.add_argument("--story", action="store_true", help="tell the story as it is, unshrunk")
    parser.add_argument("--faults", nargs="*", metavar="NAME", help="all, or these")
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.seeds)
    if asked.faults is not None:
        return _find(simulation, asked.faults or list(simulation.faults), seeds)
    began, worked, failing, lived, counted = perf_counter(), process_time(), 0, 0.0, ""

    def ended(world: W) -> None:
        nonlocal counted
        counted = count(world)

    for done, seed in enumerate(seeds, 1):
        plan = simulation.plans[asked.kind](seed)
        failure = simulation.failure_of(plan, count=ended)
        lived += plan.duration
        if failure is not None:
            failing += 1
            _say(f"seed {seed}: {failure.broken}")
            if not asked.go_on:
                _say(simulation.told(failure if asked.story else simulation.shrunk(failure)))
                break
        if done % 20 == 0 or done == len(seeds):
            took, cpu = perf_counter() - began, process_time() - worked
            speed = f"{lived / cpu:.0f} virtual seconds a second of CPU"
            _say(f"{done} seeds in {took:.0f} s, {speed}, {failing} failed{counted}")
    return 1 if failing else 0


def _find(simulation: Simulation[P, W], names: list[str], seeds: range) -> int:
    missed = 0
    for name in names:
        found = simulation.seeds_to_find(name, seeds)
        missed += found is None
        after, rule = found or (len(seeds), "not found")
        fault = simulation.faults[name]
        _say(f"| {fault.words} | `{fault.kind}` | {after} | {rule} |")
    return 1 if missed else 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 -- a command prints
