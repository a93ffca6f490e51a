"""The one way in which setting up fails."""

from openfit_token.errors import TokenError


class SetupFailed(TokenError):
    """Something stands against it; nothing is left half done."""

    exit_status = 71
