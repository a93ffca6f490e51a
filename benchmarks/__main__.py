"""What it costs to be served, beside the least that it could cost, and beside others.

Everything runs here, on loopback and Unix sockets, and ends with the command. It takes a C compiler
and pip; what else isn't installed is left out, and said. Ratios are medians of each round's, so
that a machine which does other things as well disturbs little; absolute figures are of one moment.
"""

import argparse

from benchmarks import crowd, table
from benchmarks.table import Effort

PARTS = {"table": table.measure, "crowd": crowd.measure}
FULL = Effort(rounds=9, seconds=0.4, starts=40)
QUICK = Effort(rounds=3, seconds=0.1, starts=10)


class _Options(argparse.Namespace):
    part: str
    rounds: int | None
    quick: bool


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", nargs="?", default="table", choices=[*PARTS])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args(namespace=_Options())
    effort = QUICK if options.quick else FULL
    if options.rounds:
        effort = Effort(options.rounds, effort.seconds, effort.starts)
    PARTS[options.part](effort)


main()
