"""How well the daemon and its profiles are: what a status says, and the exit status it comes to."""

from math import isfinite
from typing import cast

from openfit_token._client.calls import fields
from openfit_token.errors import ProtocolViolation

WELL = 0
NOT_NOW = 75
"""A profile has no live token, or something keeps it from being replaced."""
OPERATOR_NEEDED = 77
"""A profile is locked or logged out."""

CONDITIONS = ("well", "pending", "retrying", "degraded", "ending", "down", "locked", "logged_out")
"""How a profile can be, in the daemon's words; a newer daemon may know more of them."""
_STATUSES = {"well": WELL, "locked": OPERATOR_NEEDED, "logged_out": OPERATOR_NEEDED}

Answer = dict[str, object]
"""What the daemon answered to `status`, or a part of it."""


def judge(found: Answer) -> int:
    """Return the exit status: the worst of all profiles."""
    return max(map(judge_profile, profiles_of(found).values()), default=WELL)


def judge_profile(profile: Answer) -> int:
    """Return the exit status that one profile comes to."""
    return _STATUSES.get(condition_of(profile), NOT_NOW)


def condition_of(profile: Answer) -> str:
    """Return how a profile is, in the daemon's word."""
    return str(fields(profile.get("health")).get("condition"))


def problems_of(profile: Answer) -> list[Answer]:
    """Return what is wrong with a profile, the most urgent first."""
    problems = fields(profile.get("health")).get("problems")
    if not isinstance(problems, list):
        raise ProtocolViolation("the daemon's answer has problems that are no list")
    return [fields(problem) for problem in cast("list[object]", problems)]  # as it came


def profiles_of(found: Answer) -> dict[str, Answer]:
    """Return the profiles of a status by their names.

    Raises:
        ProtocolViolation: they aren't maps with texts as keys.
    """
    profiles = cast("dict[object, object]", fields(found.get("profiles")))  # as it came
    if not all(isinstance(name, str) for name in profiles):
        raise ProtocolViolation("the daemon's answer has a profile whose name is not text")
    return {str(name): fields(profile) for name, profile in profiles.items()}


def number(value: object) -> float | None:
    """Return a finite number; None for anything else."""
    return value if isinstance(value, int | float) and isfinite(value) else None
