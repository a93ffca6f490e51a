"""The error of `emulator` and `demo`."""

import os

from openfit_token.errors import TokenError


class Failed(TokenError):
    """Something can't be started, or served."""

    exit_status = os.EX_OSERR
