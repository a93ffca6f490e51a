"""`openfit-tokend reload`: let the running daemon read its configuration anew."""

import os

from openfit_token import TokenClient, TokenError
from openfit_token._client.paths import VARIABLE
from openfit_tokend.cli.complaints import complain
from openfit_tokend.config import config_file
from openfit_tokend.setup import service


def reload(config: str | None, socket: str | None) -> int:
    """Return when the new configuration is in force; give the exit status.

    Where nothing else names the socket, the configuration may: faulty as it may be, since what is
    wrong with it is for the daemon to say.
    """
    try:
        if socket is None and not os.environ.get(VARIABLE):
            path = config_file.locate(config)
            # The system's service has the one of its socket unit, whatever the configuration says.
            socket = None if service.is_meant(path) else config_file.socket_of(path)
        with TokenClient(socket=socket) as client:
            client.reload()
    except TokenError as error:
        return complain(error)
    return 0
