"""How many log lines others may cause: a flood must not fill the disk."""

from collections.abc import Hashable, Mapping
from dataclasses import field, replace
from math import inf
from typing import Final

from openfit_token._shared.frozen import frozen

PERIOD: Final = 10.0
"""Seconds in which the lines of one event are counted."""
MOST: Final = 100
"""Lines of one event in PERIOD seconds in total: one person can have many uids."""


@frozen
class Window:
    """What was logged of one event within PERIOD seconds."""

    until: float = -inf
    lines: Mapping[Hashable, int] = field(default_factory=dict[Hashable, int])
    """How many, by who caused them."""
    suppressed: int = 0
    """Lines suppressed since the last one that was logged."""


def admit(window: Window, key: Hashable, burst: int, now: float) -> tuple[Window, int | None]:
    """Return whether one more line may be logged: `burst` of each key, and MOST of all.

    Returns the window with it, and how many were suppressed before it; None: suppress this one too.
    """
    if now >= window.until:
        window = Window(now + PERIOD, suppressed=window.suppressed)
    said = window.lines.get(key, 0)
    if said >= burst or sum(window.lines.values()) >= MOST:
        return replace(window, suppressed=window.suppressed + 1), None
    return Window(window.until, {**window.lines, key: said + 1}), window.suppressed
