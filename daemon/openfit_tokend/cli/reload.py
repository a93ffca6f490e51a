"""`openfit-tokend reload`: have the running daemon reread its configuration."""

import os

from openfit_token import TokenClient, TokenError
from openfit_token._client.paths import VARIABLE
from openfit_tokend.cli.complaints import complain
from openfit_tokend.config import config_file
from openfit_tokend.setup import service


def reload(config: str | None, socket: str | None) -> int:
    """Wait until the new configuration is in force; return the exit status.

    If nothing else names the socket, the configuration may. It is looked up there even if the
    configuration has faults: the daemon reports those.
    """
    try:
        if socket is None and not os.environ.get(VARIABLE):
            path = config_file.locate(config)
            # The system service uses its socket unit's, whatever the configuration says.
            socket = None if service.is_meant(path) else config_file.socket_of(path)
        with TokenClient(socket=socket) as client:
            client.reload()
    except TokenError as error:
        return complain(error)
    return 0
