"""How the command says what went wrong."""

import sys

from openfit_token.cli.terminal import printable
from openfit_token.errors import TokenError


def complain(error: TokenError) -> int:
    """Print an error, every line of it by itself, and what to do; return the exit status.

    The lines are a configuration's faults, or commands to type. A daemon that is asked may have sent anything else.
    """
    for line in error.message.splitlines():
        print(f"openfit-tokend: {printable(line)}", file=sys.stderr)
    for line in (error.hint or "").splitlines():
        print(f"  {printable(line)}", file=sys.stderr)
    return error.exit_status
