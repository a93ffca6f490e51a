"""Error messages of the commands."""

import sys

from openfit_token._cli.terminal import printable
from openfit_token.errors import TokenError


def complain(error: TokenError) -> int:
    """Print an error line by line, and what to do about it; return the exit status.

    The lines are the faults of a configuration, or commands to type; but what is sent by a daemon may
    be anything.
    """
    for line in error.message.splitlines():
        print(f"openfit-tokend: {printable(line)}", file=sys.stderr)
    for line in (error.hint or "").splitlines():
        print(f"  {printable(line)}", file=sys.stderr)
    return error.exit_status
