"""Run a fleet of real daemons through many seeds, and tell the story of the first broken promise.

In tests/support, or with that directory in PYTHONPATH:

    python -m whole.fleet hard --seeds 1000      # everything happens
    python -m whole.fleet weather --seeds 100    # crashes and stand-stills alone: never a gap
    python -m whole.fleet asleep --seeds 100     # hosts that sleep, also in the middle of a claim
    python -m whole.fleet before --seeds 100     # stand-stills between the claim and the last look
    python -m whole.fleet after --seeds 100      # between the last look and the sending: the bound
    python -m whole.fleet lossy --seeds 100      # a store that forgets its last writes, too
    python -m whole.fleet passwords --seeds 100  # wrong passwords all the time
    python -m whole.fleet stepped --seeds 20     # wrong passwords, and a store's clock that is set
    python -m whole.fleet set_back --seeds 20    # the store's clock is set back by an hour
    python -m whole.fleet crowd --seeds 20       # many writers, and a wrong password at all
    python -m whole.fleet brisk --seeds 20       # fine weather: all know at once
    python -m whole.fleet stale --seeds 20       # one host's stale password bars no other
    python -m whole.fleet fair --seeds 3         # 20 daemons, tokens of an hour: counts
    python -m whole.fleet --faults               # with rules left out: each must be found

Exit status: 0 all promises held, or all faults were found; 1 otherwise.
"""

import argparse
import sys
from dataclasses import fields
from time import perf_counter, process_time

from whole.fleet.faults import FAULTS, seeds_to_find
from whole.fleet.plan import PLANS
from whole.fleet.shrink import Seen, failure_of, shrunk, told


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m whole.fleet", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("kind", nargs="?", choices=PLANS, default="hard")
    parser.add_argument("--seeds", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--go-on", action="store_true", help="name all failing seeds, no story")
    parser.add_argument("--story", action="store_true", help="tell the story as it is, unshrunk")
    parser.add_argument("--faults", nargs="*", metavar="NAME", help="all, or these")
    asked = parser.parse_args()
    if asked.faults is not None:
        return _find(asked.faults or list(FAULTS), asked.first, asked.seeds)
    return _run(asked)


def _run(asked: argparse.Namespace) -> int:
    seeds = range(asked.first, asked.first + asked.seeds)
    began, worked, failing, lived, total = perf_counter(), process_time(), 0, 0.0, Seen()
    for count, seed in enumerate(seeds, 1):
        plan = PLANS[asked.kind](seed)
        failure = failure_of(plan, seen=total)
        lived += plan.duration * plan.hosts
        if failure is not None:
            failing += 1
            _say(f"seed {seed}: {failure.broken}")
            if not asked.go_on:
                _say(told(failure if asked.story else shrunk(failure)))
                break
        if count % 20 == 0 or count == len(seeds):
            took, cpu = perf_counter() - began, process_time() - worked
            speed = f"{lived / cpu:.0f} virtual seconds of a daemon a second of CPU"
            _say(f"{count} seeds in {took:.0f} s, {speed}, {failing} failed; {_counted(total)}")
    return 1 if failing else 0


def _counted(seen: Seen) -> str:
    counted = [f"{each.name} {getattr(seen, each.name)}" for each in fields(seen)[:-1]]
    after = sorted(seen.failovers)
    if after:
        middle = after[len(after) // 2]
        counted.append(f"after a crash {middle:.1f} s (median), at most {after[-1]:.1f} s")
    return ", ".join(counted)


def _find(names: list[str], first: int, seeds: int) -> int:
    missed = 0
    for name in names:
        found = seeds_to_find(name, range(first, first + seeds))
        missed += found is None
        after, rule = found or (seeds, "not found")
        _say(f"| {FAULTS[name].words} | {FAULTS[name].kind} | {after} | {rule} |")
    return 1 if missed else 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 -- a command prints


if __name__ == "__main__":
    sys.exit(main())
