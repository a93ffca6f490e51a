"""The error of `init`, `install` and `uninstall`."""

import os

from openfit_token.errors import TokenError


class SetupFailed(TokenError):
    """It isn't possible. Nothing is left half done."""

    exit_status = os.EX_OSERR
