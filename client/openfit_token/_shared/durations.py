"""Durations as people write them (90s, 10m, 1.5h, 30d), and as they read them (5 d 22 h)."""

from math import ceil

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
"""The seconds of each unit."""

_MINUTE = 60
_HOUR = 3600
_DAY = 86400
_DIGITS = 9
"""Before and after the point: more than any sensible duration has."""


def seconds_of(text: str) -> float | None:
    """Return the seconds of a number with a unit, such as 90s; None for any other text."""
    number, unit = text[:-1], text[-1:]
    whole, point, fraction = number.partition(".")
    if unit not in UNITS or not all(map(_is_number, [whole, fraction] if point else [whole])):
        return None
    return float(number) * UNITS[unit]


def _is_number(digits: str) -> bool:
    return digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS


def duration(seconds: float) -> str:
    """Return seconds in the two units that matter, rounded up to whole seconds."""
    whole = max(0, ceil(seconds))
    if whole < 2 * _MINUTE:
        return f"{whole} s"
    if whole < 2 * _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < 2 * _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"
