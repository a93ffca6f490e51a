"""`openfit-token status`: how the daemon and its profiles are, for people, programs and probes."""

from math import isfinite
from time import time  # noqa: TID251 -- the daemon tells moments; people want "in 5 min"
from typing import cast

from openfit_token._client.blocking import TokenClient
from openfit_token._client.calls import fields
from openfit_token.cli.formats import as_json
from openfit_token.cli.get import profile_of
from openfit_token.cli.output import put
from openfit_token.errors import ProtocolViolation

WELL = 0
NOT_NOW = 75
"""A profile has no live token, or is about to have none."""
OPERATOR_NEEDED = 77
"""A profile is locked or logged out."""

Answer = dict[str, object]
"""What the daemon answered to `status`, or a part of it."""


def status(profile: str | None, socket: str | None, form: str, *, watch: bool) -> int:
    """Print the daemon's status, and give the exit status that tells how well it is.

    Args:
        profile: the option's.
        socket: the option's.
        form: text, json or openmetrics.
        watch: look again and again; doesn't return then.
    """

    def look() -> Answer:
        with TokenClient(profile_of(profile), socket) as client:
            return client.status()

    found = look()
    if watch:
        from openfit_token.cli.live import watch as live

        live(found, look, shown, form)
    put(shown(found, form))
    return judge(found)


def shown(found: Answer, form: str) -> str:
    """Return a status in one of the forms text, json and openmetrics."""
    # ruff: noqa: PLC0415 -- a probe needs one of them
    match form:
        case "json":
            return as_json(found)
        case "openmetrics":
            from openfit_token.cli.open_metrics import exposition

            return exposition(found)
        case _:
            from openfit_token.cli.status_table import for_this_terminal

            return for_this_terminal(found, time())


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
        ProtocolViolation: they are none.
    """
    profiles = cast("dict[object, object]", fields(found.get("profiles")))  # as it came
    if not all(isinstance(name, str) for name in profiles):
        raise ProtocolViolation("the daemon's answer has a profile whose name is no text")
    return {str(name): fields(profile) for name, profile in profiles.items()}


def number(value: object) -> float | None:
    """Return a number that can be reckoned with; None for all else."""
    return value if isinstance(value, int | float) and isfinite(value) else None
