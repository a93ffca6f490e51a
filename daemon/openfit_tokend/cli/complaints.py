"""How the command says what went wrong."""

import sys

from openfit_token.errors import TokenError


def complain(error: TokenError) -> int:
    """Print an error, every line of it by itself, and what to do; give the exit status."""
    for line in error.message.splitlines():
        print(f"openfit-tokend: {line}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)
    return error.exit_status
