"""Reads the store's rows as only who has the key can."""

from collections.abc import Iterable
from typing import Final

from openfit_tokend.core.fleet.row import Row
from openfit_tokend.core.settings.values import Profile
from openfit_tokend.fleet.row_form import Keys, opened
from openfit_tokend.storage.session_form import digest

KEY: Final = "5e" * 32
"""What seals the rows."""
NEXT_KEY: Final = "6f" * 32
"""What may take its place."""
_KEYS: Final = Keys((bytes.fromhex(KEY), bytes.fromhex(NEXT_KEY)))


def row_of(key: str, value: tuple[bytes, bytes]) -> Row:
    """Return a row as it lies in the store."""
    return opened(_KEYS, key, *value)


def identities(profiles: Iterable[Profile]) -> dict[str, bytes]:
    """Return by what a row names the session of each client."""
    return {each.identity.client_id: digest(each.identity) for each in profiles}
