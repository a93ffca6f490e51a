"""What it costs to be served, beside the least that it could cost, and beside others.

  table    one row for each server: round trips, CPU, memory, starts; and which bars hold
  crowd    what must hold with 10,000 clients, with 1,000 profiles, and with none
  growth   cost against connections and profiles; draws docs/pictures/growth-*.svg
  hostile  a good client beside slow, greedy and flooding ones
  http     forward-auth at the HTTP socket beside the other socket, and beside nginx
  weight   where the memory goes, by step, module and type, over https (takes openssl)

Everything runs here, on loopback and Unix sockets, and ends with the command. It takes a C compiler
and pip; what else isn't installed is left out, and said. Ratios are medians of each round's, so
that a machine which does other things as well disturbs little; absolute figures are of one moment.
A crowd of 10,000 takes `ulimit -Hn 20400`; it is smaller where that can't be had.
"""

import argparse

from benchmarks import crowd, growth, hostile, http, table, weight
from benchmarks.table import Effort

PARTS = {
    "table": table.measure,
    "crowd": crowd.measure,
    "growth": growth.measure,
    "hostile": hostile.measure,
    "http": http.measure,
    "weight": weight.measure,
}
FULL = Effort(rounds=9, seconds=0.4, starts=40)
QUICK = Effort(rounds=3, seconds=0.1, starts=10)


class _Options(argparse.Namespace):
    """The options after parsing, with their types."""

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
    parser.add_argument("part", nargs="?", default="table", choices=PARTS, help="(table)")
    parser.add_argument(
        "--quick", action="store_true", help="under a minute each, and as much rougher"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help=f"({FULL.rounds}; quick: {QUICK.rounds})"
    )
    options = parser.parse_args(namespace=_Options())
    effort = QUICK if options.quick else FULL
    if options.rounds:
        effort = Effort(options.rounds, effort.seconds, effort.starts)
    PARTS[options.part](effort)


main()
