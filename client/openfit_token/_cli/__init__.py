"""The command `openfit-token`: asks the daemon, prints, and reports by its exit status.

Only what `get` needs is loaded here: scripts run it for every request they make.
"""

import gc
import os
import sys

from openfit_token._cli.get import get, quick
from openfit_token._cli.output import OutputFailed, ReaderLeft
from openfit_token.errors import TokenError

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not loaded at run time: it would double the command's start
    from typing import Final, NoReturn

_INTERRUPTED: "Final" = 130
"""What a shell makes of SIGINT: 128 + 2."""


def main() -> "NoReturn":
    """Run the command line of this process, and end it.

    All output is flushed by then, so the interpreter's orderly shutdown is skipped: it takes 2 ms, a
    seventh of the whole run, and would try again to write to a broken pipe.
    """
    _take_name()
    status = run(sys.argv[1:])
    if status == _INTERRUPTED:
        _die_of_interrupt()
    os._exit(status)


def _take_name() -> None:
    """Give this process the command's name, for `ps` and the daemon's log: a shell started Python."""
    try:
        with open("/proc/self/comm", "wb", 0) as comm:  # noqa: PTH123 -- nor is pathlib
            comm.write(b"openfit-token")
    except OSError:
        pass  # there is no /proc


def _die_of_interrupt() -> None:
    """End by SIGINT itself: a shell's loop would go on after an ordinary exit."""
    from signal import SIG_DFL, SIGINT, raise_signal, signal  # noqa: PLC0415 -- not where all is well

    signal(SIGINT, SIG_DFL)
    raise_signal(SIGINT)


def run(words: list[str]) -> int:
    """Run a command line and return the exit status; errors are printed to standard error."""
    try:
        return _carry_out(words)
    except ReaderLeft:
        return OutputFailed.exit_status  # `openfit-token … | head` is fine
    except TokenError as error:
        from openfit_token._cli.terminal import complain  # noqa: PLC0415 -- not where all is well

        complain(error)
        return error.exit_status
    except KeyboardInterrupt:
        return _INTERRUPTED


def _carry_out(words: list[str]) -> int:
    options = quick(words)
    if options is not None:
        return get(*options)
    gc.enable()
    from openfit_token._cli.command_line.orders import parse  # noqa: PLC0415 -- argparse takes 7 ms

    return parse(words)()
