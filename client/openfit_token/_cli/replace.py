"""`openfit-token refresh` and `refuse`: have the token replaced, and print the new one."""

import re
import sys
from hashlib import sha256
from time import sleep, time  # noqa: TID251 -- the daemon tells moments: was the token there before?

from openfit_token._cli.get import profile_of, show
from openfit_token._cli.terminal import WrongUsage, remark
from openfit_token._client.blocking import TokenClient
from openfit_token.errors import TimedOut

_ID_DIGITS = 16
"""Hex digits of the SHA-256 of a token that are its id."""
_ID = re.compile(f"[0-9a-f]{{{_ID_DIGITS}}}")
_MAX_TOKEN = 64 * 1024
"""Bytes to read at most: more is a mistake, not a token."""
_RECENT = 10.0
"""Seconds in which the daemon takes a token for one that was just replaced."""


def refresh(profile: str | None, socket: str | None, wait: float, form: str) -> int:
    """Print a new token though nothing is wrong with the old one. Return the exit status.

    Raises:
        TimedOut: the token is replaced only after `wait`: it is new itself.
    """
    with TokenClient(profile_of(profile), socket) as client:
        asked_at = time()
        token = client.refresh(wait=wait)
        age = asked_at - token.obtained_at
        if 0 < age <= _RECENT:  # what it was asked for may be to replace just that
            left = _RECENT - age
            if left >= wait:
                text = f"the token is {age:.0f} s old, and isn't replaced again so soon"
                raise TimedOut(text, "wait longer", left)
            sleep(left)
            token = client.refresh(wait=wait - left)
    show(token, form)
    return 0


def refuse(
    refused: str | None, profile: str | None, socket: str | None, wait: float, form: str
) -> int:
    """Print the token that replaces the refused one. The refused one is an id, or read from standard input.

    Raises:
        WrongUsage: neither has one.
    """
    token_id = _id_of_input() if refused is None else _valid_id(refused)
    with TokenClient(profile_of(profile), socket) as client:
        asked_at = time()
        token = client.refuse(token_id, wait=wait)
    if token.obtained_at < asked_at:
        remark("that token is no longer the current one; printing the current one")
    show(token, form)
    return 0


def _valid_id(text: str) -> str:
    """Return an id in lower case. An invalid one isn't shown: it may be the token, which is secret."""
    if not _ID.fullmatch(text.lower()):
        raise WrongUsage(
            f"refuse: that is not an id of {_ID_DIGITS} hex digits",
            'pass the token itself on standard input: printf %s "$TOKEN" | openfit-token refuse',
        )
    return text.lower()


def _id_of_input() -> str:
    """Return the id of the token that is read from standard input."""
    given = b""
    if sys.stdin is not None and not sys.stdin.isatty():  # `<&-` makes it None
        given = sys.stdin.buffer.read(_MAX_TOKEN).strip()
    if not given:
        raise WrongUsage(
            "refuse: which token? Pass its id, or the token itself on standard input",
            'for example: printf %s "$TOKEN" | openfit-token refuse',
        )
    token = given.split()[-1]  # a whole `Authorization: Bearer ...` works too
    return sha256(token).hexdigest()[:_ID_DIGITS]
