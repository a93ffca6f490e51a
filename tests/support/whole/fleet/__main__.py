"""Run a fleet of real daemons through many seeds, and tell the story of the first broken promise.

In tests/support, or with that directory in PYTHONPATH:

    python -m whole.fleet hard --seeds 1000      # everything happens
    python -m whole.fleet weather --seeds 100    # crashes and stand-stills alone: never a gap
    python -m whole.fleet asleep --seeds 100     # hosts that sleep, also in the middle of a claim
    python -m whole.fleet before --seeds 100     # stand-stills between the claim and the last look
    python -m whole.fleet after --seeds 100      # between the last look and the sending: the bound
    python -m whole.fleet lossy --seeds 100      # a store that forgets its last writes, too
    python -m whole.fleet refused --seeds 100    # a store that now and then takes no write
    python -m whole.fleet leaving --seeds 100    # reloads take profiles away in their requests
    python -m whole.fleet passwords --seeds 100  # wrong passwords all the time
    python -m whole.fleet stepped --seeds 20     # wrong passwords, and a store's clock that is set
    python -m whole.fleet set_back --seeds 20    # the store's clock is set back by an hour
    python -m whole.fleet reboots --seeds 20     # the same, and all hosts begin anew
    python -m whole.fleet restored --seeds 20    # wrong passwords, and a row that is put back
    python -m whole.fleet keys --seeds 20        # a key takes another's place
    python -m whole.fleet crowd --seeds 20       # many writers, and a wrong password at all
    python -m whole.fleet brisk --seeds 20       # fine weather: all know at once
    python -m whole.fleet cut_off --seeds 20     # hosts that never reach the token server
    python -m whole.fleet stale --seeds 20       # one host's stale password bars no other
    python -m whole.fleet fair --seeds 3         # 20 daemons, tokens of an hour: counts
    python -m whole.fleet --faults               # with rules left out: each must be found

Exit status: 0 all promises held, or all faults were found; 1 otherwise.
"""

import sys
from dataclasses import dataclass, field, fields

from whole.command import run
from whole.fleet.simulation import FLEET
from whole.fleet.world import World


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

    def add(self, world: World) -> str:
        """Count a run, and return what was counted so far."""
        witness = world.witness
        self.logins += witness.logins
        self.refreshes += witness.refreshes
        self.rows += witness.rows
        self.calls += witness.calls
        self.tokens += witness.tokens
        self.leaks += witness.leaks
        self.worst = max(self.worst, witness.worst)
        self.failovers += witness.failovers
        return f"; {self}"

    def __str__(self) -> str:
        """Return it in a line."""
        counted = [f"{each.name} {getattr(self, each.name)}" for each in fields(self)[:-1]]
        after = sorted(self.failovers)
        if after:
            middle = after[len(after) // 2]
            counted.append(f"after a crash {middle:.1f} s (median), at most {after[-1]:.1f} s")
        return ", ".join(counted)


if __name__ == "__main__":
    sys.exit(run("whole.fleet", __doc__, FLEET, Seen().add))
