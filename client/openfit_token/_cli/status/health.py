"""How well the daemon and its profiles are: what a status says, and the exit status it comes to."""

from math import isfinite
from typing import cast

from openfit_token._client.calls import fields
from openfit_token.errors import ProtocolViolation

WELL = 0
NOT_NOW = 75
"""A profile has no live token, or is about to have none."""
OPERATOR_NEEDED = 77
"""A profile is locked or logged out."""

Answer = dict[str, object]
"""What the daemon answered to `status`, or a part of it."""


def judge(found: Answer) -> int:
    """Return the exit status: the worst of all profiles."""
    return max(map(judge_profile, profiles_of(found).values()), default=WELL)


def judge_profile(profile: Answer) -> int:
    """Return the exit status that one profile comes to."""
    if profile.get("state") in ("locked", "logged_out"):
        return OPERATOR_NEEDED
    left = number(profile.get("expires_in"))
    if left is None or left <= 0 or profile.get("degraded") is not None:
        return NOT_NOW
    return WELL


def profiles_of(found: Answer) -> dict[str, Answer]:
    """Return the profiles of a status by their names.

    Raises:
        ProtocolViolation: they aren't maps with texts as keys.
    """
    profiles = cast("dict[object, object]", fields(found.get("profiles")))  # as it came
    if not all(isinstance(name, str) for name in profiles):
        raise ProtocolViolation("the daemon's answer has a profile whose name is not text")
    return {str(name): fields(profile) for name, profile in profiles.items()}


def config_fault(error: object) -> str:
    """Return the text of a status's config_error: its message, or itself."""
    return error if isinstance(error, str) else str(fields(error).get("message"))


def number(value: object) -> float | None:
    """Return a finite number; None for anything else."""
    return value if isinstance(value, int | float) and isfinite(value) else None
