"""What a profile may be called."""

import re
from typing import Final

RULE: Final = (
    "a profile's name must be of A-Z a-z 0-9 _ . - only, begin with a letter or digit,"
    " and not be longer than 64 characters"
)
"""It stands in logs and in the names of credentials, and shells offer it as a completion."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def is_profile_name(name: object) -> bool:
    """Return whether a profile may be called so: see RULE."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None
