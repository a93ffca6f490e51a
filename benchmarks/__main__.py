"""`python -m benchmarks`: run them all, or the one that is named."""

import argparse

from benchmarks import connect, start_up

BENCHMARKS = {"start-up": start_up.measure, "connect": connect.measure}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=BENCHMARKS, help="default: all of them")
    chosen = parser.parse_args().name
    for name, measure in BENCHMARKS.items():
        if chosen in {None, name}:
            measure()


main()
