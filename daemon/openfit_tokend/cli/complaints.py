"""Error messages of the commands, and their exit statuses."""

import os
import sys
from collections.abc import Callable
from typing import Final

from openfit_token._cli.output import OutputFailed, ReaderLeft
from openfit_token._cli.terminal import columns, printable, wrapped
from openfit_token.errors import TokenError

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells report it."""


def ended(command: Callable[[], int]) -> int:
    """Carry out a command, write what is left of its output, and return the exit status."""
    try:
        status = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # so that the shell's prompt begins a line
        return INTERRUPTED
    except (BrokenPipeError, ReaderLeft):  # `... | head` isn't an error
        return _without_output()
    except OutputFailed as error:
        complain(error)
        return _without_output()
    except TokenError as error:
        return complain(error)
    except OSError as error:
        complain(OutputFailed(f"can't write the output: {error.strerror or error}"))
        return _without_output()
    return status


def complain(error: TokenError) -> int:
    """Print an error line by line, and what to do about it; return the exit status.

    The lines are the faults of a configuration, or commands to type; but what is sent by a daemon may
    be anything.
    """
    width = columns(sys.stderr)
    for line in error.message.splitlines():
        print(*wrapped(f"openfit-tokend: {printable(line)}", width), sep="\n", file=sys.stderr)
    for line in (error.hint or "").splitlines():
        print(*wrapped(printable(line), width, "  "), sep="\n", file=sys.stderr)
    return error.exit_status


def _without_output() -> int:
    """Keep the interpreter from writing again as it exits; return the exit status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return os.EX_IOERR
