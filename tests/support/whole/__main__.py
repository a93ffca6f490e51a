"""Run the real daemon through many seeds, and tell the story of the first broken promise.

In tests/support, or with that directory in PYTHONPATH:

    python -m whole --seeds 3000 --from 0     # a quarter of an hour each, with short tokens
    python -m whole --weeks 10                # as many weeks, with tokens of an hour
    python -m whole --faults                  # with faults that are known: each must be found

Exit status: 0 all promises held, or all faults were found; 1 otherwise.
"""

import argparse
import sys
from time import perf_counter, process_time

from whole.faults import FAULTS, seeds_to_find
from whole.plan import hard_plan, long_plan
from whole.shrink import failure_of, shrunk, told


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m whole", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seeds", type=int, default=300, help="how many (default: 300)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--weeks", type=int, default=0, help="long runs, a week each, instead")
    parser.add_argument("--go-on", action="store_true", help="name all failing seeds, no story")
    parser.add_argument("--faults", nargs="*", metavar="NAME", help="all, or these")
    asked = parser.parse_args()
    if asked.faults is not None:
        return _find(asked.faults or list(FAULTS), asked.first, asked.seeds)
    return _run(asked)


def _run(asked: argparse.Namespace) -> int:
    plan_of = long_plan if asked.weeks else hard_plan
    seeds = range(asked.first, asked.first + (asked.weeks or asked.seeds))
    began, worked, failing, lived = perf_counter(), process_time(), 0, 0.0
    for count, seed in enumerate(seeds, 1):
        plan = plan_of(seed)
        failure = failure_of(plan)
        lived += plan.duration
        if failure is not None:
            failing += 1
            _say(f"seed {seed}: {failure.broken}")
            if not asked.go_on:
                _say(told(shrunk(failure)))
                break
        if count % 20 == 0 or count == len(seeds):
            took, cpu = perf_counter() - began, process_time() - worked
            speed = f"{lived / cpu:.0f} virtual seconds a second of CPU"
            _say(f"{count} seeds in {took:.0f} s, {speed}, {failing} failed")
    return 1 if failing else 0


def _find(names: list[str], first: int, seeds: int) -> int:
    missed = 0
    for name in names:
        found = seeds_to_find(name, range(first, first + seeds))
        missed += found is None
        after, rule = found or (seeds, "not found")
        _say(f"| {FAULTS[name].words} | {after} | {rule} |")
    return 1 if missed else 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 -- a command prints


if __name__ == "__main__":
    sys.exit(main())
