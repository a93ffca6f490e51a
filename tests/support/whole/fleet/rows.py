"""Reads the store's rows as only who has the key can."""

from collections.abc import Iterable
from typing import Final

from openfit_tokend.core.fleet import Row
from openfit_tokend.core.settings import Profile
from openfit_tokend.fleet.row_form import Keys, opened
from openfit_tokend.storage.session_form import digest

KEY: Final = "5e" * 32
"""What seals the rows."""
_KEYS: Final = Keys((bytes.fromhex(KEY),))


def row_of(key: str, value: tuple[bytes, bytes]) -> Row:
    """Return a row as it lies in the store."""
    return opened(_KEYS, key, *value)


def identities(profiles: Iterable[Profile]) -> dict[str, bytes]:
    """Return by what a row names the session of each client."""
    return {each.identity.client_id: digest(each.identity) for each in profiles}
