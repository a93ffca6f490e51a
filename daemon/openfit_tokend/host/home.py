"""Where this user's own files are."""

from pathlib import Path
from typing import Literal

from openfit_token.errors import ConfigRejected


def user_directory(kind: Literal["config", "state"]) -> Path:
    """Return the directory of this user's files of a kind.

    Raises:
        ConfigRejected: no variable names it, and the user has no home: it may have no account.
    """
    import platformdirs  # noqa: PLC0415 -- 0.4 MB that a service never needs

    find = platformdirs.user_config_path if kind == "config" else platformdirs.user_state_path
    try:
        found = find()
    except RuntimeError:
        found = Path("~")  # what its older versions return
    if found.is_absolute():
        return found
    hint = f"set HOME or XDG_{kind.upper()}_HOME to an absolute path"
    raise ConfigRejected(f"this user has no home directory for its {kind} files", hint)
