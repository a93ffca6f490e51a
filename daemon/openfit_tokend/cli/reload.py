"""`openfit-tokend reload`: let the running daemon read its configuration anew."""

from openfit_token import TokenClient, TokenError
from openfit_tokend.cli.complaints import complain


def reload(socket: str | None) -> int:
    """Return when the new configuration is in force; give the exit status."""
    try:
        with TokenClient(socket=socket) as client:
            client.reload()
    except TokenError as error:
        return complain(error)
    return 0
