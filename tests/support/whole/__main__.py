"""Run real daemons through many seeds, and tell the story of the first broken promise.

In tests/support, or with that directory in PYTHONPATH:

    python -m whole hard --seeds 3000      # one daemon: a quarter of an hour each, with short tokens
    python -m whole short --seeds 1000     # a few minutes each, with very short tokens
    python -m whole week --seeds 10        # as many weeks, with tokens of an hour
    python -m whole fleet --seeds 1000     # a fleet: everything happens
    python -m whole weather --seeds 100    # crashes and stand-stills alone: never a gap
    python -m whole asleep --seeds 100     # hosts that sleep, also in the middle of a claim
    python -m whole before --seeds 100     # stand-stills between the claim and the last look
    python -m whole after --seeds 100      # between the last look and the sending: the bound
    python -m whole lossy --seeds 100      # a store that forgets its last writes, too
    python -m whole refused --seeds 100    # a store that now and then takes no write
    python -m whole locked --seeds 20      # a row that can't be used now and then
    python -m whole leaving --seeds 100    # reloads take profiles away in their requests
    python -m whole passwords --seeds 100  # wrong passwords all the time
    python -m whole stepped --seeds 20     # wrong passwords, and a store's clock that is set
    python -m whole set_back --seeds 20    # the store's clock is set back by an hour
    python -m whole reboots --seeds 20     # the same, and all hosts begin anew
    python -m whole restored --seeds 20    # wrong passwords, and a row that is put back
    python -m whole keys --seeds 20        # a key takes another's place
    python -m whole crowd --seeds 20       # many writers, and a wrong password at all
    python -m whole brisk --seeds 20       # fine weather: all know at once
    python -m whole cut_off --seeds 20     # hosts that never reach the token server
    python -m whole stale --seeds 20       # one host's stale password bars no other
    python -m whole fair --seeds 3         # 20 daemons, tokens of an hour: counts
    python -m whole --faults               # with known faults put in: each must be found

Exit status: 0 all promises held, or all faults were found; 1 otherwise.
"""

import argparse
import sys
from dataclasses import dataclass, field, fields
from time import perf_counter, process_time

from whole.faults import FAULTS
from whole.plans import PLANS
from whole.seeds import failure_of, seeds_to_find, shrunk, told
from whole.world import World


@dataclass(slots=True)
class Seen:
    """What was counted in all runs."""

    logins: int = 0
    refreshes: int = 0
    rows: int = 0
    calls: int = 0
    tokens: int = 0
    leaks: int = 0
    worst: int = 0
    failovers: list[float] = field(default_factory=list[float])

    def add(self, world: World) -> None:
        """Count a run."""
        witness = world.witness
        self.logins += witness.logins
        self.refreshes += witness.refreshes
        self.rows += witness.rows
        self.calls += witness.calls
        self.tokens += witness.tokens
        self.leaks += witness.leaks
        self.worst = max(self.worst, witness.worst)
        self.failovers += witness.failovers

    def __str__(self) -> str:
        """Return it in a line."""
        counted = [f"{each.name} {getattr(self, each.name)}" for each in fields(self)[:-1]]
        after = sorted(self.failovers)
        if after:
            middle = after[len(after) // 2]
            counted.append(f"after a crash {middle:.1f} s (median), at most {after[-1]:.1f} s")
        return ", ".join(counted)


def main() -> int:
    """Run what the command line asks for, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m whole", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("kind", nargs="?", choices=PLANS, default="hard")
    parser.add_argument("--seeds", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--go-on", action="store_true", help="name all failing seeds, no story")
    parser.add_argument("--story", action="store_true", help="tell the story as it is, unshrunk")
    parser.add_argument("--faults", nargs="*", metavar="NAME", help="all, or these")
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.seeds)
    if asked.faults is not None:
        return _find(asked.faults or list(FAULTS), seeds)
    began, worked, failing, lived, seen = perf_counter(), process_time(), 0, 0.0, Seen()
    for done, seed in enumerate(seeds, 1):
        plan = PLANS[asked.kind](seed)
        failure = failure_of(plan, count=seen.add)
        lived += plan.duration
        if failure is not None:
            failing += 1
            _say(f"seed {seed}: {failure.broken}")
            if not asked.go_on:
                _say(told(failure if asked.story else shrunk(failure)))
                break
        if done % 20 == 0 or done == len(seeds):
            took, cpu = perf_counter() - began, process_time() - worked
            speed = f"{lived / cpu:.0f} virtual seconds a second of CPU"
            _say(f"{done} seeds in {took:.0f} s, {speed}, {failing} failed; {seen}")
    return 1 if failing else 0


def _find(names: list[str], seeds: range) -> int:
    missed = 0
    for name in names:
        found = seeds_to_find(name, seeds)
        missed += found is None
        after, rule = found or (len(seeds), "not found")
        _say(f"| {FAULTS[name].words} | `{FAULTS[name].kind}` | {after} | {rule} |")
    return 1 if missed else 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 -- a command prints


if __name__ == "__main__":
    sys.exit(main())
