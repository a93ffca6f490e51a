"""What a profile may be called."""

import re
from typing import Final

RULE: Final = (
    "a profile's name consists of A-Z a-z 0-9 _ . -, begins with a letter or digit,"
    " and has at most 64 characters"
)
"""Names appear in logs, in the names of credentials and in shell completions."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def is_profile_name(name: object) -> bool:
    """Return whether a name follows RULE."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None
