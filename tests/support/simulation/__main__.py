"""Run many seeds, and tell the story of the first broken promise.

In tests/support, or with that directory in PYTHONPATH:

    python -m simulation --seeds 10000 --from 0     # short hard runs
    python -m simulation --years 10                 # as many years of one-hour tokens

Exit status: 0 all promises held, 1 one was broken.
"""

import argparse
import sys
from time import perf_counter

from shrinking import Failure
from simulation.plan import Plan, hard_plan, long_plan
from simulation.shrink import failure_of as run_one
from simulation.shrink import shrunk, told


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--years", type=int, default=0, help="long runs, a year each, instead")
    parser.add_argument("--go-on", action="store_true", help="name all failing seeds, no story")
    asked = parser.parse_args()
    plan_of = long_plan if asked.years else hard_plan
    seeds = range(asked.first, asked.first + (asked.years or asked.seeds))
    began, failing = perf_counter(), 0
    for count, seed in enumerate(seeds, 1):
        failure = run_one(plan_of(seed))
        if failure is not None:
            failing += 1
            _tell(failure, briefly=asked.go_on)
            if not asked.go_on:
                break
        if count % 1000 == 0 or count == len(seeds):
            took = perf_counter() - began
            _say(f"{count} seeds in {took:.0f} s, {count / took:.1f}/s, {failing} failed")
    return 1 if failing else 0


def _tell(failure: Failure[Plan], *, briefly: bool) -> None:
    if briefly:
        _say(f"seed {failure.plan.seed}: {failure.broken}")
    else:
        _say(f"seed {failure.plan.seed} fails; shrinking")
        _say(told(shrunk(failure)))


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 -- a command prints


if __name__ == "__main__":
    sys.exit(main())
