"""The keys of a fleet, as a file or a credential has them: one a line, in hexadecimal digits."""

import re
import secrets
from typing import Final

from openfit_tokend.core.settings.fleet import MAX_KEYS
from openfit_tokend.host.regular_file import Unusable

KEY_SIZE: Final = 32
"""Bytes of a key: AES-256."""
_KEY: Final = re.compile(rb"[0-9A-Fa-f]{64}")
_HINT: Final = "openfit-tokend fleet-key makes one; each line is one key, of 64 hexadecimal digits"


def keys_from(raw: bytes) -> tuple[bytes, ...]:
    """Return the keys in what was read; the first is the one that seals. Errors reveal nothing of them.

    Raises:
        Unusable: these aren't keys.
    """
    lines = raw.split()
    if not lines or not all(map(_KEY.fullmatch, lines)):
        raise Unusable("has something else than keys in it, or nothing", _HINT)
    if len(lines) > MAX_KEYS:
        raise Unusable(f"has more than {MAX_KEYS} keys", "take the oldest out")
    return tuple(bytes.fromhex(line.decode()) for line in lines)


def new_key() -> str:
    """Return a new key, as a line."""
    return secrets.token_hex(KEY_SIZE)
