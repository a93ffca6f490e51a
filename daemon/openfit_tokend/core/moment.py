"""Time and chance as arguments."""

from openfit_token._shared.frozen import frozen


@frozen
class Moment:
    """When something happens, and the one random number it may use.

    `now` is CLOCK_BOOTTIME in seconds; `chance` lies in [0, 1).
    """

    now: float
    chance: float
