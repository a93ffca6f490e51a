"""Asks the keyring of the daemon's user (Secret Service, KWallet, ...) for a password."""

from functools import partial
from typing import Final

from openfit_tokend.host import package
from openfit_tokend.host.blocking_calls import BlockingCalls
from openfit_tokend.host.regular_file import Unusable

TIME_LIMIT: Final = 30.0
"""Seconds. A locked keyring asks on a screen, and nobody may be sitting there."""
_SCREEN: Final = "screen"
"""The same key for all calls: a keyring asks on a screen, one question at a time."""


async def from_keyring(
    calls: BlockingCalls, service: str, username: str, time_limit: float = TIME_LIMIT
) -> bytes:
    """Return what the keyring has for a service and user name.

    The package `keyring` is imported only here, in a thread.

    Raises:
        Unusable: it isn't installed, there is no keyring, it is locked, has no such entry, or
            doesn't answer.
    """
    try:
        password = await calls.run(_SCREEN, partial(_ask, service, username), time_limit)
    except TimeoutError:
        raise Unusable(
            f"no answer within {time_limit:g} s", "unlock the keyring of the daemon's user"
        ) from None
    except OSError as error:
        raise Unusable(f"can't be asked: {error.strerror}") from None
    if password is None:
        raise Unusable(
            f"has nothing for {username}",
            "as the daemon's user: keyring set SERVICE USERNAME",
        )
    return password


def _ask(service: str, username: str) -> bytes | None:
    try:
        import keyring  # noqa: PLC0415 -- optional, and slow to load
        from keyring.errors import KeyringLocked, NoKeyringError  # noqa: PLC0415 -- the same
    except ImportError:
        hint = package.again("keyring")
        raise Unusable("the package keyring isn't installed", hint) from None
    try:
        password = keyring.get_password(service, username)
        return None if password is None else password.encode()
    except NoKeyringError:
        raise Unusable(
            "the daemon's user has no keyring",
            "a service usually has none: use password_credential or password_file",
        ) from None
    except KeyringLocked:
        hint = "unlock it where the daemon's user is logged in"
        raise Unusable("is locked", hint) from None
    except Exception as error:  # noqa: BLE001 -- a keyring is third-party code; its messages may reveal secrets
        raise Unusable(
            f"failed with {type(error).__name__}",
            "as the daemon's user: keyring get SERVICE USERNAME",
        ) from None
