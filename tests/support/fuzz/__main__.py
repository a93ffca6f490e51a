"""Send a real daemon millions of messages, from valid ones to noise, and tell of the first fault.

In tests/support, or with that directory in PYTHONPATH:

    nice -n 19 python -m fuzz --messages 10000000

After each batch the daemon must answer, must not have grown, hold no more descriptors than before,
and must have logged no fault of its own. It wants root, to be an operator and a stranger in turn.
Exit status: 0 all of it held, 1 something didn't.
"""

import argparse
import sys
from time import perf_counter
from typing import Final

from daemons import prepared_daemon, profile
from emulators import running_emulator
from fuzz.attack import Attack, Broken, RpcAttack
from fuzz.http import HttpAttack
from http_wire import place

CONFIG: Final = ('socket_mode = "0666"', 'default_profile = "main"')
BATCH: Final = 20_000
REPORT: Final = 25
"""Batches between two lines."""


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--messages", type=int, default=1_000_000, help="how many (1000000)")
    parser.add_argument("--seed", type=int, default=0, help="what they are made from (0)")
    parser.add_argument("--http", action="store_true", help="at the HTTP socket")
    asked = parser.parse_args()
    with (
        running_emulator() as emulator,
        prepared_daemon(*CONFIG, profile(emulator.url), profile(emulator.url, "other")) as daemon,
    ):
        daemon.directory.chmod(0o711)
        daemon.config.write_text(f'http_socket = "{place(daemon)}"\n{daemon.config.read_text()}')
        daemon.start()
        daemon.await_state("fresh")
        attack = (HttpAttack if asked.http else RpcAttack)(daemon, asked.seed)
        began, batches = perf_counter(), 0
        try:
            while attack.sent < asked.messages:
                attack.run(min(BATCH, asked.messages - attack.sent))
                attack.judge()
                batches += 1
                if batches % REPORT == 0:
                    _tell(attack, began)
        except (Broken, OSError, EOFError) as error:
            _say(f"broken after {attack.sent:,} messages of seed {asked.seed}: {error!r}")
            return 1
        _tell(attack, began)
        return 0


def _tell(attack: Attack, began: float) -> None:
    took = perf_counter() - began
    _say(
        f"{attack.sent:,} messages over {attack.connections:,} connections in {took:.0f} s,"
        f" {attack.sent / took:,.0f}/s, {attack.grown / 2**20:+.1f} MiB"
    )


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 -- a command prints


if __name__ == "__main__":
    sys.exit(main())
