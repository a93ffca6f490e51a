"""Plain values, as MessagePack packs them, and what they must be to be ours."""

from math import isfinite, isnan
from typing import TypeAlias, cast

import msgpack

from openfit_token._shared.secret import Secret

Plain: TypeAlias = "bool | int | float | str | bytes | list[Plain] | None"
"""The values that MessagePack unpacks."""


class Damaged(ValueError):
    """These bytes or values are not what they should be."""


# A token may be any text that JSON can express, including what UTF-8 can't.


def packed(value: object) -> bytes:
    """Return plain values as bytes."""
    data: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return data


def unpacked(data: bytes) -> Plain:
    """Return the values that `packed` was given.

    Raises:
        Damaged: these are no such bytes.
    """
    try:
        value: object = msgpack.unpackb(data, unicode_errors="surrogatepass", strict_map_key=True)
    except (ValueError, msgpack.UnpackException) as error:
        raise Damaged from error
    return cast("Plain", value)  # except maps, which nothing that reads them accepts


# Single values. Each raises Damaged if it is none.


def text(value: object) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise Damaged
    return value


def secret(value: object) -> Secret:
    """Return a text that mustn't be shown."""
    return Secret(text(value))


def octets(value: object, size: int | None = None) -> bytes:
    """Return bytes; `size`: exactly so many."""
    if not isinstance(value, bytes) or (size is not None and len(value) != size):
        raise Damaged
    return value


def flag(value: object) -> bool:
    """Return whether it is so."""
    if not isinstance(value, bool):
        raise Damaged
    return value


def whole(value: object) -> int:
    """Return a number that counts something."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Damaged
    return value


def number(value: object) -> float:
    """Return a number, which may be infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or isnan(value):
        raise Damaged
    return float(value)


def finite(value: object) -> float:
    """Return a number that is finite."""
    found = number(value)
    if not isfinite(found):
        raise Damaged
    return found
