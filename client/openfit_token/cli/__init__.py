"""The command `openfit-token`: asks the daemon, prints, and ends with a telling exit status.

Only what `get` needs is loaded here: scripts start it for every request they make.
"""

import os
import sys

from openfit_token.cli.get import quick
from openfit_token.cli.output import OutputFailed, ReaderLeft
from openfit_token.errors import TokenError

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not loaded at run time: it would double the command's start
    from typing import Final, NoReturn

_INTERRUPTED: "Final" = 130
"""What a shell makes of SIGINT: 128 + 2."""


def main() -> "NoReturn":
    """Run the command line of this process, and end it.

    All output is flushed by then, so the interpreter need not be taken down piece by piece: that
    costs 2 ms, a seventh of the whole run, and would try anew to write what a broken pipe refused.
    """
    status = run(sys.argv[1:])
    if status == _INTERRUPTED:
        _die_of_interrupt()
    os._exit(status)


def _die_of_interrupt() -> None:
    """End by SIGINT itself: a shell's loop goes on after a program that made an exit of it."""
    from signal import SIG_DFL, SIGINT, raise_signal, signal  # noqa: PLC0415 -- not where all is well

    signal(SIGINT, SIG_DFL)
    raise_signal(SIGINT)


def run(words: list[str]) -> int:
    """Carry out a command line and give the exit status; errors are told on standard error."""
    try:
        return _carry_out(words)
    except ReaderLeft:
        return OutputFailed.exit_status  # `openfit-token … | head` is nobody's mistake
    except TokenError as error:
        from openfit_token.cli.terminal import complain  # noqa: PLC0415 -- not where all is well

        complain(error)
        return error.exit_status
    except KeyboardInterrupt:
        return _INTERRUPTED


def _carry_out(words: list[str]) -> int:
    command = quick(words)
    if command is not None:
        return command()
    from openfit_token.cli.command_line import parse  # noqa: PLC0415 -- argparse takes 7 ms

    return parse(words)()
