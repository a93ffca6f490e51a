"""`openfit-tokend restart`: restart the service, unless the next daemon wouldn't start."""

import os
import subprocess
import sys

from openfit_token._client.paths import SYSTEM_SOCKET
from openfit_tokend.cli.complaints import complain
from openfit_tokend.cli.reload import reload
from openfit_tokend.setup.failure import SetupFailed
from openfit_tokend.setup.units import SYSTEM_UNITS


def restart() -> int:
    """Restart root's service, or the user's own; return the exit status.

    The running daemon reloads first: it rejects a configuration with which the next one would end, and
    judges it in the service's own place. One that doesn't answer can't be asked, and is restarted.
    """
    is_root = os.geteuid() == 0
    systemctl = ("systemctl",) if is_root else ("systemctl", "--user")
    try:
        if _run(*systemctl, "--quiet", "is-active", SYSTEM_UNITS[0]) == 0:
            status = reload(None, SYSTEM_SOCKET if is_root else None)
            if status == os.EX_CONFIG:
                print("not restarted: the daemon goes on with what it has", file=sys.stderr)
                return status
        return _run(*systemctl, "restart", SYSTEM_UNITS[0])
    except FileNotFoundError:
        return complain(SetupFailed("there is no systemctl", "restart the daemon where it runs"))


def _run(*command: str) -> int:
    return subprocess.run(command, check=False).returncode  # noqa: S603 -- a fixed command
